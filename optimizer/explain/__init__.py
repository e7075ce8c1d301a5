"""Why there is no plan, why there is this one, and which others there are: every figure from solving again."""

from optimizer.explain.infeasible import explain_infeasible

__all__ = ["explain_infeasible"]
