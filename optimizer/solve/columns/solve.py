"""The method of columns from an instance to an answer: bound, whole plan, proof."""

from __future__ import annotations

import math
import time
from functools import cached_property

import numpy as np

from optimizer.formulation import Instance
from optimizer.serving_config import BoolArray
from optimizer.solve.answer import Answer, Limits, Progress, Start, State
from optimizer.solve.backend import solve_program
from optimizer.solve.columns.block import workload_blocks
from optimizer.solve.columns.blocks import cut_into_blocks
from optimizer.solve.columns.complete import Effort, Group, all_plans, groups_of
from optimizer.solve.columns.dual import Dual, Master, maximise
from optimizer.solve.columns.incumbent import FixAndRelax, Incumbent, Pool
from optimizer.solve.columns.oracle import Oracle
from optimizer.solve.columns.plans import Plans, equal_replicas, join, plans_of
from optimizer.solve.columns.restricted import Opened, Restricted
from optimizer.solve.columns.tree import Branch, Tree
from optimizer.solve.tidy import tidy
from optimizer.workers import Engine

NAME = "columns"
"""Of the method, in a plan's `solver`."""
ROUNDING = 1e-9
"""Relative; by which cost and bound of the same plan may differ."""
SHARE_OF_DUAL = 0.5
"""Of the time limit, that the bound may take before a whole plan is looked for."""
MOST_PLANS, MOST_OPENED = 60_000, 60
"""Plans, and workloads with their own rows in place of plans, beyond which completing the proof would take minutes."""
FEW_PLANS, MORE_PLANS = 5_000, 500
"""That are solved over sooner than the servers are branched on: at first, and more with every parting."""
PARTINGS_PER_OPENED = 2
"""Before one more workload may be opened for that: own rows take a solver far longer than plans do (a branch of 3,100
plans took 0.2 s, and 5 s where three of its workloads were opened instead)."""
PLANS_EACH, STEPS_EACH = 1_000, 50_000
"""Of a workload, beyond which it is opened: plans, and steps of their enumeration."""
TIGHTER = 0.97
"""Part of a slack that left too many plans, from which on it is worth another try."""
FIRST_LOOK, FIRST_LOOK_WHERE_DEAR = 8, 2
"""Partings before a better plan is looked for in the lowest branch; the next look is after twice as many."""
DEAR, DEAREST = 0.1, 0.25
"""Shares of the whole cost: of a workload that may have any plan in a look, and of one that asks for an early look. Of
15 scarce instances of 100 workloads the five with such a one were those that took longest."""
LOOK_PLANS, LOOK_OPENED = 5_000, 3
"""In a look: plans of all workloads, and the dear ones that may have any (two were too few for one of four)."""
LOOK_NODES = 10
"""Of branch and bound in a look: what it finds it finds early, and its proof would prove nothing."""


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
        bounding = time.perf_counter() + SHARE_OF_DUAL * self.limits.time_limit_s
        master = Master(self.blocks)
        dual = maximise(self.blocks, oracle, master, lambda bound: self._goes_on(bound, bounding))
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
        self._prove(dual, oracle, master)
        return True

    def _pool(self, dual: Dual) -> Pool:
        """Plans met on the way to the bound, and plans of one candidate each."""
        inst = self.blocks.inst
        one = ~inst.is_split
        known = [self.best.plans] if self.best else []
        equal = equal_replicas(self.blocks, inst.candidate_of_load[one], inst.carried[one])
        return Pool.of(self.blocks, join([*known, *dual.plans, equal]), dual.price, dual.least)

    def _opened(self, dual: Dual, which: BoolArray, slack: float = math.inf) -> list[Opened]:
        """Some workloads [W] with their own rows, of their candidates those that plans within a slack may hold."""
        inst, unit = self.blocks.inst, self.blocks.unit(dual.price)
        most = np.full(len(unit), np.inf)
        if slack < math.inf:
            most[inst.candidate_of_load[~inst.is_split]] = 0
            for group in self._groups:
                if which[group.workload]:
                    limit = float(dual.least[group.workload]) + slack
                    most[group.candidate] = group.most_replicas(unit[group.candidate], limit)
        blocks = [block.within(most) for block in workload_blocks(self.blocks, np.flatnonzero(which))]
        return [Opened(one, unit[one.candidates], float(dual.least[one.workload])) for one in blocks]

    @cached_property
    def _groups(self) -> list[Group]:
        """Of all workloads of one request class, in their order; their plans are enumerated in every branch."""
        return groups_of(self.blocks)

    def _prove(self, dual: Dual, oracle: Oracle, master: Master) -> None:
        """Prove more than prices can: by branches with more or less of a server, down to those with few plans left."""
        tree, has_several = Tree(Branch(self.blocks, dual), oracle, master), oracle.has_several
        has_dearest = dual.least.max() >= DEAREST * dual.bound_usd_per_hour
        n_parted, next_look, too_much = 0, FIRST_LOOK_WHERE_DEAR if has_dearest else FIRST_LOOK, math.inf
        while self.best and (branch := tree.lowest) and self._goes_on(tree.bound_usd_per_hour, self.deadline):
            split, slack = branch.split, self._slack(branch)
            few = FEW_PLANS + MORE_PLANS * n_parted, n_parted // PARTINGS_PER_OPENED
            if split is None:
                self._look(branch, has_several)
                closed = self._closed(branch, has_several, MOST_PLANS, MOST_OPENED)
                if closed is None:
                    return
                tree.close(closed)
            elif slack < TIGHTER * too_much and (closed := self._closed(branch, has_several, *few)) is not None:
                tree.close(closed)
            else:
                tree.part(split, lambda bound: bound < self._cutoff and self._time_left_s() > 0)
                n_parted, too_much = n_parted + 1, min(too_much, slack)
                if n_parted == next_look and tree.lowest is not None:
                    self._look(tree.lowest, has_several)
                    next_look *= 2
        self._bounded(tree.bound_usd_per_hour)

    def _slack(self, branch: Branch) -> float:
        """By how much a better answer in a branch may cost more than its bound."""
        return max(0.0, self._cutoff - branch.dual.bound_usd_per_hour)

    @property
    def _cutoff(self) -> float:
        """What an answer must cost less than to be better by more than the gap."""
        return self.best.usd_per_hour * (1 - self.limits.gap) if self.best else math.inf

    def _closed(self, branch: Branch, has_several: BoolArray, most: int, most_opened: int) -> float | None:
        """What no answer in a branch undercuts, solved over all plans that a better answer could hold.

        Workloads of which there are too many such plans are opened, like those of several classes. None where more than
        `most_opened` would be for their plans, too many in all, or where the others have more than `most` plans.
        """
        dual, slack, n_several = branch.dual, self._slack(branch), int(has_several.sum())
        if n_several > MOST_OPENED:
            return None
        effort = Effort(most, PLANS_EACH, STEPS_EACH, halvings=0, short=min(most_opened, MOST_OPENED - n_several))
        found = all_plans(self._groups, self.blocks.unit(dual.price), dual.least, slack, ~has_several, effort)
        if found is None:
            return None
        plans, complete = found
        bound = self._solve_over(branch, plans, has_several | (complete < slack))
        return min(bound, dual.bound_usd_per_hour + slack)

    def _look(self, branch: Branch, has_several: BoolArray) -> None:
        """Look for a better plan in a branch among known and near ones, few of each workload, and any of the dearest.

        Where servers are idle at its prices, more plans cost the same than can be looked at, however small the slack.
        Of a workload with many small replicas the near plans are few of very many: so the dearest ones are opened.
        """
        dual, slack, each = branch.dual, self._slack(branch), max(1, LOOK_PLANS // self.blocks.n_workloads)
        unit, pool = self.blocks.unit(dual.price), self._pool(dual)
        found = all_plans(self._groups, unit, dual.least, slack, ~has_several, Effort(each=each))
        assert found is not None, "of each workload there are few"
        near, complete = found
        dearest = np.argsort(-dual.least, kind="stable")[:LOOK_OPENED]
        open_ = has_several.copy()
        open_[dearest] |= (complete < slack)[dearest] & (dual.least >= DEAR * dual.bound_usd_per_hour)[dearest]
        self._solve_over(
            branch, join([pool.plans.take((pool.rank < each) & (pool.above <= slack)), near]), open_, LOOK_NODES
        )

    def _solve_over(self, branch: Branch, plans: Plans, open_: BoolArray, most_nodes: int | None = None) -> float:
        """Solve a branch over plans of some workloads and opened ones [W], for what is better by more than the gap.

        What no such answer of these costs less than; infinite where there is none.
        """
        slack = self._slack(branch)
        program = Restricted.over(
            branch.blocks,
            plans.take(~open_[plans.workload]).lean(branch.blocks),
            opened=self._opened(branch.dual, open_, slack),
            most_usd_per_hour=self._cutoff,
        )
        solution = solve_program(
            program.program,
            solver="highs",
            gap=self.limits.gap,
            time_limit_s=self._time_left_s(),
            node_limit=most_nodes,
        )
        if solution.values is not None:
            whole, supply = program.whole(solution.values)
            self._found(Incumbent(float(self.blocks.supply.cost @ supply), whole, supply))
        if solution.interrupted:
            raise KeyboardInterrupt
        return solution.bound

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
        self.bound = max(self.bound, min(bound, self.best.usd_per_hour if self.best else math.inf))
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
