"""The whole program at once, to one solver."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from optimizer.formulation import Instance, Variables, build_program, lay_out
from optimizer.serving_config import FloatArray
from optimizer.solve.backend import Outcome, SolverName, solve_program
from optimizer.solve.tidy import Decision, tidy
from optimizer.solve.trying import Backend, check_solution


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


def solve_plain(
    inst: Instance,
    limits: Limits,
    solver: SolverName = "scip",
    tick: Callable[[], None] = lambda: None,
    backend: Backend = solve_program,
) -> Answer:
    """The cheapest decision of an instance.

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
        threads=limits.threads,
        seed=limits.seed,
        tick=tick,
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
