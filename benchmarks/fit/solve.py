"""Robust regularised least squares: constants that explain the measurements and leave their priors only with cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np

from benchmarks.fit.observations import Observations, predict
from benchmarks.fit.parameters import Unknown, Unknowns, constants_at
from benchmarks.fit.read import CLOSED_LOOP_FAMILY
from optimizer.performance.constants import RowConstants
from optimizer.serving_config import FloatArray, IntArray

OUTLIER = 0.15
"""Errors (logarithm) up to this count squared, larger ones about linearly: repeat measurements differ by 3 to 7 %."""
PRIOR_STRENGTH, LATER_PRIOR_STRENGTH = 1.0, 0.3
"""A departure of one spread costs as much as a measurement off by a factor e. Held-out error of the closed-loop runs is
flat from 0.5 to 2. What is added once they are known (new engines, cards, eras) has fewer points and departs further.
"""
TTFT_WEIGHT = 0.5
"""TTFT is about twice as noisy as TPOT."""
FAMILY_POINTS = 300.0
"""Beside the closed-loop runs, a family of sources counts for at most so many points, however many it has."""
ITERATIONS, TRIALS, CONVERGED = 40, 8, 1e-5
STEP = 1e-4
"""Of the finite differences, in the logarithm."""


@dataclass(frozen=True, slots=True)
class Solution:
    """Fitted unknowns."""

    unknowns: Unknowns
    x: FloatArray

    @property
    def values(self) -> dict[Unknown, float]:
        """Unknown -> its logarithm."""
        return dict(zip(self.unknowns.points, self.x.tolist(), strict=True))

    def constants(self, observed: Observations) -> RowConstants:
        """The constants of any rows; traits that the fit has not seen have no factor."""
        return constants_at(self.x, self.unknowns.design(observed.traits))


def solve(observed: Observations, known: Mapping[Unknown, float] | None = None) -> Solution:
    """Damped Gauss-Newton with weights renewed at every iteration; what is `known` stays as it is.

    A row's figures depend on its own constants only, so that one evaluation per constant gives the whole Jacobian.
    """
    known = known or {}
    unknowns = Unknowns(observed.traits)
    design = unknowns.design(observed.traits)
    x = np.array([known.get(u, 0.0) for u in unknowns.points])
    free = np.array([u not in known for u in unknowns.points])
    strength = LATER_PRIOR_STRENGTH if known else PRIOR_STRENGTH
    weight, pull = np.sqrt(row_weights(observed)), strength / unknowns.spreads * free

    def cost(at: FloatArray) -> float:
        scaled = _residuals(observed, constants_at(at, design)) / OUTLIER
        loss = OUTLIER**2 * 2.0 * (np.sqrt(1.0 + scaled**2) - 1.0)
        return float(np.sum(weight**2 * loss) + np.sum((pull * at) ** 2))

    best, damping = cost(x), 1e-2
    for _ in range(ITERATIONS):
        constants = constants_at(x, design)
        residuals = _residuals(observed, constants)
        robust = weight * (1.0 + (residuals / OUTLIER) ** 2) ** -0.25
        jacobian = _jacobian(observed, constants, residuals, design, len(unknowns))[:, free] * robust[:, None]
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
    return Solution(unknowns, x)


def row_weights(observed: Observations) -> FloatArray:
    """[4 m] 1 for a closed-loop run and for a point of a small family; those of a large one share its limit."""
    families = Counter(m.family for m in observed.measurements)
    one = np.array(
        [
            1.0 if m.family == CLOSED_LOOP_FAMILY else min(1.0, FAMILY_POINTS / families[m.family])
            for m in observed.measurements
        ]
    )
    return np.tile(one, 4)


def _residuals(observed: Observations, constants: RowConstants) -> FloatArray:
    """[4 m] logarithms of predicted over measured; 0 where a row does not state the figure."""
    predicted = predict(observed, constants)
    return np.nan_to_num(
        np.concatenate(
            [
                np.log(predicted.tpot_ms / observed.tpot_ms),
                np.log(predicted.ttft_ms / observed.ttft_ms) * TTFT_WEIGHT,
                np.log(predicted.output_tokens_per_s / observed.output_tokens_per_s),
                np.log(predicted.prefill_ms / observed.prefill_ms),
            ]
        )
    )


def _jacobian(
    observed: Observations, constants: RowConstants, residuals: FloatArray, design: list[IntArray], unknowns: int
) -> FloatArray:
    """[4 m, unknowns]"""
    jacobian = np.zeros((len(residuals), unknowns + 1))
    rows = np.arange(len(residuals))
    for field, levels in zip(fields(RowConstants), design, strict=True):
        moved = replace(constants, **{field.name: getattr(constants, field.name) * np.exp(STEP)})
        slope = (_residuals(observed, moved) - residuals) / STEP
        for level in levels:
            jacobian[rows, np.tile(level, 4)] += slope
    return jacobian[:, :unknowns]
