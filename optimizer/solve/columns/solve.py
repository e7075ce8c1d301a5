"""The method of columns from an instance to an answer: bound, whole plan, proof."""

from __future__ import annotations

import math
import time

import numpy as np

from optimizer.formulation import Instance
from optimizer.serving_config import BoolArray
from optimizer.solve.answer import Answer, Limits, Progress, Start, State
from optimizer.solve.backend import solve_program
from optimizer.solve.columns.block import workload_blocks
from optimizer.solve.columns.blocks import cut_into_blocks
from optimizer.solve.columns.complete import all_plans
from optimizer.solve.columns.dual import Dual, maximise
from optimizer.solve.columns.incumbent import FixAndRelax, Incumbent, Pool
from optimizer.solve.columns.oracle import Oracle
from optimizer.solve.columns.plans import Plans, equal_replicas, join, plans_of
from optimizer.solve.columns.restricted import Opened, Restricted
from optimizer.solve.tidy import tidy
from optimizer.workers import Engine

NAME = "columns"
"""Of the method, in a plan's `solver`."""
ROUNDING = 1e-9
"""Relative; by which cost and bound of the same plan may differ."""
SHARE_OF_DUAL = 0.5
"""Of the time limit, that the bound may take before a whole plan is looked for."""
MOST_OPENED, MOST_PLANS = 60, 60_000
"""Workloads with their own rows, and plans of the others, beyond which completing the proof would take minutes."""
MOST_HALVINGS = 10
"""Of the slack, to come down to so many plans: a thousandth of it proves nothing worth the time."""


def solve_columns(
    inst: Instance,
    limits: Limits,
    progress: Progress = lambda _state: None,
    start: Start | None = None,
    engine: Engine | None = None,
) -> Answer | None:
    """The cheapest decision found, and the best bound proven; None when no plans were found within the offers' limits.

    `start` is where the search begins. `engine` prices workloads of several request classes; the plans are the same.
    """
    run = _Run(inst, limits, progress, start)
    with Oracle(run.blocks, engine) as oracle:
        return run.solve(oracle)


