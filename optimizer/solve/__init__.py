"""Solving: a backend for one program, two methods, and the way from a solver's numbers to a decision."""

from optimizer.solve.answer import Answer, Decision, Limits, Outcome, Start, State
from optimizer.solve.backend import Solution, SolverName, solve_program
from optimizer.solve.method import Method, solve
from optimizer.solve.near import relaxation, solve_near
from optimizer.solve.occupants import Occupants
from optimizer.solve.plain import decide
from optimizer.solve.routing import Routing, route
from optimizer.solve.served import Level, ServedAnswer, solve_served
from optimizer.solve.tidy import fewest_orders, fewest_terms, share_carried, standing_by, tidy
from optimizer.solve.trying import Backend, Tried, check_solution, try_solvers
from optimizer.solve.write import program_text

__all__ = [
    "Answer",
    "Backend",
    "Decision",
    "Level",
    "Limits",
    "Method",
    "Occupants",
    "Outcome",
    "Routing",
    "ServedAnswer",
    "Solution",
    "SolverName",
    "Start",
    "State",
    "Tried",
    "check_solution",
    "decide",
    "fewest_orders",
    "fewest_terms",
    "program_text",
    "relaxation",
    "route",
    "share_carried",
    "solve",
    "solve_near",
    "solve_program",
    "solve_served",
    "standing_by",
    "tidy",
    "try_solvers",
]
