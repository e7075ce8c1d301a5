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


def with_one_share_only(scenario: Scenario, asked: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """The objective, where parts of demand may be served that differ by period and by how demand turns out.

    No scenario can ask for such parts, so that nothing that solves again with what is served can be asked.
    """
    if scenario.objective == "served" and scenario.demand_scenarios and scenario.periods > 1:
        where = "over several periods where demand may turn out in several ways"
        yield ("objective",), f"{asked} with objective served {where}; take one period, or objective: cost"


def _pipelines_without_spare(scenario: Scenario) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is lost with a server is decided server by server, which replicas over several offers have no place in."""
    spared = [name for name, workload in scenario.workloads.items() if workload.spare != "none"]
    for name, workload in scenario.workloads.items():
        if workload.heterogeneous_pipelines and spared:
            what = f"heterogeneous_pipelines beside the spare of {', '.join(spared)}"
            yield ("workloads", name, "heterogeneous_pipelines"), what
