"""Many scenarios: from files or a sweep, solved by processes that may fail, kept in Parquet exactly once."""

from optimizer.batch.items import Items, find_items
from optimizer.batch.results import read_results
from optimizer.batch.row import Row, Settings
from optimizer.batch.run import Shard, State, run_batch
from optimizer.batch.sweep import Sweep

__all__ = ["Items", "Row", "Settings", "Shard", "State", "Sweep", "find_items", "read_results", "run_batch"]
