"""Why a workload has no replica at all: its own restrictions that cannot hold together, on any number of servers."""

from __future__ import annotations

from collections.abc import Sequence

from optimizer.explain.loosening import Restriction, lifting, restrictions
from optimizer.explain.resolver import Resolver, can_be_served


def own_conflict(resolver: Resolver, name: str) -> tuple[Restriction, ...]:
    """A smallest set of a workload's restrictions that leave some class without a candidate.

    Each of them alone can be lifted to the effect that there are candidates. Empty when lifting all does not help: then
    it is the offers that cannot run the model. When the time is over, what was not looked at stays.
    """
    stated = tuple(restrictions(resolver.scenario.workloads[name], resolver.catalog))
    if not resolver.time_left_s or not _serves(resolver, name, stated):
        return ()
    kept = list(stated)
    for one in stated:
        if not resolver.time_left_s:
            break
        fewer = [other for other in kept if other is not one]
        if not _serves(resolver, name, [other for other in stated if other not in fewer]):
            kept = fewer
    return tuple(kept)


def _serves(resolver: Resolver, name: str, lifted: Sequence[Restriction]) -> bool:
    """Whether every class of the workload has a candidate without some of its restrictions."""
    scenario = lifting(name, lifted).apply(resolver.scenario)
    return can_be_served(resolver.rate(scenario, name))
