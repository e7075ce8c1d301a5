"""An earlier plan as the place where the solver begins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from optimizer.candidates import ReplicaSpec
from optimizer.formulation import Instance
from optimizer.layout import Layout, ReplicaGroup, Servers, Term, WorkloadPlan
from optimizer.solve import Start


def warm_start(inst: Instance, plan: Layout) -> Start:
    """The counts of a plan as far as the instance has its candidates and servers; the rest is 0.

    A replica is recognised by workload, offer and configuration; where the batch size has changed with the scenario, by
    the rest of them.
    """
    n_periods = inst.horizon.n_periods
    n_workloads = len(inst.workload_names) // n_periods
    period = (inst.workload_of_candidate // n_workloads).tolist()
    exact = {
        (t, *name): k for k, (t, name) in reversed(list(enumerate(zip(period, inst.candidate_names, strict=True))))
    }
    alike = {(t, w, s, _without_batch(label)): k for (t, w, s, label), k in exact.items()}
    n_replicas = np.zeros(len(inst.candidate_names), np.int64)
    counts: Counter[tuple[int, str, Term, float | None]] = Counter()
    for t, (servers, workloads) in enumerate(_periods(plan, n_periods)):
        counts.update({(t, row.offer, row.term, row.term_months): row.in_use for row in servers})
        for workload in workloads:
            for group in workload.replica_groups:
                label = f"{_label(group)}{inst.horizon.suffix(t)}"
                k = exact.get((t, workload.name, group.offer, label))
                if k is None:
                    k = alike.get((t, workload.name, group.offer, _without_batch(label)))
                if k is not None:
                    n_replicas[k] += group.replicas
    n_servers = np.array([counts[x.period, x.offer, x.term, x.term_months] for x in inst.terms], np.int64)
    return Start(n_replicas, n_servers)


def _periods(plan: Layout, n_periods: int) -> Iterator[tuple[tuple[Servers, ...], tuple[WorkloadPlan, ...]]]:
    """Servers and workloads of so many periods, the plan's last one again where it has fewer."""
    planned = [(one.servers, one.workloads) for one in plan.periods] or [(plan.servers, plan.workloads)]
    for t in range(n_periods):
        yield planned[min(t, len(planned) - 1)]


def _label(group: ReplicaGroup) -> str:
    return ReplicaSpec(
        gpu=group.gpu,
        gpus=group.gpus_per_replica,
        model=group.model,
        weight_dtype=group.weight_dtype,
        kv_cache_dtype=group.kv_cache_dtype,
        engine=group.engine,
        tp=group.tp,
        pp=group.pp,
        dp=group.dp,
        ep=group.ep,
        max_batch_size=group.max_batch_size,
    ).label


def _without_batch(label: str) -> str:
    """`… tp2` of `… tp2 b64`."""
    return label.rsplit(" b", 1)[0]
