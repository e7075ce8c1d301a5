"""From a solver's numbers to a plan's: whole counts, nothing superfluous, load spread exactly.

Among plans of equal cost a solver returns any. The order by which we choose is: fewest servers, then fewest GPUs in use
(a replica that is not needed is taken away, the largest first), then the most even load.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optimizer.errors import SolverError
from optimizer.formulation import Instance
from optimizer.serving_config import FloatArray, IntArray
from optimizer.solve.routing import route

UTILIZATION_TOLERANCE = 1e-7
"""Relative; what a solver's feasibility tolerance may leave of a capacity row. Plans are checked to 1e-6."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to run and what to have."""

    n_replicas: IntArray  # [K]
    load_share: FloatArray  # [L] of each class's demand
    n_servers: IntArray  # [H]


def tidy(inst: Instance, n_replicas: IntArray, n_servers: IntArray) -> Decision:
    """The decision behind rounded counts.

    Raises:
        SolverError: the counts do not carry the demand; the solver's answer was wrong beyond tolerance.
    """
    n_replicas = n_replicas.copy()
    load_share = np.zeros(len(inst.candidate_of_load))
    loads_of = _loads_by_workload(inst)
    for w, loads in enumerate(loads_of):
        candidates = np.unique(inst.candidate_of_load[loads])
        if not inst.busy_replicas[loads].any():  # nothing of this workload is served
            n_replicas[candidates] = 0
            continue
        used = _of_one_choice(inst, loads, n_replicas, candidates[n_replicas[candidates] > 0])
        n_replicas[np.setdiff1d(candidates, used)] = 0
        busy, position = _busy_matrix(inst, loads, used)
        n_replicas[used] = _drop_superfluous(n_replicas[used], busy, inst.gpus_per_replica[used], inst.max_utilization)
        routing = route(n_replicas[used], busy)
        if routing is None or not _carries(routing.peak_utilization, inst.max_utilization):
            raise SolverError(f"the solver's replicas do not carry the demand of {inst.workload_names[w]}")
        rows = {int(k): i for i, k in enumerate(used[n_replicas[used] > 0])}
        for load, column in zip(loads, position, strict=True):
            row = rows.get(int(inst.candidate_of_load[load]))
            if row is not None:
                load_share[load] = routing.share[row, column]
    return Decision(n_replicas, load_share, n_servers)


def carried_share(inst: Instance, n_replicas: IntArray) -> FloatArray:
    """[W] the largest part of each workload's demand, alike for its classes, that replica counts carry."""
    share = np.zeros(len(inst.workload_names))
    for w, loads in enumerate(_loads_by_workload(inst)):
        candidates = np.unique(inst.candidate_of_load[loads])
        used = candidates[n_replicas[candidates] > 0]
        for alike in _by_choice(inst, loads, used) or [used]:
            busy, _ = _busy_matrix(inst, loads, alike)
            routing = route(n_replicas[alike], busy) if len(alike) else None
            if routing is not None:
                share[w] = max(share[w], min(1.0, inst.max_utilization / routing.peak_utilization))
    return share


def fewest_terms(inst: Instance, n_servers: IntArray, needed: Sequence[int]) -> IntArray:
    """Server counts by term [H] cut to what each offer needs [S], the dearest term first."""
    kept = n_servers.copy()
    for s, count in enumerate(needed):
        here = np.flatnonzero(inst.offer_of_term == s)
        surplus = int(kept[here].sum()) - count
        if surplus < 0:
            raise SolverError(
                f"{inst.offer_names[s]}: the replicas need {count} servers, the solver gave {kept[here].sum()}"
            )
        for h in sorted(here.tolist(), key=lambda h: (-inst.usd_per_hour[h], -h)):
            cut = min(surplus, int(kept[h]))
            kept[h] -= cut
            surplus -= cut
    return kept


def _loads_by_workload(inst: Instance) -> list[IntArray]:
    workload = inst.workload_of_candidate[inst.candidate_of_load]
    order = np.argsort(workload, kind="stable")
    bounds = np.searchsorted(workload[order], np.arange(len(inst.workload_names) + 1))
    return [order[a:b] for a, b in itertools.pairwise(bounds)]


def _of_one_choice(inst: Instance, loads: IntArray, n_replicas: IntArray, used: IntArray) -> IntArray:
    """The used candidates of the one model and format that carries the workload; all of them where formats may mix.

    Where servers are free a solver may leave replicas of a format that it sends no load to; they are superfluous. Of
    several formats that would do, the one with the fewest GPUs.
    """
    by_choice = _by_choice(inst, loads, used)
    if len(by_choice) < 2:
        return used
    gpus = [int(n_replicas[rows] @ inst.gpus_per_replica[rows]) for rows in by_choice]
    for q in np.argsort(gpus, kind="stable"):
        alike: IntArray = by_choice[q]
        busy, _ = _busy_matrix(inst, loads, alike)
        routing = route(n_replicas[alike], busy)
        if routing is not None and _carries(routing.peak_utilization, inst.max_utilization):
            return alike
    return used


def _by_choice(inst: Instance, loads: IntArray, used: IntArray) -> list[IntArray]:
    """The used candidates of each model and format; none where formats may mix."""
    choice = np.full(len(inst.candidate_names), -1)
    choice[inst.candidate_of_load[loads]] = inst.choice_of_load[loads]
    return [used[choice[used] == q] for q in np.unique(choice[used]) if q >= 0]


def _busy_matrix(inst: Instance, loads: IntArray, used: IntArray) -> tuple[FloatArray, IntArray]:
    """`busy` [G, R] of the used candidates of one workload, and the class column of each of its loads."""
    demands, column = np.unique(inst.demand_of_load[loads], return_inverse=True)
    busy = np.full((len(used), len(demands)), np.inf)
    row = np.searchsorted(used, inst.candidate_of_load[loads])
    is_used = np.isin(inst.candidate_of_load[loads], used)
    busy[row[is_used], column[is_used]] = inst.busy_replicas[loads][is_used]
    return busy, column


def _drop_superfluous(
    replicas: IntArray, busy: FloatArray, gpus_per_replica: IntArray, max_utilization: float
) -> IntArray:
    """Replica counts [G] from which none can be taken, largest replicas taken first."""
    replicas = replicas.copy()
    for g in np.argsort(-gpus_per_replica, kind="stable"):
        while replicas[g] > 0:
            replicas[g] -= 1
            routing = route(replicas, busy)
            if routing is None or not _carries(routing.peak_utilization, max_utilization):
                replicas[g] += 1
                break
    return replicas


def _carries(utilization: float, max_utilization: float) -> bool:
    return utilization <= max_utilization * (1 + UTILIZATION_TOLERANCE)
