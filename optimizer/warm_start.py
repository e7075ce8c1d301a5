"""An earlier plan as the place where the solver begins."""

from __future__ import annotations

from collections import Counter

import numpy as np

from optimizer.candidates import ReplicaSpec
from optimizer.formulation import Instance
from optimizer.layout import Layout, ReplicaGroup
from optimizer.solve import Start


def warm_start(inst: Instance, plan: Layout) -> Start:
    """The counts of a plan as far as the instance has its candidates and servers; the rest is 0.

    A replica is recognised by workload, offer and configuration; where the batch size has changed with the scenario, by
    the rest of them.
    """
    exact = {name: k for k, name in reversed(list(enumerate(inst.candidate_names)))}
    alike = {(w, s, _without_batch(label)): k for (w, s, label), k in exact.items()}
    n_replicas = np.zeros(len(inst.candidate_names), np.int64)
    for workload in plan.workloads:
        for group in workload.replica_groups:
            label = _label(group)
            k = exact.get((workload.name, group.offer, label))
            if k is None:
                k = alike.get((workload.name, group.offer, _without_batch(label)))
            if k is not None:
                n_replicas[k] += group.replicas
    counts = Counter({(row.offer, row.term): row.count for row in plan.servers})
    n_servers = np.array([counts[term.offer, term.term] for term in inst.terms], np.int64)
    return Start(n_replicas, n_servers)


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
