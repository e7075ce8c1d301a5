"""Work given out to workers that may fail: processes of this machine, or the actors of a Ray cluster."""

from optimizer.workers.calls import Calls
from optimizer.workers.engines import EngineName, asked_engine, open_engine
from optimizer.workers.pool import Done, Engine, Lost, Pool, Work
from optimizer.workers.processes import Processes, processors

__all__ = [
    "Calls",
    "Done",
    "Engine",
    "EngineName",
    "Lost",
    "Pool",
    "Processes",
    "Work",
    "asked_engine",
    "open_engine",
    "processors",
]
