"""The other solver, where one crashes, finds nothing in time or returns nonsense."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from optimizer.errors import SolverError
from optimizer.formulation import Program
from optimizer.serving_config import FloatArray
from optimizer.solve.backend import Solution, SolverName

ALTERNATIVE: dict[SolverName, SolverName] = {"scip": "highs", "highs": "scip"}
TOLERANCE = 1e-5
"""How far a solver's answer may be from whole numbers and, relative to a row's terms, from what its rows ask for."""
Result = TypeVar("Result")


class Backend(Protocol):
    """What solves a program: `solve_program`, or what stands in for it."""

    def __call__(
        self,
        program: Program,
        *,
        solver: SolverName = ...,
        gap: float = ...,
        time_limit_s: float = ...,
        seed: int = ...,
        node_limit: int | None = ...,
        hint: FloatArray | None = ...,
        tick: Callable[[float, float], None] = ...,
    ) -> Solution: ...


@dataclass(frozen=True, slots=True)
class Tried(Generic[Result]):
    """What a solver came to, and what is to be said of one that failed before."""

    result: Result
    warnings: tuple[str, ...]


def try_solvers(solver: SolverName, attempt: Callable[[SolverName], Result | None]) -> Tried[Result | None]:
    """What `attempt` makes of a solver, or of the other one where the first raises SolverError or finds nothing (None).

    Raises:
        SolverError: both failed.
    """
    failures: list[str] = []
    raised = 0
    for name in (solver, ALTERNATIVE[solver]):
        try:
            result = attempt(name)
        except SolverError as error:
            failures.append(str(error))
            raised += 1
            continue
        if result is not None:
            told = tuple(f"{failure}; {name} answered instead" for failure in failures)
            return Tried(result, told)
        failures.append(f"{name} found nothing in its time")
    if raised == len(failures):
        raise SolverError(f"no solver gave an answer that verifies: {'; '.join(failures)}")
    return Tried(None, tuple(failures))


def check_solution(program: Program, solution: Solution, solver: SolverName) -> None:
    """Whether the values of a solution are those of a solution, and its claims agree with them.

    Raises:
        SolverError: a value is not finite, not whole where it must be or beyond its bounds, a row does not hold, the
            objective is another, or the bound lies above it.
    """
    if solution.values is None:
        return
    for what, sound in _promises(program, solution, solution.values):
        if not sound:
            raise SolverError(f"{solver} returned nonsense: {what}")


def _promises(program: Program, solution: Solution, values: np.ndarray) -> list[tuple[str, bool]]:
    if len(values) != len(program.upper) or not np.isfinite(values).all():
        return [("not a number for each variable", False)]
    whole = values[program.is_integer]
    objective = float(program.objective @ values)
    near = TOLERANCE * (1 + abs(objective))
    return [
        ("counts that are not whole numbers", bool((np.abs(whole - np.rint(whole)) <= TOLERANCE).all())),
        (
            "values beyond their bounds",
            bool(((values >= -TOLERANCE) & (values <= program.upper + TOLERANCE * (1 + program.upper))).all()),
        ),
        ("values that break a constraint", program.holds(values, TOLERANCE)),
        ("an objective that its values do not have", abs(objective - solution.objective) <= near),
        ("a bound above its objective", solution.bound <= objective + near),
    ]
