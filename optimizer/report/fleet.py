"""A plan as one decision, its orders in words, its fullest moment, and its equal replicas under names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from optimizer.layout import Layout, ReplicaGroup, Servers, Term
from optimizer.report.group_names import unique_names
from optimizer.report.words import figure
from optimizer.scenario.words import listed
from optimizer.uses import Use, uses

VERBS: dict[Term, str] = {"buy": "buy", "rent": "rent", "reserve": "reserve", "spot": "rent as spot", "own": "use"}


@dataclass(frozen=True, slots=True)
class Kind:
    """Equal replicas of one workload, whenever they serve."""

    name: str
    """The workload, and what tells its kinds apart where it has several."""
    workload: str
    group: ReplicaGroup
    """Of the period with the most load."""
    replicas: tuple[int, ...]
    """In each period; a single one where the plan has no periods."""


def decision(layout: Layout) -> tuple[tuple[Term, str, int], ...]:
    """(term, offer, servers), sorted: all that is ever bought or reserved, the most that is rented or used at once."""
    found: dict[tuple[Term, str], int] = {}
    for use in uses(layout, 0.0):
        key, before = (use.term, use.offer), found.get((use.term, use.offer), 0)
        adds = use.term in ("buy", "reserve") or not layout.periods
        found[key] = before + use.count if adds else max(before, use.count)
    return tuple(sorted((*key, count) for key, count in found.items()))


def in_words(layout: Layout) -> str:
    """`buy 1 × h100-node, rent 2 × cloud`; with periods those rented or used come and go, so these are `up to`."""
    rows = decision(layout)
    said = [
        f"{verb} {_up_to(layout, term)}{n} × {offer}"
        for term, verb in VERBS.items()
        for of_row, offer, n in rows
        if of_row == term
    ]
    return ", ".join(said) or "nothing"


def _up_to(layout: Layout, term: Term) -> str:
    return "up to " if layout.periods and term not in ("buy", "reserve") else ""


def actions(found: Sequence[Use]) -> str:
    """`buy 2 × stockholm and rent 1 × a and 2 × b`; nothing of nothing."""
    by_term: dict[Term, list[str]] = {}
    for use in found:
        by_term.setdefault(use.term, []).append(f"{use.count} × {use.offer}")
    said = [f"{VERBS[term]} {listed(by_term[term], 'and')}" for term in VERBS if term in by_term]
    return listed(said, "and") if said else ""


def moments(layout: Layout) -> tuple[tuple[str, int], ...]:
    """(name, period) of the start and, with periods, of that with the most GPUs."""
    if not layout.periods:
        return (("", 1),)
    fullest = max(layout.periods, key=lambda plan: (_gpus(plan.servers), -plan.period))
    found = [("now", 1)]
    if fullest.period > 1:
        found.append((f"month {figure(fullest.starts_month + 1)}, with the most servers", fullest.period))
    return tuple(found)


def _gpus(servers: Sequence[Servers]) -> int:
    return sum(row.count * row.gpus_per_server for row in servers)


def kinds(layout: Layout) -> tuple[Kind, ...]:
    """Equal replicas over all periods, with names that are unique."""
    periods = [layout] if not layout.periods else [layout.of_period(plan.period) for plan in layout.periods]
    groups: dict[tuple[str, str, int], dict[int, ReplicaGroup]] = {}
    for at, plan in enumerate(periods):
        nth: Counter[tuple[str, str]] = Counter()
        for workload, group in ((one, group) for one in plan.workloads for group in one.replica_groups):
            key = workload.name, _alike(group)
            groups.setdefault((*key, nth[key]), {})[at] = group
            nth[key] += 1
    busiest = {key: max(seen.values(), key=lambda group: group.load_rps) for key, seen in groups.items()}
    names = unique_names([(key[0], group) for key, group in busiest.items()])
    return tuple(
        Kind(
            name,
            key[0],
            busiest[key],
            tuple(seen[at].replicas if at in seen else 0 for at in range(len(periods))),
        )
        for name, (key, seen) in zip(names, groups.items(), strict=True)
    )


def _alike(group: ReplicaGroup) -> str:
    """What makes replicas of one kind; loads and places are not part of it."""
    own = {"replicas", "load_rps", "capacity_rps", "utilization", "class_rps", "placement"}
    return group.model_dump_json(exclude=own)
