"""Whether some replicas can carry a workload: a small linear program, solved by code of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NOTHING = 1e-11
MOST_PIVOTS = 10_000


def least_peak(demand_rps: Sequence[float], replicas: Sequence[int], rate_rps: Sequence[Sequence[float]]) -> float:
    """How busy the busiest group of replicas must be, when classes are split over the groups at best; ∞ = impossible.

    `rate_rps` [G][R] is what one replica of a group sustains of each class when it serves nothing else.

    minimise t  subject to  Σ_g x[g,r] = 1 ∀ r,   Σ_r demand[r] / rate[g,r] · x[g,r] ≤ replicas[g] · t ∀ g,   x ≥ 0
    """
    wanted = [r for r, rps in enumerate(demand_rps) if rps > 0]
    groups = [g for g, n in enumerate(replicas) if n > 0]
    pairs = [(g, r) for g in groups for r in wanted if rate_rps[g][r] > 0]
    if {r for _, r in pairs} != set(wanted):
        return float("inf")
    if not wanted:
        return 0.0
    # Columns: shares, then t, then what each group has left. Rows: classes, then groups. Every share is scaled so that
    # the rows of groups count whole groups.
    n_rows, n_pairs = len(wanted) + len(groups), len(pairs)
    table = np.zeros((n_rows, n_pairs + 1 + len(groups)))
    right = np.zeros(n_rows)
    right[: len(wanted)] = 1.0
    for column, (g, r) in enumerate(pairs):
        table[wanted.index(r), column] = 1.0
        table[len(wanted) + groups.index(g), column] = demand_rps[r] / rate_rps[g][r] / replicas[g]
    table[len(wanted) :, n_pairs] = -1.0
    table[len(wanted) :, n_pairs + 1 :] = np.eye(len(groups))
    # To begin with the first group that can carries each class whole, and t is the busiest of them.
    first = [next(column for column, (_, r) in enumerate(pairs) if r == wanted[i]) for i in range(len(wanted))]
    busy = table[len(wanted) :, first].sum(axis=1)
    busiest = int(np.argmax(busy))
    slack = [n_pairs + 1 + g for g in range(len(groups)) if g != busiest]
    return _minimise(table, right, n_pairs, [*first, n_pairs, *slack])


def _minimise(table: NDArray[np.float64], right: NDArray[np.float64], objective: int, basis: list[int]) -> float:
    """The least value of column `objective`, from a feasible basis, by the simplex method with Bland's rule."""
    for _ in range(MOST_PIVOTS):
        inverse = np.linalg.inv(table[:, basis])
        values = inverse @ right
        costs = np.zeros(table.shape[1])
        costs[objective] = 1.0
        reduced = costs - (costs[basis] @ inverse) @ table
        entering = np.flatnonzero(reduced < -NOTHING)
        if not len(entering):
            return float(costs[basis] @ values)
        direction = inverse @ table[:, entering[0]]
        rows = np.flatnonzero(direction > NOTHING)
        steps = np.maximum(0.0, values[rows]) / direction[rows]
        tied = rows[steps <= steps.min() + NOTHING]
        basis[min(tied, key=lambda row: basis[row])] = int(entering[0])
    raise ArithmeticError("the simplex method did not end")
