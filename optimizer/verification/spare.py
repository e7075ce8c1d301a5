"""Does every workload with `spare` survive the loss of any one server, rack or region?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from optimizer.layout import Placement, ReplicaGroup, WorkloadPlan
from optimizer.scenario import Workload
from optimizer.verification.claims import Claims, exceeds, number
from optimizer.verification.rerouting import least_peak


def spare(claims: Claims) -> Iterator[str]:
    """Whatever is lost at once, the replicas left carry all that is served at up to 100 %, classes rerouted freely."""
    yield from _racks(claims)
    for planned, workload in claims.workloads():
        if workload.spare != "none":
            yield from _losses(claims, planned, workload)


def _losses(claims: Claims, planned: WorkloadPlan, workload: Workload) -> Iterator[str]:
    total_rps = claims.demand_rps(workload)
    classes = [one.name for one in workload.request_classes]
    demand_rps = [total_rps * one.share_fraction for one in workload.request_classes]
    rate_rps = [[group.rate_rps.get(name, 0.0) for name in classes] for group in planned.replica_groups]
    lost: dict[str, Counter[int]] = {}
    for g, group in enumerate(planned.replica_groups):
        for place in group.placement:
            for domain in _domains(claims, workload, group, place):
                lost.setdefault(domain, Counter())[g] += 1
    for domain, gone in sorted(lost.items()):
        left = [group.replicas - gone[g] for g, group in enumerate(planned.replica_groups)]
        peak = least_peak(demand_rps, left, rate_rps) * planned.served_fraction
        if exceeds(peak, 1.0):
            how = "cannot serve every class" if peak == float("inf") else f"are busy for {number(peak)} of their time"
            yield f"{planned.name}: spare is {workload.spare}, and without {domain} the replicas left {how}"


def _domains(claims: Claims, workload: Workload, group: ReplicaGroup, place: Placement) -> set[str]:
    """What a replica is lost with: each server, and all that it stands in."""
    if group.stages is None:
        return _domains_on(claims, workload, group.offer, place.servers, place)
    on = zip(group.stages, place.servers, strict=False)  # a server a stage
    return set().union(*(_domains_on(claims, workload, stage.offer, (server,), place) for stage, server in on))


def _domains_on(
    claims: Claims, workload: Workload, offer_name: str, servers: tuple[int, ...], place: Placement
) -> set[str]:
    """Of what stands on some servers of an offer."""
    offer = claims.scenario.inventory.get(offer_name)
    if workload.spare == "n+1" or offer is None:
        return {f"server {server} of {offer_name}" for server in servers}
    if workload.spare == "region":
        return {f"region {offer.region}" if offer.region else "the offers of no region"}
    if not offer.racks:
        return {f"the servers of {offer_name}"}
    # A replica of which nobody says where it stands is lost with every rack.
    return {f"rack {rack}" for rack in ((place.rack,) if place.rack else offer.racks)}


def _racks(claims: Claims) -> Iterator[str]:
    """Every rack is one of its offer and holds its servers; a server stands in one rack, whoever speaks of it."""
    rack_of: dict[tuple[str, int], str] = {}
    for name, _, group in claims.groups():
        offer = claims.scenario.inventory.get(group.offer)
        for place in group.placement:
            if place.rack is None:
                continue
            if offer is None or place.rack not in offer.racks:
                yield f"{name}: {group.offer} has no rack {place.rack}"
            for server in place.servers:
                known = rack_of.setdefault((group.offer, server), place.rack)
                if known != place.rack:
                    yield f"{group.offer}: server {server} is in rack {known} and in rack {place.rack}"
    for (offer_name, rack), count in sorted(Counter((of, rack) for (of, _), rack in rack_of.items()).items()):
        room = claims.scenario.inventory[offer_name].racks.get(rack, 0)
        if count > room:
            yield f"{offer_name}: {count} servers are in rack {rack}, which holds {room}"
