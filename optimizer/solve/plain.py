"""The whole program at once, to one solver; a second one when the first fails."""

from __future__ import annotations

import numpy as np

from optimizer.errors import SolverError
from optimizer.formulation import Instance, Variables, build_program, lay_out
from optimizer.serving_config import FloatArray
from optimizer.solve.answer import Answer, Limits, Progress, Start, State
from optimizer.solve.backend import SolverName, solve_program
from optimizer.solve.tidy import tidy

INTEGRALITY_TOLERANCE = 1e-5
"""How far from a whole number a solver's count may be."""
ALTERNATIVE: dict[SolverName, SolverName] = {"scip": "highs", "highs": "scip"}


def solve_plain(
    inst: Instance,
    limits: Limits,
    solver: SolverName = "scip",
    progress: Progress = lambda _state: None,
    start: Start | None = None,
) -> Answer:
    """The cheapest decision of an instance; when a solver fails or answers nonsense, the other one is asked.

    `start` is where the solver may begin.

    Raises:
        SolverError: both failed.
    """
    try:
        return _solve(inst, limits, solver, progress, start)
    except SolverError as error:
        answer = _solve(inst, limits, ALTERNATIVE[solver], progress, start)
        warning = f"{solver} failed and {answer.solver} answered instead: {error}"
        return Answer(
            answer.outcome, answer.decision, answer.bound_usd_per_hour, answer.solver, answer.interrupted, (warning,)
        )


def _solve(inst: Instance, limits: Limits, solver: SolverName, progress: Progress, start: Start | None) -> Answer:
    var = lay_out(inst)
    solution = solve_program(
        build_program(inst, var),
        solver=solver,
        gap=limits.gap,
        time_limit_s=limits.time_limit_s,
        threads=limits.threads,
        seed=limits.seed,
        hint=None if start is None else _hint(var, start),
        tick=lambda cost, bound: progress(State(cost, bound)),
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


def _hint(var: Variables, start: Start) -> FloatArray:
    """[N] the counts to start from; NaN = unknown."""
    hint = np.full(var.n_columns, np.nan)
    hint[var.n_replicas] = start.n_replicas
    hint[var.n_servers] = start.n_servers
    return hint
