"""Solving: a backend for one program, the plain method, and the way from a solver's numbers to a decision."""

from optimizer.solve.backend import Outcome, SolverName, solve_program
from optimizer.solve.plain import Answer, Limits, solve_plain
from optimizer.solve.routing import Routing, route
from optimizer.solve.tidy import Decision, fewest_orders, fewest_terms, tidy
from optimizer.solve.write import program_text

__all__ = [
    "Answer",
    "Decision",
    "Limits",
    "Outcome",
    "Routing",
    "SolverName",
    "fewest_orders",
    "fewest_terms",
    "program_text",
    "route",
    "solve_plain",
    "solve_program",
    "tidy",
]
