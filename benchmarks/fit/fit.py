"""The fit in two steps: closed-loop runs set the constants; other points add the engines, cards and eras those lack."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.fit.observations import Observations
from benchmarks.fit.parameters import Unknown, Unknowns, constants_at
from benchmarks.fit.read import CLOSED_LOOP_FAMILY
from benchmarks.fit.solve import solve
from optimizer.performance.constants import RowConstants
from optimizer.serving_config import BoolArray


@dataclass(frozen=True, slots=True)
class Fit:
    """Logarithms of the unknowns, with the measurements behind each."""

    values: dict[Unknown, float]
    points: dict[Unknown, int]

    def constants(self, observed: Observations) -> RowConstants:
        """The constants of any rows."""
        unknowns = Unknowns(observed.traits)
        x = np.array([self.values.get(unknown, 0.0) for unknown in unknowns.points])
        return constants_at(x, unknowns.design(observed.traits))


def fit(observed: Observations) -> Fit:
    """Both steps on these rows."""
    closed_loop = is_closed_loop(observed)
    first = solve(observed.take(closed_loop))
    if closed_loop.all():
        return Fit(first.values, first.unknowns.points)
    second = solve(observed.take(~closed_loop), first.values)
    return Fit(second.values | first.values, second.unknowns.points | first.unknowns.points)


def is_closed_loop(observed: Observations) -> BoolArray:
    """[m]"""
    return np.array([m.family == CLOSED_LOOP_FAMILY for m in observed.measurements])
