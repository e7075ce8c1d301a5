"""Robust regularised least squares: unknowns that explain measurements and leave zero only with cause."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from optimizer.serving_config import BoolArray, FloatArray

ITERATIONS, TRIALS, CONVERGED = 40, 8, 1e-5


@dataclass(frozen=True, slots=True)
class Problem:
    """r residuals of u unknowns; residuals beyond `outlier` count about linearly instead of squared."""

    residuals: Callable[[FloatArray], FloatArray]
    """[u] -> [r]"""
    jacobian: Callable[[FloatArray], FloatArray]
    """[u] -> [r, u]"""
    weight: FloatArray  # [r] one over the noise
    pull: FloatArray  # [u] one over the spread: how strongly an unknown is drawn to zero
    outlier: float


def minimise(problem: Problem, start: FloatArray, free: BoolArray) -> FloatArray:
    """[u] where Σ weight²·loss(residual) + Σ (pull·x)² is least: damped Gauss–Newton, weights renewed at every step.

    Unknowns that are not `free` stay where they start.
    """
    weight, pull = problem.weight, np.where(free, problem.pull, 0.0)

    def cost(at: FloatArray) -> float:
        scaled = problem.residuals(at) / problem.outlier
        loss = problem.outlier**2 * 2.0 * (np.sqrt(1.0 + scaled**2) - 1.0)
        return float(np.sum(weight**2 * loss) + np.sum((pull * at) ** 2))

    x, best, damping = start.copy(), cost(start), 1e-2
    for _ in range(ITERATIONS):
        residuals = problem.residuals(x)
        robust = weight * (1.0 + (residuals / problem.outlier) ** 2) ** -0.25
        jacobian = problem.jacobian(x)[:, free] * robust[:, None]
        normal = jacobian.T @ jacobian + np.diag(pull[free] ** 2)
        gradient = jacobian.T @ (robust * residuals) + (pull**2 * x)[free]
        reached = best
        for _ in range(TRIALS):
            trial = x.copy()
            trial[free] -= np.linalg.solve(normal + damping * np.diag(np.diag(normal)), gradient)
            if (reached := cost(trial)) < best:
                break
            damping *= 4.0
        if reached >= best:
            break
        improved, x, best, damping = best - reached, trial, reached, damping / 4.0
        if improved < CONVERGED * best:
            break
    return x
