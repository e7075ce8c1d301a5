"""Columns: plans of single workloads, priced by the servers they share, put together by a small program."""

from optimizer.solve.columns.blocks import unreached
from optimizer.solve.columns.solve import solve_columns

__all__ = ["solve_columns", "unreached"]
