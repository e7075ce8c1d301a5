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
"""So few workloads make a program that solvers mostly prove by themselves (26 drawn ones of 10 on 40 offers, half
of them scarce: at most 2.1 s with what follows, where columns alone took up to more than 15 s)."""
MOST_PLAIN_NODES = 50
"""Of branch and bound, after which HiGHS goes on: such programs took SCIP 5 s to more than 20 s, and HiGHS 0.3 to 3 s;
most others take SCIP less time than HiGHS."""
MOST_FURTHER_NODES = 5_000
"""Of HiGHS, after which columns go on."""
SHARE_OF_PLAIN = 0.5
"""Of the time that is left, that HiGHS may take."""


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

    A small instance goes to the plain method, and on to HiGHS and to columns if that takes too many nodes.

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
    """The plain method for some nodes, with HiGHS for more of them, then columns; each begins with the best so far."""
    deadline = time.perf_counter() + limits.time_limit_s

    def rest(share: float = 1.0) -> Limits:
        return replace(limits, time_limit_s=share * max(0.0, deadline - time.perf_counter()))

    def begin() -> Start | None:
        return start if best.decision is None else Start(best.decision.n_replicas, best.decision.n_servers)

    best = solve_plain(inst, limits, solver, progress, start, backend, MOST_PLAIN_NODES)
    if _has_ended(best) or not rest().time_limit_s:
        return best
    further = solve_plain(inst, rest(SHARE_OF_PLAIN), "highs", progress, begin(), backend, MOST_FURTHER_NODES)
    best = _with_bound_of(further, best)
    if _has_ended(best) or not rest().time_limit_s:
        return best
    by_columns = solve_columns(inst, rest(), progress, begin(), engine)
    if by_columns is not None:
        return _with_bound_of(by_columns, best)
    return _with_bound_of(solve_plain(inst, rest(), solver, progress, begin(), backend), best)


def _with_bound_of(later: Answer, earlier: Answer) -> Answer:
    """The later answer, or the earlier one where only that has a decision, with the higher bound."""
    kept = earlier if later.decision is None and earlier.decision is not None else later
    bound = max(later.bound_usd_per_hour, earlier.bound_usd_per_hour)
    return replace(kept, bound_usd_per_hour=bound, interrupted=later.interrupted)


def _has_ended(answer: Answer) -> bool:
    """Whether there is nothing left to be found or proven, or nobody waits for it."""
    return answer.outcome in ("optimal", "infeasible") or answer.interrupted
