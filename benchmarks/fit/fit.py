"""The fit: closed-loop runs set the constants, those of waiting last; other points add what the runs lack."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.fit.parameters import PACE, Unknown, Unknowns, constants_at
from benchmarks.fit.read import CLOSED_LOOP_FAMILY
from benchmarks.fit.solve import Strictness, solve
from optimizer.calibration.observations import Observations
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


WAITING = ("request_ms", "ttft_steps", "waited_prefills", "waited_prefills_per_sequence")
"""Constants that hardly touch anything but TTFT, which is too noisy to have a say in the others."""
RUNS = Strictness(prior=1.0, ttft_weight=0.15)
WAITS = Strictness(prior=1.0, ttft_weight=0.5)
POINTS = Strictness(prior=0.3, ttft_weight=0.5)
"""What points add (engines, cards, eras) rests on fewer of them and departs further than what runs share."""


def fit(observed: Observations) -> Fit:
    """All steps on these rows.

    What the runs know of a generation they know of each constant; of the others points tell the pace first.
    """
    closed_loop = is_closed_loop(observed)
    runs = observed.take(closed_loop)
    even = {unknown: 0.0 for unknown in Unknowns(runs.traits).points if unknown.constant == PACE}
    first = solve(runs, RUNS, even)
    steps = {unknown: value for unknown, value in first.values.items() if unknown.constant not in WAITING}
    known = solve(runs, WAITS, steps)
    if closed_loop.all():
        return Fit(known.values, known.unknowns.points)
    added = solve(observed.take(~closed_loop), POINTS, known.values)
    return Fit(added.values | known.values, added.unknowns.points | known.unknowns.points)


def is_closed_loop(observed: Observations) -> BoolArray:
    """[m]"""
    return np.array([m.source == CLOSED_LOOP_FAMILY for m in observed.measurements])
