"""Which method solves an instance: the whole program where it is proven fast, columns beyond, or what is asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from optimizer.formulation import Instance
from optimizer.solve.answer import Answer, Limits, Progress, Start
from optimizer.solve.backend import SolverName, solve_program
from optimizer.solve.columns import solve_columns, unreached
from optimizer.solve.plain import solve_plain
from optimizer.solve.trying import Backend
from optimizer.workers import Engine

Method = Literal["plain", "columns"]
MOST_PLAIN_WORKLOADS = 12
"""A judgement: so few workloads make a program that a solver proves by itself, and that shows in full what was solved.
No measurement says that the methods are equally fast just here."""


def solve(
    inst: Instance,
    limits: Limits,
    *,
    method: Method | None = None,
    solver: SolverName = "scip",
    progress: Progress = lambda _state: None,
    start: Start | None = None,
    backend: Backend = solve_program,
    engine: Engine | None = None,
) -> Answer:
    """The answer of a method; None = the one that suits the instance. `solver` solves whole programs, run by `backend`.
    `engine` runs what columns give out.

    What columns do not reach goes to the plain method, and a warning says so when columns were asked for.

    Raises:
        SolverError: the solver failed or answered nonsense.
    """
    if method is None:
        n_workloads = len(inst.workload_names) // inst.horizon.n_states
        method = "plain" if n_workloads <= MOST_PLAIN_WORKLOADS else "columns"
        asked = False
    else:
        asked = True
    if method == "plain":
        return solve_plain(inst, limits, solver, progress, start, backend)
    why_not = unreached(inst)
    if not why_not:
        answer = solve_columns(inst, limits, progress, start, engine)
        if answer is not None:
            return answer
        why_not = "the plans that columns know do not fit the offers"
    answer = solve_plain(inst, limits, solver, progress, start, backend)
    if not asked:
        return answer
    return replace(answer, warnings=(f"solved by the plain method: {why_not}", *answer.warnings))
