"""Robust regularised least squares: constants that explain the measurements and leave their priors only with cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np

from benchmarks.fit.parameters import Design, Unknown, Unknowns, constants_at
from benchmarks.fit.read import CLOSED_LOOP_FAMILY
from optimizer.calibration.least_squares import Problem, minimise
from optimizer.calibration.observations import FIGURES, Observations, log_errors
from optimizer.performance.constants import RowConstants
from optimizer.serving_config import FloatArray

OUTLIER = 0.15
"""Errors (logarithm) up to this count squared, larger ones about linearly: repeat measurements differ by 3 to 7 %."""
FAMILY_POINTS = 300.0
"""Beside the closed-loop runs, a family of sources counts for at most so many points, however many it has."""
STEP = 1e-4
"""Of the finite differences, in the logarithm."""


@dataclass(frozen=True, slots=True)
class Strictness:
    """How much is believed before measurements speak, and how loudly TTFT speaks beside TPOT."""

    prior: float
    """A departure of one spread costs this, squared, where a measurement off by a factor e costs 1."""
    ttft_weight: float
    """Of the logarithm of a TTFT's error, against 1 for a TPOT's."""


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


def solve(observed: Observations, strictness: Strictness, known: Mapping[Unknown, float] | None = None) -> Solution:
    """The unknowns of these rows; what is `known` stays as it is.

    A row's figures depend on its own constants only, so that one evaluation per constant gives the whole Jacobian.
    """
    known = known or {}
    unknowns = Unknowns(observed.traits)
    design = unknowns.design(observed.traits)
    ttft_weight = strictness.ttft_weight
    problem = Problem(
        residuals=lambda x: _residuals(observed, constants_at(x, design), ttft_weight),
        jacobian=lambda x: _jacobian(observed, constants_at(x, design), ttft_weight, design, len(unknowns)),
        weight=np.sqrt(row_weights(observed)),
        pull=strictness.prior / unknowns.spreads,
        outlier=OUTLIER,
    )
    start = np.array([known.get(u, 0.0) for u in unknowns.points])
    return Solution(unknowns, minimise(problem, start, np.array([u not in known for u in unknowns.points])))


def row_weights(observed: Observations) -> FloatArray:
    """[4 m] 1 for a closed-loop run and for a point of a small family; those of a large one share its limit."""
    families = Counter(m.source for m in observed.measurements)
    one = np.array(
        [
            1.0 if m.source == CLOSED_LOOP_FAMILY else min(1.0, FAMILY_POINTS / families[m.source])
            for m in observed.measurements
        ]
    )
    return np.tile(one, 4)


def _residuals(observed: Observations, constants: RowConstants, ttft_weight: float) -> FloatArray:
    """[4 m] logarithms of predicted over measured; 0 where a row does not state the figure."""
    logarithms = log_errors(observed, constants)
    logarithms[FIGURES.index("ttft_ms")] *= ttft_weight
    return logarithms.ravel()


def _jacobian(
    observed: Observations, constants: RowConstants, ttft_weight: float, design: list[Design], unknowns: int
) -> FloatArray:
    """[4 m, unknowns]"""
    residuals = _residuals(observed, constants, ttft_weight)
    jacobian = np.zeros((len(residuals), unknowns + 1))
    rows = np.arange(len(residuals))
    for field, of in zip(fields(RowConstants), design, strict=True):
        moved = replace(constants, **{field.name: getattr(constants, field.name) * np.exp(STEP)})
        slope = (_residuals(observed, moved, ttft_weight) - residuals) / STEP
        for level, sign in zip(of.unknowns, of.signs, strict=True):
            jacobian[rows, np.tile(level, 4)] += sign * slope
    return jacobian[:, :unknowns]
