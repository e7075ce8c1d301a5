"""The whole program at once, to one solver."""

from __future__ import annotations

import numpy as np

from optimizer.formulation import Instance, Variables, build_program, lay_out
from optimizer.serving_config import FloatArray
from optimizer.solve.answer import Answer, Decision, Limits, Progress, Start, State
from optimizer.solve.backend import SolverName, solve_program
from optimizer.solve.tidy import tidy
from optimizer.solve.trying import Backend, check_solution


def solve_plain(
    inst: Instance,
    limits: Limits,
    solver: SolverName = "scip",
    progress: Progress = lambda _state: None,
    start: Start | None = None,
    backend: Backend = solve_program,
    node_limit: int | None = None,
) -> Answer:
    """The cheapest decision of an instance.

    `start` is where the solver may begin; `node_limit` ends its branch and bound.

    Raises:
        SolverError: the solver failed or answered nonsense.
    """
    var = lay_out(inst)
    program = build_program(inst, var)
    solution = backend(
        program,
        solver=solver,
        gap=limits.gap,
        time_limit_s=limits.time_limit_s,
        seed=limits.seed,
        node_limit=node_limit,
        hint=None if start is None else _hint(var, start),
        tick=lambda cost, bound: progress(State(cost, bound)),
    )
    check_solution(program, solution, solver)
    decision = None if solution.values is None else decide(inst, var, solution.values)
    return Answer(solution.outcome, decision, solution.bound, solver, solution.interrupted)


def decide(inst: Instance, var: Variables, values: FloatArray) -> Decision:
    """The decision behind a solver's values."""
    families = (var.n_replicas, var.n_servers, var.n_on_server, var.n_ordered)
    whole = np.rint(values[np.concatenate(families)]).astype(np.int64)
    ends = np.cumsum([len(columns) for columns in families[:-1]])
    return tidy(inst, *np.split(whole, ends))


def _hint(var: Variables, start: Start) -> FloatArray:
    """[N] the counts to start from; NaN = unknown."""
    hint = np.full(var.n_columns, np.nan)
    hint[var.n_replicas] = start.n_replicas
    hint[var.n_servers] = start.n_servers
    return hint
