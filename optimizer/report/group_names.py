"""Names that tell the replica groups of a plan apart, in tables and on pages alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from optimizer.layout import Layout, ReplicaGroup, WorkloadPlan


def named_groups(layout: Layout) -> Iterator[tuple[str, WorkloadPlan, ReplicaGroup]]:
    """Every replica group of the plan under a name of its own, in the order of the plan."""
    groups = [(workload, group) for workload in layout.workloads for group in workload.replica_groups]
    names = unique_names([(workload.name, group) for workload, group in groups])
    for name, (workload, group) in zip(names, groups, strict=True):
        yield name, workload, group


def unique_names(groups: Sequence[tuple[str, ReplicaGroup]]) -> list[str]:
    """A workload's own name; with the offer, then the batch, at last a number where that is not unique."""
    tries: tuple[Callable[[str, ReplicaGroup], str], ...] = (
        lambda workload, _group: workload,
        lambda workload, group: f"{workload} on {group.offer}",
        lambda workload, group: f"{workload} on {group.offer}, batch {group.max_batch_size}",
    )
    names = [""] * len(groups)
    for attempt in tries:
        said = [attempt(*one) for one in groups]
        taken = {name for name in names if name}
        for at, name in enumerate(said):
            if not names[at] and said.count(name) == 1 and name not in taken:
                names[at] = name
    numbers: Counter[str] = Counter()
    for at, (workload, group) in enumerate(groups):
        if not names[at]:
            on = f"{workload} on {group.offer}"
            numbers[on] += 1
            names[at] = f"{on} ({numbers[on]})"
    return names
