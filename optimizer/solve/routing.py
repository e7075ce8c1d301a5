"""How a workload's load is spread over replicas that are already chosen, exactly and evenly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optimizer.errors import SolverError
from optimizer.formulation import Program
from optimizer.serving_config import FloatArray, IntArray
from optimizer.solve.backend import solve_program


@dataclass(frozen=True, slots=True)
class Routing:
    """Shares of each class's demand, and how busy that keeps the busiest group."""

    share: FloatArray  # [G, R] columns sum to 1
    peak_utilization: float


def route(replicas: IntArray, busy: FloatArray) -> Routing | None:
    """Split every class over the groups of replicas [G] so that the busiest group is least busy.

    `busy` [G, R] is demand / rate: the replicas of a group that the whole demand of a class would keep busy, infinite
    where the group cannot serve the class. None when some class has no group left.

    minimise t  subject to  Σ_g share[g,r] = 1  ∀ r,   Σ_r busy[g,r] · share[g,r]  ≤  replicas[g] · t  ∀ g

    With one class, or one group, the answer is closed.
    """
    replicas, busy = replicas[replicas > 0], busy[replicas > 0]
    if not np.isfinite(busy).any(axis=0).all():
        return None
    if busy.shape[1] == 1:
        strength = replicas[:, None] / busy
        share = strength / strength.sum()
    elif len(replicas) == 1:
        share = np.ones_like(busy)
    else:
        share = _least_peak(replicas, busy)
    kept_busy = np.where(share > 0, share * np.where(np.isfinite(busy), busy, 0.0), 0.0).sum(axis=1)
    return Routing(share, float((kept_busy / replicas).max()))


def _least_peak(replicas: IntArray, busy: FloatArray) -> FloatArray:
    """The linear program of `route`, by GLOP; shares are renormalised so that every class adds up to 1 exactly."""
    g, r = np.nonzero(np.isfinite(busy))
    n_groups, n_classes = busy.shape
    loads, peak = np.arange(len(g)), len(g)
    every = np.arange(n_groups)
    entries = (
        np.concatenate([r, n_classes + g, n_classes + every]),
        np.concatenate([loads, loads, np.full(n_groups, peak)]),
        np.concatenate([np.ones(len(g)), busy[g, r], -replicas.astype(float)]),
    )
    most = busy[g, r].sum()  # every group carrying everything it can: no routing is busier
    one, none = np.ones(n_classes), np.zeros(n_groups)
    program = Program.from_entries(
        objective=np.append(np.zeros(len(g)), 1.0),
        upper=np.append(np.ones(len(g)), most),
        is_integer=np.zeros(len(g) + 1, bool),
        row_bounds=(np.append(one, none - np.inf), np.append(one, none)),
        entries=entries,
    )
    solution = solve_program(program, solver="glop")
    if solution.values is None:
        raise SolverError(f"GLOP could not route the load: {solution.outcome}")
    share = np.zeros_like(busy)
    share[g, r] = np.maximum(0.0, solution.values[:peak])
    whole: FloatArray = share / share.sum(axis=0)
    return whole
