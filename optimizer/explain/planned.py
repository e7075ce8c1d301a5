"""Candidates that a plan already uses: what a workload is left with where only others are looked at anew."""

from __future__ import annotations

import numpy as np

from optimizer.candidates import Candidates, ReplicaSpec, planned_spec
from optimizer.layout import Layout
from optimizer.scenario import Scenario


def planned_candidates(layout: Layout, scenario: Scenario, name: str) -> Candidates:
    """The kinds of replicas of one workload in a plan, in whatever period, at the rates that the plan states."""
    classes = [kind.name for kind in scenario.workloads[name].request_classes]
    offers = list(scenario.inventory)
    rates: dict[tuple[int, ReplicaSpec], list[float]] = {}
    for _, _, period in layout.states():
        for plan in period.workloads:
            for group in plan.replica_groups if plan.name == name else ():
                key = offers.index(group.offer), planned_spec(group)
                rates.setdefault(key, [group.rate_rps.get(kind, 0.0) for kind in classes])
    specs = tuple(spec for _, spec in rates)
    return Candidates(
        workload=name,
        specs=specs,
        offer=np.array([offer for offer, _ in rates], np.int64),
        gpus_per_replica=np.array([spec.gpus for spec in specs], np.int64),
        rate_rps=np.array(list(rates.values()), float).reshape(len(specs), len(classes)),
    )
