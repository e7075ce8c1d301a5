"""The most demand that stock and budgets can carry, one priority after the other, and then the least cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from optimizer.formulation import Instance, Program, build_program, lay_out
from optimizer.serving_config import FloatArray, IntArray
from optimizer.solve.answer import Answer, Limits
from optimizer.solve.backend import Solution, SolverName, solve_program
from optimizer.solve.plain import decide
from optimizer.solve.tidy import carried_share
from optimizer.solve.trying import Backend, check_solution

KEPT = 1e-7
"""Relative to a priority's demand: what later steps may give up of the service found before, beyond the tolerances of
solvers (1e-9) and below what a plan is checked to (1e-6)."""
WHOLE = 1e-6
"""A share this close to the whole is the whole."""


@dataclass(frozen=True, slots=True)
class Level:
    """What is served of one priority, in requests/s, and what is proven about it given the levels before.

    Over several periods these are means, and where demand may turn out in several ways what is expected.
    """

    priority: int
    demand_rps: float
    served_rps: float
    bound_rps: float


@dataclass(frozen=True, slots=True)
class ServedAnswer:
    """The answer for the demand that is served, how much of each workload that is [W], and the proof of each level."""

    answer: Answer
    inst: Instance
    share: FloatArray
    levels: tuple[Level, ...]


def solve_served(
    inst: Instance,
    limits: Limits,
    solver: SolverName = "scip",
    tick: Callable[[], None] = lambda: None,
    backend: Backend = solve_program,
    *,
    then_cheapest: bool = True,
) -> ServedAnswer | None:
    """Serve as many requests/s as possible of the first priority, then of the next, then pay as little as possible.

    A workload is served in one share for all its classes: its rates hold for their mix. Over several periods the sum of
    all periods counts, and each has shares of its own; every way in which demand may turn out counts as much as it is
    likely. The gap bounds every step; the time limit is for all of them. None when not even the first step came to an
    answer in time. Without `then_cheapest` what is served may cost anything, and the answer's bound is 0.

    Raises:
        SolverError: the solver failed or answered nonsense.
    """
    search = _Search(inst, limits, solver, tick, backend)
    bounds_rps = {}
    for priority in np.unique(inst.priority[inst.is_droppable]).tolist():
        bound_rps = search.serve(priority)
        if bound_rps is None:
            return None
        bounds_rps[priority] = bound_rps
    bound_usd_per_hour = search.save() if then_cheapest else 0.0
    share = search.share()
    levels = tuple(search.level(priority, share, bound_rps) for priority, bound_rps in bounds_rps.items())
    served = inst.serving(share)
    answer = Answer(
        "optimal" if search.is_proven else "feasible",
        decide(served, search.var, search.values),
        bound_usd_per_hour,
        solver,
        search.is_interrupted,
    )
    return ServedAnswer(answer, served, share, levels)


class _Search:
    """The steps so far: the program with what they found as further rows, and the best values."""

    def __init__(
        self, inst: Instance, limits: Limits, solver: SolverName, tick: Callable[[], None], backend: Backend
    ) -> None:
        self.inst, self.limits, self.solver, self.tick, self.backend = inst, limits, solver, tick, backend
        self.deadline = time.perf_counter() + limits.time_limit_s
        self.var = lay_out(inst)
        self.program = build_program(inst, self.var)
        self.cost = self.program.objective
        horizon = inst.horizon
        state = np.arange(len(inst.workload_names)) * horizon.n_states // max(1, len(inst.workload_names))
        probability = np.array([horizon.probabilities[horizon.future_of(t)] for t in state.tolist()], float)
        asked_rps = np.bincount(inst.workload_of_demand, inst.demand_rps, minlength=len(inst.workload_names))
        self.demand_rps: FloatArray = probability * asked_rps
        self.values: FloatArray = np.zeros(0)
        self.is_proven, self.is_interrupted = True, False

    def serve(self, priority: int) -> float | None:
        """Serve most of one priority, and hold on to it; the most that is possible, or None if no step found a plan."""
        workloads = self._of(priority)
        columns, demand_rps = self.var.unserved_of(self.inst, workloads), self.demand_rps[workloads]
        solution = self._solve(self.program.minimising(columns, demand_rps))
        if not len(self.values):
            return None
        total = float(demand_rps.sum())
        left_out = float(demand_rps @ np.clip(self.values[columns], 0.0, 1.0))
        scale = total or 1.0
        self.program = self.program.with_row(columns, demand_rps / scale, left_out / scale + KEPT)
        return total - min(solution.bound, left_out)

    def save(self) -> float:
        """Spend as little as possible on what is served; no plan that serves it costs less than the result, USD/h."""
        return self._solve(replace(self.program, objective=self.cost)).bound

    def share(self) -> FloatArray:
        """[W] of each workload's demand that is served: all that the replicas carry, to the last digit."""
        counts = (self.var.n_replicas, self.var.n_on_server)
        replicas, on_server = (np.rint(self.values[columns]).astype(np.int64) for columns in counts)
        most = np.where(self.inst.is_droppable, carried_share(self.inst, replicas, on_server), 1.0)
        return np.where(most > 1.0 - WHOLE, 1.0, most)

    def level(self, priority: int, share: FloatArray, bound_rps: float) -> Level:
        """What shares [W] serve of one priority."""
        workloads = self._of(priority)
        n_periods = self.inst.horizon.n_periods
        served_rps = float(self.demand_rps[workloads] @ share[workloads]) / n_periods
        demand_rps = float(self.demand_rps[workloads].sum()) / n_periods
        return Level(priority, demand_rps, served_rps, max(bound_rps / n_periods, served_rps))

    def _of(self, priority: int) -> IntArray:
        return np.flatnonzero(self.inst.is_droppable & (self.inst.priority == priority))

    def _solve(self, program: Program) -> Solution:
        solution = self.backend(
            program,
            solver=self.solver,
            gap=self.limits.gap,
            time_limit_s=max(0.0, self.deadline - time.perf_counter()),
            seed=self.limits.seed,
            tick=lambda _objective, _bound: self.tick(),
        )
        check_solution(program, solution, self.solver)
        if solution.values is not None:
            self.values = solution.values
        self.is_proven &= solution.outcome == "optimal"
        self.is_interrupted |= solution.interrupted
        return solution
