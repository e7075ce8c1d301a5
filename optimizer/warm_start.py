"""An earlier plan as the place where the solver begins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from optimizer.candidates import planned_spec
from optimizer.formulation import Horizon, Instance
from optimizer.layout import Layout, ReplicaGroup, Servers, Term, WorkloadPlan
from optimizer.solve import Start


def warm_start(inst: Instance, plan: Layout) -> Start:
    """The counts of a plan as far as the instance has its candidates and servers; the rest is 0.

    A replica is recognised by workload, offer and configuration; where the batch size has changed with the scenario, by
    the rest of them. For one that is only preferred at equal cost, and that no program holds, the fastest of as many
    GPUs on the offer stands.
    """
    n_states = inst.horizon.n_states
    n_workloads = len(inst.workload_names) // n_states
    state = (inst.workload_of_candidate // n_workloads).tolist()
    exact = {(t, *name): k for k, (t, name) in reversed(list(enumerate(zip(state, inst.candidate_names, strict=True))))}
    alike = {(t, w, s, _without_batch(label)): k for (t, w, s, label), k in exact.items()}
    fastest = _fastest_in_place(inst, state)
    n_replicas = np.zeros(len(inst.candidate_names), np.int64)
    counts: Counter[tuple[int, str, Term, float | None]] = Counter()
    for t, (servers, workloads) in enumerate(_states(plan, inst.horizon)):
        counts.update({(t, row.offer, row.term, row.term_months): row.in_use + row.stand_by for row in servers})
        for workload in workloads:
            for group in workload.replica_groups:
                suffix = inst.horizon.suffix(t)
                labels = [f"{_label(group, tokens)}{suffix}" for tokens in (group.max_num_batched_tokens, None)]
                known = (exact.get((t, workload.name, group.offer, label)) for label in labels)
                k = next((one for one in known if one is not None), None)
                if k is None:
                    k = alike.get((t, workload.name, group.offer, _without_batch(labels[0])))
                if k is None and group.stages is None:
                    k = fastest.get((t, workload.name, group.offer, group.gpus_per_replica))
                if k is not None:
                    n_replicas[k] += group.replicas
    n_servers = np.array([counts[x.state, x.offer, x.term, x.term_months] for x in inst.terms], np.int64)
    return Start(n_replicas, n_servers)


def _fastest_in_place(inst: Instance, states: Sequence[int]) -> dict[tuple[int, str, str, int], int]:
    """State, workload, offer and GPUs of a replica -> the candidate there that the demand keeps least busy."""
    busy = np.bincount(inst.candidate_of_load, weights=inst.busy_replicas, minlength=len(inst.candidate_names))
    order = np.argsort(-busy, kind="stable").tolist()  # the least busy one last, which stays
    gpus = inst.gpus_per_replica.tolist()
    return {(states[k], inst.candidate_names[k][0], inst.candidate_names[k][1], gpus[k]): k for k in order if busy[k]}


def _states(plan: Layout, horizon: Horizon) -> Iterator[tuple[tuple[Servers, ...], tuple[WorkloadPlan, ...]]]:
    """Servers and workloads of every state: where the plan knows no such future, of its likeliest, and of a later
    period than it has, of its last one."""
    in_future = {future.name: future.periods for future in plan.futures}
    for state in range(horizon.n_states):
        name = horizon.future_names[horizon.future_of(state)] if horizon.future_names else ""
        periods = in_future.get(name, plan.periods)
        one = periods[min(horizon.period_of(state), len(periods) - 1)] if periods else plan
        yield one.servers, one.workloads


def _label(group: ReplicaGroup, tokens: int | None) -> str:
    """With so many tokens a step; a candidate's label does not say them where they are the engine's default."""
    return replace(planned_spec(group), max_num_batched_tokens=tokens).label


def _without_batch(label: str) -> str:
    """`… tp2` of `… tp2 b64`."""
    return label.rsplit(" b", 1)[0]
