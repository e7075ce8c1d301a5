"""Start-up logs of engines: what they say was asked, what was measured, and how that compares with a prediction."""

from optimizer.startup_log.compare import Comparison, Line, compare
from optimizer.startup_log.printed import printed
from optimizer.startup_log.read import StartupLog, read_log

__all__ = ["Comparison", "Line", "StartupLog", "compare", "printed", "read_log"]
