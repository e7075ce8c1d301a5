"""Names that tell the replica groups of a plan apart, in tables and on pages alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from optimizer.layout import Layout, ReplicaGroup, WorkloadPlan


def named_groups(layout: Layout) -> Iterator[tuple[str, WorkloadPlan, ReplicaGroup]]:
    """Every replica group of the plan under a name of its own, in the order of the plan."""
    groups = [(workload, group) for workload in layout.workloads for group in workload.replica_groups]
    names = unique_names([(workload.name, group) for workload, group in groups])
    for name, (workload, group) in zip(names, groups, strict=True):
        yield name, workload, group


def unique_names(groups: Sequence[tuple[str, ReplicaGroup]]) -> list[str]:
    """A workload's own name; with its offer, then the batch, at last a number where that is not unique."""
    offers: dict[str, set[str]] = {}
    for workload, group in groups:
        offers.setdefault(workload, set()).add(group.offer)
    placed = [f"{name} on {group.offer}" if len(offers[name]) > 1 else name for name, group in groups]
    batched = [f"{name}, batch {group.max_batch_size}" for name, (_, group) in zip(placed, groups, strict=True)]
    numbered, numbers = [], Counter[str]()
    for name in placed:
        numbers[name] += 1
        numbered.append(f"{name} ({numbers[name]})")
    return [
        next(tried[at] for tried in (placed, batched, numbered) if tried.count(tried[at]) == 1)
        for at in range(len(groups))
    ]
