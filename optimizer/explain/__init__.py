"""Why there is no plan, why there is this one, and which others there are: every figure from solving again."""

from optimizer.explain.break_even import BreakEven
from optimizer.explain.feasible import Explanation, as_served, explain_plan
from optimizer.explain.flips import Flip
from optimizer.explain.infeasible import explain_infeasible
from optimizer.explain.margins import Margin
from optimizer.explain.pareto import AGAINST, Against, Front, Point, pareto
from optimizer.explain.reasons import Reason, RunnerUp, structure_of
from optimizer.explain.stress import stress

__all__ = [
    "AGAINST",
    "Against",
    "BreakEven",
    "Explanation",
    "Flip",
    "Front",
    "Margin",
    "Point",
    "Reason",
    "RunnerUp",
    "as_served",
    "explain_infeasible",
    "explain_plan",
    "pareto",
    "stress",
    "structure_of",
]
