"""The whole program at once, to one solver; a second one when the first fails."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from optimizer.errors import SolverError
from optimizer.formulation import Instance, build_program, lay_out
from optimizer.solve.backend import Outcome, SolverName, solve_program
from optimizer.solve.tidy import Decision, tidy

INTEGRALITY_TOLERANCE = 1e-5
"""How far from a whole number a solver's count may be."""
ALTERNATIVE: dict[SolverName, SolverName] = {"scip": "highs", "highs": "scip"}


@dataclass(frozen=True, slots=True)
class Limits:
    """When a solver may stop, and what it may use."""

    gap: float = 0.0
    time_limit_s: float = math.inf
    threads: int = 1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """Why it stopped and what is proven, with the decision if there is one."""

    outcome: Outcome
    decision: Decision | None
    bound_usd_per_hour: float
    solver: SolverName
    interrupted: bool = False
    warnings: tuple[str, ...] = ()


def solve_plain(
    inst: Instance, limits: Limits, solver: SolverName = "scip", tick: Callable[[], None] = lambda: None
) -> Answer:
    """The cheapest decision of an instance; when a solver fails or answers nonsense, the other one is asked.

    Raises:
        SolverError: both failed.
    """
    try:
        return _solve(inst, limits, solver, tick)
    except SolverError as error:
        answer = _solve(inst, limits, ALTERNATIVE[solver], tick)
        warning = f"{solver} failed and {answer.solver} answered instead: {error}"
        return Answer(
            answer.outcome, answer.decision, answer.bound_usd_per_hour, answer.solver, answer.interrupted, (warning,)
        )


def _solve(inst: Instance, limits: Limits, solver: SolverName, tick: Callable[[], None]) -> Answer:
    var = lay_out(inst)
    solution = solve_program(
        build_program(inst, var),
        solver=solver,
        gap=limits.gap,
        time_limit_s=limits.time_limit_s,
        threads=limits.threads,
        seed=limits.seed,
        tick=tick,
    )
    decision = None
    if solution.values is not None:
        families = (var.n_replicas, var.n_servers, var.n_on_server, var.n_ordered)
        counts = solution.values[np.concatenate(families)]
        whole = np.rint(counts)
        if np.abs(counts - whole).max(initial=0.0) > INTEGRALITY_TOLERANCE:
            raise SolverError(f"{solver} returned counts that are not whole numbers")
        ends = np.cumsum([len(columns) for columns in families[:-1]])
        decision = tidy(inst, *np.split(whole.astype(np.int64), ends))
    return Answer(solution.outcome, decision, solution.bound, solver, solution.interrupted)
