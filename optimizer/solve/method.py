"""Which method solves an instance: the whole program where it is proven fast, columns beyond, or what is asked for."""

from __future__ import annotations

import time
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
"""So few workloads make a program that a solver mostly proves by itself (30 drawn ones of 4 to 10 on 40 offers: at most
0.33 s, where columns took at most 1.9 s)."""
MOST_PLAIN_NODES = 500
"""Of branch and bound, after which columns go on: such a program took SCIP 13.5 s, and columns 2.5 s."""


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

    A small instance goes to the plain method, and to columns from where that stops if it takes too many nodes.

    What columns do not reach goes to the plain method, and a warning says so when columns were asked for.

    Raises:
        SolverError: the solver failed or answered nonsense.
    """
    asked, why_not = method is not None, unreached(inst)
    if method is None:
        n_workloads = len(inst.workload_names) // inst.horizon.n_states
        method = "plain" if n_workloads <= MOST_PLAIN_WORKLOADS else "columns"
        if method == "plain" and not why_not:
            return _one_after_the_other(inst, limits, solver, progress, start, backend, engine)
    if method == "plain":
        return solve_plain(inst, limits, solver, progress, start, backend)
    if not why_not:
        answer = solve_columns(inst, limits, progress, start, engine)
        if answer is not None:
            return answer
        why_not = "the plans that columns know do not fit the offers"
    answer = solve_plain(inst, limits, solver, progress, start, backend)
    if not asked:
        return answer
    return replace(answer, warnings=(f"solved by the plain method: {why_not}", *answer.warnings))


def _one_after_the_other(
    inst: Instance,
    limits: Limits,
    solver: SolverName,
    progress: Progress,
    start: Start | None,
    backend: Backend,
    engine: Engine | None,
) -> Answer:
    """The plain method for some nodes, columns if they do not do, the plain method if these do not either."""
    deadline = time.perf_counter() + limits.time_limit_s

    def rest() -> Limits:
        return replace(limits, time_limit_s=max(0.0, deadline - time.perf_counter()))

    best = solve_plain(inst, limits, solver, progress, start, backend, MOST_PLAIN_NODES)
    if _has_ended(best) or not rest().time_limit_s:
        return best
    if best.decision is not None:
        start = Start(best.decision.n_replicas, best.decision.n_servers)
        by_columns = solve_columns(inst, rest(), progress, start, engine)
        if by_columns is not None and _has_ended(by_columns):
            return by_columns
        if by_columns is not None and by_columns.decision is not None:
            start = Start(by_columns.decision.n_replicas, by_columns.decision.n_servers)
    return solve_plain(inst, rest(), solver, progress, start, backend)


def _has_ended(answer: Answer) -> bool:
    """Whether there is nothing left to be found or proven, or nobody waits for it."""
    return answer.outcome in ("optimal", "infeasible") or answer.interrupted
