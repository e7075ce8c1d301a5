"""The cheapest plan of every workload at given prices of slots, exactly, all workloads at once.

A workload of one request class chooses replica counts by a covering knapsack,

minimise Σ_k price[k] · n[k]   subject to   Σ_k carried[k] · n[k] ≥ 1,   n integer ≥ 0,

over the candidates of one model and format (a *group*), and takes the best of its groups.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import numpy as np

from optimizer.serving_config import BoolArray, FloatArray, IntArray
from optimizer.solve.columns.blocks import Blocks
from optimizer.solve.columns.plans import Plans

TOLERANCE = 1e-9
"""Of the demand, which a plan may fall short of by rounding; far below what a plan is checked to."""
FINEST_UNITS, COARSEST_UNITS = 64, 8
"""Into which the capacity of the cheapest candidate is divided: between these, as far as the table allows."""
TABLE_UNITS = 2048
"""Units of demand that a table should not exceed."""
MOST_STEPS = 2000
"""Of the search for the plan of one group, after which its bound stands."""


@dataclass(frozen=True, slots=True)
class _Items:
    """Candidates worth a thought, of some groups, as rows padded with price infinity; the first column is the base."""

    group: IntArray  # [n]
    candidate: IntArray  # [n, I]
    price: FloatArray  # [n, I]
    carried: FloatArray  # [n, I]


class Pricing:
    """Prices the single-class workloads of an instance; what does not depend on prices is done once."""

    def __init__(self, blocks: Blocks, workloads: BoolArray) -> None:
        """`workloads` [W] says which ones."""
        inst = blocks.inst
        here = np.flatnonzero(workloads[inst.workload_of_candidate[inst.candidate_of_load]])
        candidate = inst.candidate_of_load[here]
        workload = inst.workload_of_candidate[candidate]
        # Most capacity first: then a candidate is beaten exactly when one before it costs no more.
        order = np.lexsort((-inst.carried[here], inst.choice_of_load[here], workload))
        key = np.stack([workload[order], inst.choice_of_load[here][order]])
        first = np.flatnonzero(np.concatenate([[True], (np.diff(key) != 0).any(axis=0)])[: len(order)])
        size = np.diff(np.append(first, len(order)))
        width = int(size.max(initial=0))
        position = np.arange(len(order)) - np.repeat(first, size)
        row = np.repeat(np.arange(len(first)), size)
        self.workload = key[0, first]  # [G]
        self._candidate = np.full((len(first), width), -1)
        self._candidate[row, position] = candidate[order]
        self._carried = np.zeros((len(first), width))
        self._carried[row, position] = inst.carried[here][order]
        self._blocks = blocks
        self.first_group = np.flatnonzero(np.concatenate([[True], np.diff(self.workload) != 0])[: len(first)])

    def run(self, price: FloatArray) -> tuple[FloatArray, Plans]:
        """What no plan undercuts, and a plan, of each of these workloads, at the prices [rows of the supply]."""
        if not len(self.workload):
            none = np.zeros(0, np.int64)
            return np.zeros(0), Plans(none, none, none, none)
        unit = np.append(self._blocks.unit(price), np.inf)[self._candidate]  # -1, no candidate, is the last
        items = self._worth_a_thought(unit)
        least, cost, counts = _solve(items)
        return self._best_groups(items, least, cost, counts)

    def _worth_a_thought(self, unit: FloatArray) -> _Items:
        """Per group the candidates that none beats, as far as they can be in a cheapest plan."""
        beaten = np.zeros(unit.shape, bool)
        np.greater_equal(unit[:, 1:], np.minimum.accumulate(unit, axis=1)[:, :-1], out=beaten[:, 1:])
        beaten |= np.isinf(unit)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(beaten, np.inf, unit / self._carried)
            alone = np.where(beaten, np.inf, unit * np.ceil(1.0 / self._carried - TOLERANCE))
        rho = ratio.min(axis=1)
        base = ratio.argmin(axis=1)
        # No plan of the workload needs to cost more than its best one of equal replicas.
        most = np.minimum.reduceat(alone.min(axis=1), self.first_group)
        slack = np.repeat(most, np.diff(np.append(self.first_group, len(rho)))) - rho
        most_extra = slack * (1 + TOLERANCE) + TOLERANCE * rho
        with np.errstate(invalid="ignore"):
            kept = ~beaten & (unit - rho[:, None] * self._carried <= most_extra[:, None])
        group = np.flatnonzero(kept.any(axis=1))
        order = np.where(kept[group], 1, 2)
        order[np.arange(len(group)), base[group]] = 0
        width = int(kept[group].sum(axis=1).max(initial=0))
        column = np.argsort(order, axis=1, kind="stable")[:, :width]
        rows = group[:, None]
        price = np.where(kept[rows, column], unit[rows, column], np.inf)
        return _Items(group, self._candidate[rows, column], price, self._carried[rows, column])

    def _best_groups(
        self, items: _Items, least: FloatArray, cost: FloatArray, counts: IntArray
    ) -> tuple[FloatArray, Plans]:
        workload = self.workload[items.group]
        first = np.flatnonzero(np.concatenate([[True], np.diff(workload) != 0])[: len(workload)])
        lowest = np.minimum.reduceat(least, first)
        order = np.lexsort((cost, workload))
        best = order[np.searchsorted(workload[order], workload[first])]
        plan, column = np.nonzero(counts[best])
        plans = Plans(workload[first], plan, items.candidate[best[plan], column], counts[best[plan], column])
        return lowest, plans


def _solve(items: _Items) -> tuple[FloatArray, FloatArray, IntArray]:
    """Lower bound, cost and counts [n, I] of the covering knapsack of each row."""
    n, width = items.price.shape
    counts = np.zeros((n, width), np.int64)
    least = np.zeros(n)
    # One candidate is left, or the one of least price for what it carries carries everything.
    alone = np.isinf(items.price[:, 1:]).all(axis=1) | (items.carried[:, 0] >= 1.0 - TOLERANCE)
    counts[alone, 0] = np.ceil(1.0 / items.carried[alone, 0] - TOLERANCE)
    least[alone] = counts[alone, 0] * items.price[alone, 0]
    several = np.flatnonzero(~alone)
    if len(several):
        some = _Items(items.group[several], items.candidate[several], items.price[several], items.carried[several])
        least[several], counts[several] = _covering(some)
    cost = (counts * np.where(counts > 0, items.price, 0.0)).sum(axis=1)
    return least, cost, counts


def _covering(items: _Items) -> tuple[FloatArray, IntArray]:
    """Lower bound and counts [n, I] of rows with several candidates.

    Capacities are counted in units of which the base candidate has a whole number, the others' rounded up. Cheapest
    ways to cover 1, 2, … units give a bound, and the optimum if the plan carries the demand by its real capacities;
    where it does not, a search guided by that bound goes on from there.
    """
    base = items.carried[:, 0]
    units = np.clip(np.floor(TABLE_UNITS * base), COARSEST_UNITS, FINEST_UNITS)
    demand = np.ceil(units / base - TOLERANCE).astype(np.int64)
    usable = np.isfinite(items.price)
    exact = np.where(usable, items.carried / base[:, None] * units[:, None], 1.0)
    covers = np.minimum(np.ceil(exact - TOLERANCE), demand[:, None]).astype(np.int64)
    order = np.argsort(-demand, kind="stable")
    cost, counts = _table(items.price[order], covers[order], demand[order])
    least = cost[demand[order], np.arange(len(order))]
    short = (counts * items.carried[order]).sum(axis=1) < 1.0 - TOLERANCE
    for column in np.flatnonzero(short):
        row = order[column]
        some = np.flatnonzero(usable[row])
        to_go = cost[: demand[row] + 1, column].tolist()
        least[column], found = _search(
            items.price[row, some].tolist(), items.carried[row, some].tolist(), to_go, units[row] / base[row]
        )
        counts[column] = 0
        counts[column, some] = found
    back = np.argsort(order, kind="stable")
    return least[back], counts[back]


def _table(price: FloatArray, covers: IntArray, demand: IntArray) -> tuple[FloatArray, IntArray]:
    """Least cost [units, n] of covering so many units, and the counts [n, I] that cover the demand; longest first."""
    n, width = price.shape
    longest = int(demand[0])
    cost = np.zeros((longest + 1, n))
    choice = np.zeros((longest + 1, n), np.int16)
    open_ = np.searchsorted(-demand, -np.arange(longest + 1), side="right")
    columns = np.arange(n)[:, None]
    for t in range(1, longest + 1):
        rows = int(open_[t])
        total = price[:rows] + cost[np.maximum(t - covers[:rows], 0), columns[:rows]]
        choice[t, :rows] = best = total.argmin(axis=1)
        cost[t, :rows] = total[np.arange(rows), best]
    counts = np.zeros((n, width), np.int64)
    left, active = demand.copy(), np.arange(n)
    while len(active):
        taken = choice[left[active], active]
        counts[active, taken] += 1
        left[active] -= covers[active, taken]
        active = active[left[active] > 0]
    return cost, counts


def _search(price: list[float], carried: list[float], to_go: list[float], units: float) -> tuple[float, list[int]]:
    """The cheapest counts that carry everything, best bound first; `to_go` [units] bounds the cost of what is left."""
    k = len(price)
    heap = [(to_go[-1], 0.0, 1.0, 0, (0,) * k)]  # bound, cost, left, first candidate that may be added, counts
    for _ in range(MOST_STEPS):
        bound, cost, left, first, counts = heapq.heappop(heap)
        if left <= TOLERANCE:
            return cost, list(counts)
        for i in range(first, k):
            rest = left - carried[i]
            after = to_go[min(math.ceil(rest * units - TOLERANCE), len(to_go) - 1)] if rest > TOLERANCE else 0.0
            more = (*counts[:i], counts[i] + 1, *counts[i + 1 :])
            heapq.heappush(heap, (cost + price[i] + after, cost + price[i], rest, i, more))
    equal = [math.ceil(1.0 / c - TOLERANCE) for c in carried]
    best = min(range(k), key=lambda i: equal[i] * price[i])
    return bound, [equal[i] if i == best else 0 for i in range(k)]