class _Run:
    """One call of `solve_columns`."""

    def __init__(self, inst: Instance, limits: Limits, progress: Progress, start: Start | None) -> None:
        self.blocks, self.limits, self.progress, self.start = cut_into_blocks(inst), limits, progress, start
        self.deadline = time.perf_counter() + limits.time_limit_s
        self.bound = 0.0
        self.best: Incumbent | None = None

    def solve(self, oracle: Oracle) -> Answer | None:
        interrupted = False
        try:
            if not self._search(oracle):
                return None
        except KeyboardInterrupt:
            interrupted = True
        return self._answer(interrupted)

    def _search(self, oracle: Oracle) -> bool:
        """Whether there are plans within the supply."""
        if self.start is not None:
            self._begin_from(self.start)
        bounding = self.deadline - (1 - SHARE_OF_DUAL) * self.limits.time_limit_s
        dual = maximise(self.blocks, oracle, lambda bound: self._goes_on(bound, bounding))
        self._bounded(dual.bound_usd_per_hour)
        if dual.is_short and self.best is None:
            return False
        if self._is_proven():
            return True
        opened = self._opened(dual, oracle.has_several)
        rounds = FixAndRelax(self.blocks, self._pool(dual), opened, self.limits.gap, self._time_left_s)
        for better in rounds.run(self.best, self.limits.seed):
            self._found(better)
            if self._is_proven():
                return True
        self._prove(dual, oracle.has_several)
        return True

    def _pool(self, dual: Dual) -> Pool:
        """Plans met on the way to the bound, and plans of one candidate each."""
        inst = self.blocks.inst
        one = ~inst.is_split
        known = [self.best.plans] if self.best else []
        equal = equal_replicas(self.blocks, inst.candidate_of_load[one], inst.carried[one])
        return Pool.of(self.blocks, join([*known, *dual.plans, equal]), dual.price, dual.least)

    def _opened(self, dual: Dual, which: BoolArray) -> list[Opened]:
        unit = self.blocks.unit(dual.price)
        return [
            Opened(block, unit[block.candidates], float(dual.least[block.workload]))
            for block in workload_blocks(self.blocks, np.flatnonzero(which))
        ]

    def _prove(self, dual: Dual, has_several: BoolArray) -> None:
        """Prove more than prices can, by solving over all plans that a better answer could hold.

        Where a workload has too many, those near its cheapest may make a better answer, and the slack smaller; when
        they no longer do, such workloads are opened. Where there are too many plans in all, those within a part of the
        slack may still hold a better answer, and prove that part.
        """
        open_ = has_several
        while self.best is not None and not self._is_proven() and self._time_left_s() > 0:
            before = self.best
            slack = max(0.0, before.usd_per_hour * (1 - self.limits.gap) - dual.bound_usd_per_hour)
            plans, complete = all_plans(self.blocks, dual.price, dual.least, slack, ~open_)
            for _ in range(MOST_HALVINGS):
                if len(plans) <= MOST_PLANS or not self._time_left_s():
                    break
                slack /= 2
                plans, complete = all_plans(self.blocks, dual.price, dual.least, slack, ~open_)
            if len(plans) > MOST_PLANS or open_.sum() > MOST_OPENED:
                return
            self._solve_over(plans, open_, dual, min(slack, float(complete[~open_].min(initial=slack))), before)
            if self.best is before:
                too_many = ~open_ & (complete < slack)
                if not too_many.any():
                    return
                open_ = open_ | too_many

    def _solve_over(self, plans: Plans, open_: BoolArray, dual: Dual, slack: float, best: Incumbent) -> None:
        """Solve over some plans, complete up to `slack`, and opened workloads [W]."""
        known = best.plans.take(~open_[best.plans.workload])
        program = Restricted.over(
            self.blocks, join([known, plans]).distinct(self.blocks), opened=self._opened(dual, open_)
        )
        solution = solve_program(
            program.program, solver="highs", gap=0.5 * self.limits.gap, time_limit_s=self._time_left_s()
        )
        # An answer with a plan that was left out costs its workload's slack more than the prices' bound.
        self._bounded(min(solution.bound, dual.bound_usd_per_hour + slack))
        if solution.values is not None:
            whole, supply = program.whole(solution.values)
            self._found(Incumbent(float(self.blocks.supply.cost @ supply), whole, supply))
        if solution.interrupted:
            raise KeyboardInterrupt

    def _begin_from(self, start: Start) -> None:
        """Take the start as the first plan, if it serves everything within the limits."""
        plans = plans_of(self.blocks, start.n_replicas)
        if plans is None:
            return
        program = Restricted.over(self.blocks, plans)
        solution = solve_program(program.program, solver="highs", time_limit_s=self._time_left_s())
        if solution.values is not None:
            _, supply = program.whole(solution.values)
            self._found(Incumbent(float(self.blocks.supply.cost @ supply), plans, supply))

    def _time_left_s(self) -> float:
        return max(0.0, self.deadline - time.perf_counter())

    def _goes_on(self, bound: float, until: float) -> bool:
        self._bounded(bound)
        return time.perf_counter() < until and not self._is_proven()

    def _bounded(self, bound: float) -> None:
        self.bound = max(self.bound, bound)
        self._report()

    def _found(self, plan: Incumbent) -> None:
        if self.best is None or plan.usd_per_hour < self.best.usd_per_hour:
            self.best = plan
        self._report()

    def _report(self) -> None:
        self.progress(State(self.best.usd_per_hour if self.best else math.inf, self.bound))

    def _is_proven(self) -> bool:
        if self.best is None:
            return False
        cost = self.best.usd_per_hour
        return cost - self.bound <= (self.limits.gap + ROUNDING) * cost

    def _answer(self, interrupted: bool) -> Answer:
        if self.best is None:
            return Answer("no_plan", None, self.bound, NAME, interrupted)
        inst, plans = self.blocks.inst, self.best.plans
        n_replicas = np.zeros(len(inst.workload_of_candidate), np.int64)
        n_replicas[plans.candidate] = plans.count
        n_servers, n_ordered = (self.best.supply[c] for c in (self.blocks.servers, self.blocks.orders))
        decision = tidy(inst, n_replicas, n_servers, n_ordered=n_ordered)
        bound = min(self.bound, self.best.usd_per_hour)
        return Answer("optimal" if self._is_proven() else "feasible", decision, bound, NAME, interrupted)
