"""What a scenario may ask for and this version does not solve: checked like everything else, refused by `solve`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from optimizer.scenario.workload import Workload

if TYPE_CHECKING:
    from optimizer.scenario.scenario import Scenario

POINT_ESTIMATE = 0.5
"""The quantile of the prediction error at which nothing is added to the prediction."""


def not_solved_yet(scenario: Scenario) -> Iterator[tuple[tuple[str, ...], str]]:
    """Key and what it asks for, in the order of the scenario's classes."""
    if scenario.periods > 1:
        yield ("periods",), "more than one period"
    if scenario.discount_rate_per_year:
        yield ("discount_rate",), "discounting"
    if scenario.confidence_fraction not in (None, POINT_ESTIMATE):
        yield ("confidence",), "planning on a quantile other than 50%"
    if scenario.objective not in ("cost", "served"):
        yield ("objective",), f"objective {scenario.objective}"
    for name, workload in scenario.workloads.items():
        yield from ((("workloads", name, key), what) for key, what in _of_workload(workload))
    for name, offer in scenario.inventory.items():
        if offer.reserve:
            yield ("inventory", name, "reserve"), "reserved terms"
        if offer.spot is not None:
            yield ("inventory", name, "spot"), "spot servers"


def _of_workload(workload: Workload) -> Iterator[tuple[str, str]]:
    if workload.trace is not None:
        yield "trace", "traces"
    if workload.requests_per_period_rps is not None:
        yield "requests_per_period", "rates that change from period to period"
    if workload.growth_fraction_per_period:
        yield "growth", "rates that change from period to period"
    if workload.spare != "none":
        yield "spare", "spare capacity"
