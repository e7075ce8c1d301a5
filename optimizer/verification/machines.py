"""Are the servers on offer, and does every replica stand on servers that are there, without crowding?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from math import exp, inf, log1p

from optimizer.layout import ReplicaGroup, Term
from optimizer.scenario import Offer, Workload
from optimizer.verification.claims import NOTHING, Claims

MOST_SPARES = 10_000

Key = tuple[str, Term, float | None]
"""Offer, term, and length of a reserved one."""


def machines(claims: Claims) -> Iterator[str]:
    """Offers, terms and their limits; GPUs in all; the placement, GPU by GPU; no server that runs nothing."""
    yield from _offers(claims)
    n_servers: Counter[str] = Counter()
    sizes: dict[str, int] = {}
    for row in claims.layout.servers:
        n_servers[row.offer] += row.in_use
        sizes[row.offer] = row.gpus_per_server
    needed: Counter[str] = Counter()
    taken: Counter[tuple[str, int]] = Counter()
    for name, workload, group in claims.groups():
        offered = claims.scenario.inventory.get(group.offer)
        if offered is not None and not claims.scenario.may_serve(workload, offered):
            allowed = ", ".join(workload.residency or ())
            yield f"{name}: {group.offer} is in {offered.region or 'no region'}, residency is {allowed}"
        if offered is not None and offered.gpu != group.gpu:
            yield f"{name}: gpu is {group.gpu}, {group.offer} has {offered.gpu}"
        if group.offer not in sizes:
            yield f"{name}: no server of {group.offer} is in the plan"
            continue
        if group.stages is not None:
            yield from _placement_of_stages(name, workload, group, claims, n_servers, taken)
            for stage in group.stages:
                needed[stage.offer] += group.replicas * stage.tp
            continue
        needed[group.offer] += group.replicas * group.gpus_per_replica
        yield from _placement(name, group, sizes[group.offer], n_servers[group.offer], taken)
    for offer, gpus in needed.items():
        there = sizes.get(offer, 0) * n_servers[offer]
        if gpus > there:
            yield f"{offer}: its replicas need {gpus} GPUs, {n_servers[offer]} servers have {there}"
    for (offer, server), gpus in sorted(taken.items()):
        if gpus > (has := sizes.get(offer, 0)):
            yield f"{offer}: server {server} is given replicas of {gpus} GPUs and has {has}"
    for offer, count in n_servers.items():
        used = {server for (of, server), gpus in taken.items() if of == offer and gpus and 0 <= server < count}
        if len(used) < count:
            first = next(server for server in range(count) if server not in used)
            yield (
                f"{offer}: {count - len(used)} of its {count} servers run nothing, server {first} for one; "
                "servers are paid only if used"
            )


def _offers(claims: Claims) -> Iterator[str]:
    counts: Counter[Key] = Counter()
    idle: Counter[Key] = Counter()
    stand_by: Counter[Key] = Counter()
    for row in claims.layout.servers:
        offer = claims.scenario.inventory.get(row.offer)
        if offer is None:
            yield f"{row.offer}: the scenario has no such offer"
            continue
        if row.count < 1:
            yield f"{row.offer} ({row.term}): count is {row.count}, expected 1 or more"
        if (row.gpu, row.gpus_per_server) != (offer.gpu, offer.gpus_per_server):
            yield (
                f"{row.offer}: planned as {row.gpus_per_server} × {row.gpu}, "
                f"the scenario offers {offer.gpus_per_server} × {offer.gpu}"
            )
        counts[row.offer, row.term, row.term_months] += row.count
        idle[row.offer, row.term, row.term_months] += row.idle
        stand_by[row.offer, row.term, row.term_months] += row.stand_by
    for key, count in counts.items():
        name, term, term_months = key
        offer = claims.scenario.inventory[name]
        limit = _limit(offer, term, term_months)
        if limit is None:
            yield f"{name}: the scenario does not offer it on the term {term_of(term, term_months)}"
            continue
        ordered = claims.scenario.has_orders and term in ("buy", "reserve")  # checked where orders are
        if count > limit and not ordered:
            yield f"{name} ({term}): {count} servers are planned, the scenario has {limit}"
        spares = spares_needed(offer, count - idle[key]) if term == "spot" else stand_by[key]
        if idle[key] != spares and not (ordered and spares <= idle[key] <= count):
            yield f"{name} ({term}): {idle[key]} servers are idle, {spares} spares are needed"
    yield from _standing_by(claims, counts - idle, stand_by)
    for name, offer in claims.scenario.inventory.items():
        there, room = sum(count for (of, *_), count in counts.items() if of == name), sum(offer.racks.values())
        if offer.racks and there > room:
            yield f"{name}: {there} servers are planned, its racks hold {room}"


def term_of(term: Term, term_months: float | None) -> str:
    """A term in words, such as `reserve of 12 months`."""
    return term if term_months is None else f"{term} of {term_months:g} months"


def spares_needed(offer: Offer, in_use: int) -> int:
    """The least spares of spot servers in use: as many are missing at a time with a probability of `availability`.

    The number missing is Poisson: each is taken away λ times an hour and is back τ hours later (Palm's theorem).
    """
    if offer.spot is None or not offer.spot.interruptions_per_hour or in_use < 1:
        return 0
    mean = in_use * offer.spot.interruptions_per_hour * offer.spot.recovery_hours
    spares, term = 0, exp(-mean)
    probability = term
    while probability < offer.spot.availability_fraction * (1 - NOTHING) and spares < MOST_SPARES:
        spares += 1
        term *= mean / spares
        probability += term
    return spares


def _standing_by(claims: Claims, in_use: Counter[Key], stand_by: Counter[Key]) -> Iterator[str]:
    """Of every offer as many stand by as failures ask for, spot servers apart, and no more."""
    for name, offer in claims.scenario.inventory.items():
        own = sum(count for (of, term, _), count in in_use.items() if of == name and term != "spot")
        ready = sum(count for (of, _, _), count in stand_by.items() if of == name)
        needed = standing_by_needed(offer, own)
        if ready != needed or stand_by[name, "spot", None]:
            yield f"{name}: {ready} servers stand by for those that fail, {needed} are needed"


def standing_by_needed(offer: Offer, in_use: int) -> int:
    """The least servers standing by: as many are down at a time, of all, with a probability of `availability`."""
    if offer.failures is None or in_use < 1:
        return 0
    odds = offer.failures.repair_hours / offer.failures.mtbf_hours
    for spares in range(MOST_SPARES):
        servers = in_use + spares
        log = -servers * log1p(odds)  # of the probability that all are up
        probability = exp(log)
        for down in range(1, spares + 1):
            log += log1p((servers - down + 1) * odds / down - 1)
            probability += exp(log)
        if probability >= offer.failures.availability_fraction * (1 - NOTHING):
            return spares
    return MOST_SPARES


def _limit(offer: Offer, term: Term, term_months: float | None) -> float | None:
    """Servers to be had on a term, infinite without a limit; null = the scenario does not offer it."""
    if term == "own":
        return offer.own
    reserved = next((one for one in offer.reserve if one.term_months == term_months), None)
    sold = {"buy": offer.buy, "rent": offer.rent, "reserve": reserved, "spot": offer.spot}[term]
    if sold is None:
        return None
    return inf if sold.max is None else sold.max


def _placement_of_stages(
    name: str,
    workload: Workload,
    group: ReplicaGroup,
    claims: Claims,
    n_servers: Mapping[str, int],
    taken: Counter[tuple[str, int]],
) -> Iterator[str]:
    """A server of its own offer for each stage of each replica; adds the GPUs it takes to `taken`."""
    stages, inventory = group.stages or (), claims.scenario.inventory
    for number, stage in enumerate(stages):
        offer, first = inventory.get(stage.offer), inventory.get(group.offer)
        if offer is None or first is None:
            yield f"{name}: stage {number} is on {stage.offer}, the scenario has no such offer"
        elif offer.gpu != stage.gpu:
            yield f"{name}: stage {number} is on {stage.gpu}, {stage.offer} has {offer.gpu}"
        elif offer.region != first.region or not claims.scenario.may_serve(workload, offer):
            yield f"{name}: stage {number} is in {offer.region or 'no region'}, the first one elsewhere"
    if len(group.placement) != group.replicas or not group.placement:
        yield f"{name}: {group.replicas} replicas have {len(group.placement)} placements"
    for number, place in enumerate(group.placement):
        if place.replica != number:
            yield f"{name}: replica {place.replica} is placed as number {number}"
        if len(place.servers) != len(stages):
            yield f"{name}: replica {place.replica} is placed on {len(place.servers)} servers, one a stage is expected"
        for stage, server in zip(stages, place.servers, strict=False):
            if not 0 <= server < n_servers.get(stage.offer, 0):
                there = n_servers.get(stage.offer, 0)
                yield f"{name}: replica {place.replica} is placed on server {server}, {stage.offer} has {there}"
            taken[stage.offer, server] += stage.tp


def _placement(
    name: str, group: ReplicaGroup, gpus_per_server: int, n_servers: int, taken: Counter[tuple[str, int]]
) -> Iterator[str]:
    """One place for each replica; adds the GPUs it takes to `taken`.

    A replica stands on one server if it fits; a larger one takes as few as hold it, with whole stages (tp · dp GPUs)
    on each, spread as evenly as they go, the fuller servers first.
    """
    if group.gpus_per_replica < 1 or group.replicas < 1:
        yield f"{name}: {group.replicas} replicas of {group.gpus_per_replica} GPUs, expected 1 or more of both"
        return
    if len(group.placement) != group.replicas:
        yield f"{name}: {group.replicas} replicas have {len(group.placement)} placements"
    elif [place.replica for place in group.placement] != list(range(group.replicas)):
        yield f"{name}: placement must be of replicas 0 to {group.replicas - 1} in this order"
    stages = group.pp or 1
    gpus_per_stage, uneven = divmod(group.gpus_per_replica, stages)
    stages_per_server = gpus_per_server // max(1, gpus_per_stage)
    if stages < 1 or uneven or stages_per_server < 1:
        yield f"{name}: stages of {group.gpus_per_replica} / {stages} GPUs do not fit servers of {gpus_per_server}"
        return
    n_expected = -(-stages // stages_per_server)
    even, more = divmod(stages, n_expected)
    for place in group.placement:
        servers = place.servers
        if len(set(servers)) != n_expected or len(servers) != n_expected:
            yield f"{name}: replica {place.replica} is placed on servers {list(servers)}, it needs {n_expected} of them"
        if missing := [server for server in servers if not 0 <= server < n_servers]:
            yield f"{name}: replica {place.replica} is placed on servers {missing}, {group.offer} has {n_servers}"
        for position, server in enumerate(servers):
            taken[group.offer, server] += (even + (position < more)) * gpus_per_stage
