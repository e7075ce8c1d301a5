"""What a scenario may ask for and this version does not solve: checked like everything else, refused by `solve`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from optimizer.scenario.workload import DEFAULT_PRIORITY, Workload

if TYPE_CHECKING:
    from optimizer.scenario.scenario import Scenario


def not_solved_yet(scenario: Scenario) -> Iterator[tuple[tuple[str, ...], str]]:
    """Key and what it asks for, in the order of the scenario's classes."""
    if scenario.objective != "cost":
        yield ("objective",), f"objective {scenario.objective}"
    for name, workload in scenario.workloads.items():
        yield from ((("workloads", name, key), what) for key, what in _of_workload(workload))


def _of_workload(workload: Workload) -> Iterator[tuple[str, str]]:
    if workload.trace is not None:
        yield "trace", "traces"
    if workload.priority != DEFAULT_PRIORITY:
        yield "priority", "priorities"
