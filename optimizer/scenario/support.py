"""What a scenario may ask for and this version does not solve: checked like everything else, refused by `solve`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optimizer.scenario.scenario import Scenario


def not_solved_yet(scenario: Scenario) -> Iterator[tuple[tuple[str, ...], str]]:
    """Key and what it asks for, in the order of the scenario's classes."""
    if scenario.objective not in ("cost", "served"):
        yield ("objective",), f"objective {scenario.objective}"
    yield from _pipelines_without_spare(scenario)


def _pipelines_without_spare(scenario: Scenario) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is lost with a server is decided server by server, which replicas over several offers have no place in."""
    spared = [name for name, workload in scenario.workloads.items() if workload.spare != "none"]
    for name, workload in scenario.workloads.items():
        if workload.heterogeneous_pipelines and spared:
            what = f"heterogeneous_pipelines beside the spare of {', '.join(spared)}"
            yield ("workloads", name, "heterogeneous_pipelines"), what
