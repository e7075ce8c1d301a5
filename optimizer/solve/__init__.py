"""Solving: a backend for one program, two methods, and the way from a solver's numbers to a decision."""

from optimizer.solve.answer import Answer, Decision, Limits, Outcome, Start, State
from optimizer.solve.backend import SolverName, solve_program
from optimizer.solve.method import Method, solve
from optimizer.solve.routing import Routing, route
from optimizer.solve.tidy import fewest_orders, fewest_terms, tidy
from optimizer.solve.write import program_text

__all__ = [
    "Answer",
    "Decision",
    "Limits",
    "Method",
    "Outcome",
    "Routing",
    "SolverName",
    "Start",
    "State",
    "fewest_orders",
    "fewest_terms",
    "program_text",
    "route",
    "solve",
    "solve_program",
    "tidy",
]
