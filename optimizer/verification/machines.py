"""Are the servers on offer, and does every replica stand on servers that are there, without crowding?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import inf

from optimizer.layout import ReplicaGroup, Term
from optimizer.scenario import Offer
from optimizer.verification.claims import Claims


def machines(claims: Claims) -> Iterator[str]:
    """Offers, terms and their limits; GPUs in all; the placement, GPU by GPU; no server that runs nothing."""
    yield from _offers(claims)
    n_servers: Counter[str] = Counter()
    sizes: dict[str, int] = {}
    for row in claims.layout.servers:
        n_servers[row.offer] += row.count
        sizes[row.offer] = row.gpus_per_server
    needed: Counter[str] = Counter()
    taken: Counter[tuple[str, int]] = Counter()
    for name, _, group in claims.groups():
        offered = claims.scenario.inventory.get(group.offer)
        if offered is not None and offered.gpu != group.gpu:
            yield f"{name}: gpu is {group.gpu}, {group.offer} has {offered.gpu}"
        if group.offer not in sizes:
            yield f"{name}: no server of {group.offer} is in the plan"
            continue
        needed[group.offer] += group.replicas * group.gpus_per_replica
        yield from _placement(name, group, sizes[group.offer], n_servers[group.offer], taken)
    for offer, gpus in needed.items():
        there = sizes[offer] * n_servers[offer]
        if gpus > there:
            yield f"{offer}: its replicas need {gpus} GPUs, {n_servers[offer]} servers have {there}"
    for (offer, server), gpus in sorted(taken.items()):
        if gpus > sizes[offer]:
            yield f"{offer}: server {server} is given replicas of {gpus} GPUs and has {sizes[offer]}"
    for offer, count in n_servers.items():
        used = {server for (of, server), gpus in taken.items() if of == offer and gpus and 0 <= server < count}
        if len(used) < count:
            first = next(server for server in range(count) if server not in used)
            yield (
                f"{offer}: {count - len(used)} of its {count} servers run nothing, server {first} for one; "
                "servers are paid only if used"
            )


def _offers(claims: Claims) -> Iterator[str]:
    counts: Counter[tuple[str, Term]] = Counter()
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
        counts[row.offer, row.term] += row.count
    for (name, term), count in counts.items():
        offer = claims.scenario.inventory[name]
        limit = _limit(offer, term)
        if limit is None:
            yield f"{name}: the scenario does not offer it on the term {term}"
        elif count > limit:
            yield f"{name} ({term}): {count} servers are planned, the scenario has {limit}"


def _limit(offer: Offer, term: Term) -> float | None:
    """Servers to be had on a term, infinite without a limit; null = the scenario does not offer it."""
    if term == "own":
        return offer.own
    sold = {"buy": offer.buy, "rent": offer.rent}.get(term)
    if sold is None:
        return None
    return inf if sold.max is None else sold.max


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
        yield f"{name}: {len(group.placement)} replicas are placed, there are {group.replicas}"
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
