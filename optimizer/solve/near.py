"""A solution near a large program's relaxation: found among the few columns that the relaxation nearly uses."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np

from optimizer.formulation import Program
from optimizer.serving_config import BoolArray, FloatArray, IntArray
from optimizer.solve.answer import Outcome
from optimizer.solve.backend import Solution, SolverName, solve_program
from optimizer.solve.trying import Backend, check_solution

MOST_NEAR = (8, 24, 72)
"""Integer columns that are kept of each row that asks for something, try after try. Measured on a hundred workloads of
eighteen thousand columns: eight answer most questions in a twentieth of the whole program's time, a stock that is
short to the last server takes twenty-four."""
SHARE_OF_PRICES = 1e-3
"""What prices count beside an objective: less than any difference in it that matters, enough to tell equals apart."""
SHARE_OF_TIME = 0.5
"""Of the time that is left, which each try may take."""
FAR = 0.3
"""Share of what a solution costs that may lie above the relaxation, before more columns are tried."""
IN_USE = 1e-9
SOLVER: SolverName = "highs"


def solve_near(
    program: Program,
    prices: FloatArray,
    *,
    gap: float,
    time_limit_s: float,
    backend: Backend = solve_program,
) -> Solution:
    """A solution of a program, with the bound of its relaxation; `infeasible` where even the relaxation is.

    `prices` [N] tell solutions apart that are equally good. What is found is a solution of the whole program; where
    nothing is found it may still have one (`no_plan`).

    Raises:
        SolverError: the solver failed or answered nonsense.
    """
    deadline = time.perf_counter() + time_limit_s
    relaxed = relaxation(replace(program, objective=_told_apart(program.objective, prices)))
    if relaxed.values is None or relaxed.row_duals is None:
        return relaxed
    reduced = _reduced_cost(program, prices, relaxed.row_duals)
    distance = np.where(relaxed.values > IN_USE, -np.inf, reduced)
    bound = max(0.0, relaxation(program).objective) if program.objective.any() else 0.0
    best = Solution("no_plan", None, math.inf, bound)
    for most in MOST_NEAR:
        time_left_s = deadline - time.perf_counter()
        if time_left_s <= 0:
            break
        kept = _nearest(program, distance, most)
        few = program.keeping(kept)
        solution = backend(few, solver=SOLVER, gap=gap, time_limit_s=SHARE_OF_TIME * time_left_s)
        check_solution(few, solution, SOLVER)
        if solution.values is not None and solution.objective < best.objective:
            values = np.zeros(len(program.upper))
            values[kept] = solution.values
            best = _proven(values, solution, bound, gap)
        if solution.interrupted or best.objective - bound <= FAR * abs(best.objective):
            break
    return best


def relaxation(program: Program) -> Solution:
    """The program with parts of everything allowed, and the duals of its rows."""
    return solve_program(replace(program, is_integer=np.zeros_like(program.is_integer)), solver="glop")


def _told_apart(objective: FloatArray, prices: FloatArray) -> FloatArray:
    most = float(np.abs(objective).max(initial=0.0))
    dearest = float(prices.max(initial=0.0)) or 1.0
    mixed: FloatArray = prices / dearest if most == 0 else objective / most + SHARE_OF_PRICES * prices / dearest
    return mixed


def _reduced_cost(program: Program, prices: FloatArray, row_duals: FloatArray) -> FloatArray:
    """[N] what one of a column costs above what its rows are worth."""
    worth = np.bincount(
        program.column, weights=program.coefficient * row_duals[program.row], minlength=len(program.upper)
    )
    reduced: FloatArray = _told_apart(program.objective, prices) - worth
    return reduced


def _nearest(program: Program, distance: FloatArray, most: int) -> BoolArray:
    """[N] columns to keep: of the integer ones of each row that asks for something, so many of the least distance."""
    asks = np.isfinite(program.row_lower) & (program.row_lower > 0)
    entries = np.flatnonzero(asks[program.row] & program.is_integer[program.column])
    row, column = program.row[entries], program.column[entries]
    order = np.lexsort((distance[column], row))
    row, column = row[order], column[order]
    rank: IntArray = np.arange(len(row)) - np.searchsorted(row, row)
    kept = np.ones(len(program.upper), bool)
    kept[column] = False
    kept[column[rank < most]] = True
    return kept


def _proven(values: FloatArray, solution: Solution, bound: float, gap: float) -> Solution:
    """A solution of the whole program; optimal if the relaxation's bound says so."""
    objective = solution.objective
    is_optimal = objective - min(bound, objective) <= gap * abs(objective)
    outcome: Outcome = "optimal" if is_optimal else "feasible"
    return Solution(outcome, values, objective, min(bound, objective), solution.interrupted)
