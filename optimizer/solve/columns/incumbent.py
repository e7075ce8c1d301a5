"""A whole plan near the bound: most workloads keep the plan that the relaxation gives them, the rest are solved.

The relaxation over all plans splits few workloads, no more than there are rows of the supply. Those, the opened ones
and the ones that change their plan at least cost are free; servers are whole; a backend solves that. Round by round
more are free. Over several states (periods, futures) a window of them is free instead, and goes round; what is ordered
is free in every round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from optimizer.serving_config import BoolArray, FloatArray, IntArray
from optimizer.solve.backend import solve_program
from optimizer.solve.columns.blocks import Blocks
from optimizer.solve.columns.plans import Plans, join
from optimizer.solve.columns.restricted import Opened, Restricted

RELAXED_PLANS, WINDOW_PLANS, FREE_PLANS = 6, 12, 80
"""Of a workload, its cheapest, in the relaxation, where it is free in a window of states, and where it is free."""
FIRST_FREE = 150
"""Workloads that are free in the first round."""
GROWTH = 2.0
"""By which that number grows from round to round."""
FIRST_WINDOW = 3
"""States that are free at once: two are too few for orders to move (measured: a gap of 10 % instead of 2.5 %)."""
WINDOW_GROWTH = 2
"""By which a window grows when it has been everywhere and found nothing."""
MOST_NODES = 500
"""Of branch and bound in a round."""
SHARE_OF_GAP = 0.25
"""Of the gap that is still allowed, to which a round is solved."""
WORTH = 1e-4
"""Relative; a window that saves less counts as one that found nothing."""
SPLIT = 1e-6
"""Share of a plan in a relaxation, which is less than whole by more than rounding."""


@dataclass(frozen=True, slots=True)
class Incumbent:
    """A whole plan."""

    usd_per_hour: float
    plans: Plans  # one a workload
    supply: IntArray  # [Y] counts


@dataclass(frozen=True, slots=True)
class Pool:
    """Plans of all workloads and what each costs above the cheapest at the prices of the bound."""

    plans: Plans
    above: FloatArray  # [P] USD per hour
    rank: IntArray  # [P] among the plans of its workload, from 0

    @classmethod
    def of(cls, blocks: Blocks, plans: Plans, price: FloatArray, least: FloatArray) -> Pool:
        """The distinct plans, priced at [rows of the supply]; `least` [W] is the cheapest of each workload."""
        distinct = plans.distinct(blocks)
        above = distinct.cost(blocks.unit(price)) - least[distinct.workload]
        order = np.lexsort((above, distinct.workload))
        first = np.searchsorted(distinct.workload[order], np.arange(blocks.n_workloads))
        rank = np.empty(len(distinct), np.int64)
        rank[order] = np.arange(len(distinct)) - first[distinct.workload[order]]
        near = rank < FREE_PLANS
        return cls(distinct.take(near), above[near], rank[near])


class FixAndRelax:
    """Rounds of solving some workloads exactly while the others keep their plans."""

    def __init__(
        self, blocks: Blocks, pool: Pool, opened: Sequence[Opened], gap: float, time_left_s: Callable[[], float]
    ) -> None:
        """`opened` workloads are free in every round, and may take any plan."""
        self._blocks, self._pool, self._opened = blocks, pool, opened
        self._gap, self._time_left_s = gap, time_left_s
        self._is_open = np.zeros(blocks.n_workloads, bool)
        self._is_open[[one.block.workload for one in opened]] = True

    def run(self, best: Incumbent | None, seed: int) -> Iterator[Incumbent]:
        """Better and better plans, until all workloads were free or time is up."""
        current, is_split = self._relaxed()
        if current is None:
            return
        if self._blocks.inst.horizon.has_orders:
            yield from self._by_windows(current, best)
        else:
            yield from self._by_ease(current, is_split, best, seed)

    def _by_ease(self, current: Plans, is_split: BoolArray, best: Incumbent | None, seed: int) -> Iterator[Incumbent]:
        """More and more workloads are free, whatever is cheap to change first, in an order drawn anew each round."""
        n = self._blocks.n_workloads
        second = np.full(n, np.inf)
        is_second = self._pool.rank == 1
        second[self._pool.plans.workload[is_second]] = self._pool.above[is_second]
        typical = float(np.median(second[np.isfinite(second)])) if np.isfinite(second).any() else 0.0
        rng = np.random.default_rng(seed)
        n_free = float(FIRST_FREE)
        while self._time_left_s() > 0:
            ease = np.where(is_split, -1.0, second + typical * rng.random(n))
            free = self._is_open.copy()
            free[np.argsort(ease, kind="stable")[: int(n_free)]] = True
            found = self._round(current, free)
            if found is not None and (best is None or found.usd_per_hour < best.usd_per_hour):
                best = found
                yield best
            if free.all():
                return
            if best is not None:
                current, is_split = best.plans, np.zeros(n, bool)
            n_free *= GROWTH

    def _by_windows(self, current: Plans, best: Incumbent | None) -> Iterator[Incumbent]:
        """A window of states is free and goes round all of them until it finds nothing; then it grows."""
        n_states = self._blocks.inst.horizon.n_states
        state = np.arange(self._blocks.n_workloads) * n_states // self._blocks.n_workloads
        width, start, idle = FIRST_WINDOW, 0, 0
        while self._time_left_s() > 0:
            free = self._is_open | ((state - start) % n_states < width)
            found = self._round(current, free, FREE_PLANS if free.all() else WINDOW_PLANS)
            idle += 1
            if found is not None and (best is None or found.usd_per_hour < best.usd_per_hour * (1 - WORTH)):
                best, current, idle = found, found.plans, 0
                yield best
            if free.all():
                return
            start = (start + 1) % n_states
            if idle >= n_states:
                width, idle = width * WINDOW_GROWTH, 0

    def _relaxed(self) -> tuple[Plans | None, BoolArray]:
        """Of each workload the plan with the largest share in the relaxation, and whether it is split [W]."""
        n = self._blocks.n_workloads
        for most in (RELAXED_PLANS, FREE_PLANS):
            few = self._pool.plans.take(self._pool.rank < most)
            share = Restricted.over(self._blocks, few).relaxed()
            if share is not None:
                order = np.lexsort((-share, few.workload))
                largest = few.take(order[np.searchsorted(few.workload[order], np.arange(n))])
                split = (share > SPLIT) & (share < 1 - SPLIT)
                return largest, np.bincount(few.workload, weights=split, minlength=n) > 0
        return None, np.zeros(n, bool)

    def _round(self, current: Plans, free: BoolArray, most_plans: int = FREE_PLANS) -> Incumbent | None:
        """The best plan in which only the free workloads may leave `current`, for one of so many plans each."""
        fixed = current.take(~free[current.workload])
        _, row, slots = fixed.slots(self._blocks)
        taken = np.bincount(row, weights=slots, minlength=len(self._blocks.supply.bound)).astype(np.float64)
        near = (self._pool.rank < most_plans) & (free & ~self._is_open)[self._pool.plans.workload]
        choices = self._pool.plans.take(near)
        program = Restricted.over(self._blocks, choices, taken, self._opened)
        solution = solve_program(
            program.program,
            solver="highs",
            gap=SHARE_OF_GAP * self._gap,
            time_limit_s=self._time_left_s(),
            node_limit=MOST_NODES,
        )
        found = None
        if solution.values is not None:
            plans, supply = program.whole(solution.values)
            found = Incumbent(float(self._blocks.supply.cost @ supply), join([fixed, plans]).in_order(), supply)
        if solution.interrupted:
            raise KeyboardInterrupt
        return found
