"""A scenario with something changed, for questions of the kind "what if"."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, TypeVar

from optimizer.scenario.part import Part
from optimizer.scenario.scenario import Scenario
from optimizer.scenario.workload import Workload

P = TypeVar("P", bound=Part)


def changed(part: P, **fields: Any) -> P:
    """The part with other values, which are taken as they are; what was derived from the old ones is forgotten."""
    copied = part.model_copy(update=fields)
    for name, value in vars(type(part)).items():
        if isinstance(value, cached_property):
            copied.__dict__.pop(name, None)
    return copied


def with_workload(scenario: Scenario, name: str, **fields: Any) -> Scenario:
    """One workload with other values."""
    workload = changed(scenario.workloads[name], **fields)
    return changed(scenario, workloads={**scenario.workloads, name: workload})


def with_offer(scenario: Scenario, name: str, **fields: Any) -> Scenario:
    """One offer with other values."""
    return changed(scenario, inventory={**scenario.inventory, name: changed(scenario.inventory[name], **fields)})


def with_demand(scenario: Scenario, factor: float, *names: str) -> Scenario:
    """The demand of some workloads, or of all if none is named, times a factor."""
    scaled: dict[str, Workload] = {
        name: changed(workload, peak_factor=workload.peak_factor * factor) if not names or name in names else workload
        for name, workload in scenario.workloads.items()
    }
    return changed(scenario, workloads=scaled)


def futures_of(scenario: Scenario) -> list[Scenario]:
    """The scenario as its demand may turn out, in order; just itself without demand scenarios."""
    return [in_future(scenario, name) for name in scenario.demand_scenarios] or [scenario]


def in_future(scenario: Scenario, name: str) -> Scenario:
    """The scenario if demand turns out in one of its ways, and that is known."""
    future = scenario.demand_scenarios[name]
    certain = changed(future, probability_fraction=1.0, factors=(1.0,), workload_factors={})
    scaled = {
        workload: with_factors(one, [future.factor(workload, t) for t in range(scenario.periods)])
        for workload, one in scenario.workloads.items()
    }
    return changed(scenario, workloads=scaled, demand_scenarios={name: certain})


def with_factors(workload: Workload, factors: Sequence[float]) -> Workload:
    """The demand of a workload in each period times a factor."""
    if len(set(factors)) == 1:
        return changed(workload, peak_factor=workload.peak_factor * factors[0])
    rates = tuple(workload.demand_in(t) / workload.peak_factor * factor for t, factor in enumerate(factors))
    return changed(workload, requests=None, growth_fraction_per_period=None, requests_per_period_rps=rates)


def without_workloads(scenario: Scenario, *names: str) -> Scenario:
    """The scenario without some of its workloads."""
    return changed(scenario, workloads={name: one for name, one in scenario.workloads.items() if name not in names})
