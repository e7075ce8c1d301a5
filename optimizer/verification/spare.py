"""Does every workload with `spare: n+1` survive the loss of any one server?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from optimizer.layout import WorkloadPlan
from optimizer.scenario import Workload
from optimizer.verification.claims import Claims, exceeds, number
from optimizer.verification.rerouting import least_peak


def spare(claims: Claims) -> Iterator[str]:
    """Whichever server is lost, the replicas left carry the whole demand at up to 100 %, classes rerouted freely."""
    for planned, workload in claims.workloads():
        if workload.spare == "n+1":
            yield from _losses(planned, workload, claims.demand_rps(workload))


def _losses(planned: WorkloadPlan, workload: Workload, total_rps: float) -> Iterator[str]:
    classes = [one.name for one in workload.request_classes]
    demand_rps = [total_rps * one.share_fraction for one in workload.request_classes]
    rate_rps = [[group.rate_rps.get(name, 0.0) for name in classes] for group in planned.replica_groups]
    lost: dict[tuple[str, int], Counter[int]] = {}
    for g, group in enumerate(planned.replica_groups):
        for place in group.placement:
            for server in set(place.servers):
                lost.setdefault((group.offer, server), Counter())[g] += 1
    for (offer, server), gone in sorted(lost.items()):
        left = [group.replicas - gone[g] for g, group in enumerate(planned.replica_groups)]
        peak = least_peak(demand_rps, left, rate_rps)
        if exceeds(peak, 1.0):
            how = "cannot serve every class" if peak == float("inf") else f"are busy for {number(peak)} of their time"
            yield f"{planned.name}: spare is n+1, and without server {server} of {offer} the replicas left {how}"
