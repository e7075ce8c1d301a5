"""What a plan's replicas would carry were every request sent to the least loaded one: reported, never planned on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from catalog import Catalog
from catalog.units import MS_PER_S
from optimizer.layout import Layout
from optimizer.scenario import Scenario
from optimizer.simulation.plan import (
    WARM_UP_FRACTION,
    Share,
    SimulatedWorkload,
    Traffic,
    after,
    busiest,
)
from optimizer.simulation.requests import Requests
from optimizer.simulation.routing import joined

MOST_FACTOR = 4.0
"""Of the rate offered, up to which and down to a part of which the largest one is looked for."""
BISECTIONS = 8
"""Of that span, in the logarithm: the rate is then known to 16 ^ (1 / 2^8) = 1.1 %."""


@dataclass(frozen=True, slots=True)
class Pooling:
    """The largest rates at which a workload's replicas hold every target, with the same requests in the same order."""

    offered_rps: float
    one_by_one_rps: float
    """With every request sent to a replica at random, as planned."""
    pooled_rps: float
    """With every request sent to the least loaded replica of its group."""

    @property
    def gain_fraction(self) -> float:
        """By which pooled replicas carry more."""
        return self.pooled_rps / self.one_by_one_rps - 1.0


def pooling_gain(layout: Layout, scenario: Scenario, catalog: Catalog, traffic: Traffic) -> Mapping[str, Pooling]:
    """Workload -> what pooling gains it; of those with latency targets and several replicas whose steps are known."""
    found = {}
    known = [plan for _, plan in busiest(layout) if all(group.model is not None for group in plan.replica_groups)]
    for i, plan in enumerate(known):
        workload = SimulatedWorkload(plan, scenario, catalog)
        several = any(group.replicas > 1 for group in workload.groups)
        if several and workload.workload.targets:
            found[plan.name] = _gain(workload, traffic, np.random.default_rng([traffic.seed, i]))
    return found


def _gain(workload: SimulatedWorkload, traffic: Traffic, rng: np.random.Generator) -> Pooling:
    requests, _ = workload.requests(traffic, rng)
    shares = workload.shares_of(requests, rng)
    offered_rps = len(requests) / traffic.duration_s
    one_by_one, pooled = (
        offered_rps * _largest_factor(workload, requests, shares, traffic, least_loaded)
        for least_loaded in (False, True)
    )
    return Pooling(offered_rps, one_by_one, pooled)


def _largest_factor(
    workload: SimulatedWorkload, requests: Requests, shares: list[Share], traffic: Traffic, least_loaded: bool
) -> float:
    """By which the requests may come faster while every class holds every target; bisection."""
    low, high = 1.0 / MOST_FACTOR, MOST_FACTOR
    for _ in range(BISECTIONS):
        middle = float(np.sqrt(low * high))
        faster = replace(requests, arrived_ms=requests.arrived_ms / middle)
        parts = [
            part
            for share in shares
            for part in (share.to_least_loaded(faster) if least_loaded else share.at_random(faster))
        ]
        begin_ms = traffic.duration_s * WARM_UP_FRACTION * MS_PER_S / middle
        seen = after(begin_ms, joined(parts)[1])
        held = all(target.held for one in workload.classes_of(seen) for target in one.targets)
        low, high = (middle, high) if held else (low, middle)
    return low
