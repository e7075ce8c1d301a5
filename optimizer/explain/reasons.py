"""Why a workload runs as it does: what its replicas are bound by, and the cheapest plan that does without them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from optimizer.candidates import on_offer, planned_spec
from optimizer.explain.margins import difference
from optimizer.explain.resolver import Change, Choice, Resolver, Solved, unchanged
from optimizer.layout import Layout, ReplicaGroup


@dataclass(frozen=True, slots=True)
class RunnerUp:
    """The cheapest plan in which a workload does without a kind of replica."""

    instead: tuple[str, ...]
    """What the workload then runs on: `2 × Qwen/Qwen3-14B fp8 tp2 on h100`; empty when there is no such plan."""
    usd_per_hour_more: float | None
    """None = there is no such plan."""
    is_proven: bool


@dataclass(frozen=True, slots=True)
class Reason:
    """One kind of replica of a workload."""

    workload: str
    offer: str
    structure: str
    replicas: int
    """Over several periods the most at a time."""
    utilization: float
    limit: str | None
    """What keeps its batch from growing."""
    n_admissible: int
    """Kinds of replicas that could have been used: structures times offers."""
    runner_up: RunnerUp


def structure_of(group: ReplicaGroup) -> str:
    """As candidates name it."""
    return planned_spec(group).structure


def used_choices(layout: Layout) -> dict[Choice, list[ReplicaGroup]]:
    """Kinds of replicas of a plan, in its order; over several periods or futures as in the one with most of them."""
    found: dict[Choice, list[ReplicaGroup]] = {}
    for _, _, period in layout.states():
        now: dict[Choice, list[ReplicaGroup]] = {}
        for plan in period.workloads:
            for group in plan.replica_groups:
                now.setdefault(Choice(plan.name, group.offer, structure_of(group)), []).append(group)
        for choice, groups in now.items():
            if sum(g.replicas for g in groups) > sum(g.replicas for g in found.get(choice, ())):
                found[choice] = groups
    return found


def reason(resolver: Resolver, base: Solved, choice: Choice, groups: list[ReplicaGroup]) -> Reason:
    """Why this kind of replica, told by what it costs to do without it."""
    without = Change(f"without {on_offer(choice.structure, choice.offer)}", unchanged, forbidden=frozenset([choice]))
    solved = resolver.cheapest(without)
    instead = () if solved is None else described(solved.replicas, choice.workload)
    replicas = sum(group.replicas for group in groups)
    return Reason(
        workload=choice.workload,
        offer=choice.offer,
        structure=choice.structure,
        replicas=replicas,
        utilization=sum(group.utilization * group.replicas for group in groups) / replicas,
        limit=groups[0].limit,
        n_admissible=len(set(resolver.choices(resolver.candidates[choice.workload]))),
        runner_up=RunnerUp(
            instead,
            None if solved is None else difference(solved.usd_per_hour, base.usd_per_hour),
            resolver.is_impossible(without) if solved is None else solved.is_proven,
        ),
    )


def described(replicas: Mapping[Choice, int], workload: str) -> tuple[str, ...]:
    """What a workload runs on in a plan."""
    return tuple(
        f"{n} × {on_offer(choice.structure, choice.offer)}"
        for choice, n in sorted(replicas.items())
        if choice.workload == workload
    )
