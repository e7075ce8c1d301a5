"""A plan beside what it must be true of, and how closely two numbers must agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any

from catalog import Catalog
from optimizer.kept import Kept
from optimizer.layout import Layout, ReplicaGroup, WorkloadPlan
from optimizer.scenario import Scenario, Workload

TOLERANCE = 1e-6
"""Relative. Plans are computed in double precision and solvers keep their rows to 1e-7; a lie is larger."""
NOTHING = 1e-9
"""What counts as zero where a plan says zero: dollars, requests per second, shares."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a plan says, the scenario it answers, and the catalog with the scenario's own models."""

    layout: Layout
    scenario: Scenario
    catalog: Catalog
    """With the scenario's own models and entries."""
    catalog_version: str
    """Of the shipped files alone; entries of the user's own stand in the plan."""
    period: int = 0
    """Whose lists the layout holds, counted from 0."""
    truths: Kept[Any] = field(default_factory=Kept)
    """What was computed again for this plan or an earlier one, by all that it was computed from."""

    def periods(self) -> Iterator[Claims]:
        """The claims of each period that the plan has; a plan without periods has one."""
        for period in range(max(1, len(self.layout.periods))):
            layout = self.layout.of_period(period + 1) if self.layout.periods else self.layout
            yield replace(self, layout=layout, period=period)

    def demand_rps(self, workload: Workload) -> float:
        """Requests per second of a workload in the period; 0 beyond the scenario's periods."""
        return workload.demand_in(self.period) if self.period < self.scenario.periods else 0.0

    def workloads(self) -> Iterator[tuple[WorkloadPlan, Workload]]:
        """Planned workloads that the scenario has."""
        for planned in self.layout.workloads:
            if planned.name in self.scenario.workloads:
                yield planned, self.scenario.workloads[planned.name]

    def groups(self) -> Iterator[tuple[str, Workload, ReplicaGroup]]:
        """Every replica group of those, with a name for it in messages and its workload.

        The workload's targets leave time for the network to the group's region.
        """
        for planned, workload in self.workloads():
            on_offer = Counter(group.offer for group in planned.replica_groups)
            for number, group in enumerate(planned.replica_groups):
                several = f" (group {number})" if on_offer[group.offer] > 1 else ""
                offer = self.scenario.inventory.get(group.offer)
                away_ms = self.scenario.round_trip_ms(workload, offer) if offer else 0.0
                yield f"{planned.name} on {group.offer}{several}", workload.with_network(away_ms), group


def agree(claimed: float, true: float) -> bool:
    """Whether two numbers are the same within TOLERANCE; what is infinite or NaN agrees with nothing."""
    return isfinite(claimed) and abs(claimed - true) <= TOLERANCE * max(abs(claimed), abs(true)) + NOTHING


def exceeds(value: float, limit: float) -> bool:
    """Whether a value is above its limit by more than TOLERANCE; NaN is above every limit."""
    return not value <= limit + TOLERANCE * abs(limit) + NOTHING


def number(value: float) -> str:
    """A number for a message: short, and exact enough to see the difference."""
    return f"{value:.8g}"
