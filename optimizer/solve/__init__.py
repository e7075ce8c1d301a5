"""Solving: a backend for one program, the plain method, and the way from a solver's numbers to a decision."""

from optimizer.solve.backend import Outcome, Solution, SolverName, solve_program
from optimizer.solve.plain import Answer, Limits, decide, solve_plain
from optimizer.solve.routing import Routing, route
from optimizer.solve.served import Level, ServedAnswer, solve_served
from optimizer.solve.tidy import Decision, fewest_orders, fewest_terms, tidy
from optimizer.solve.trying import Backend, Tried, check_solution, try_solvers
from optimizer.solve.write import program_text

__all__ = [
    "Answer",
    "Backend",
    "Decision",
    "Level",
    "Limits",
    "Outcome",
    "Routing",
    "ServedAnswer",
    "Solution",
    "SolverName",
    "Tried",
    "check_solution",
    "decide",
    "fewest_orders",
    "fewest_terms",
    "program_text",
    "route",
    "solve_plain",
    "solve_program",
    "solve_served",
    "tidy",
    "try_solvers",
]
