"""Are latency targets held in a simulation, and how sure is that: batch means over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optimizer.scenario import Target
from optimizer.serving_config import BoolArray, FloatArray
from optimizer.simulation.outcome import PERCENT

BATCHES = 10
"""Stretches of time that count as independent; each is long against the time that a queue remembers."""
STUDENT_95 = 2.262
"""97.5 % quantile of Student's t with nine degrees of freedom."""
BEYOND_95 = 0.025
"""What lies beyond each end of a 95 % interval."""


@dataclass(frozen=True, slots=True)
class Attainment:
    """One target over the requests of one class; intervals hold the true value with 95 %."""

    target: str
    """As in the scenario: `ttft_p95`."""
    limit_ms: float
    seen_ms: float
    """The statistic in the simulation."""
    requests: int
    within_fraction: float
    """Of the requests, not later than the limit."""
    within_interval: tuple[float, float]
    missed: bool
    """Beyond what chance explains: the whole interval lies on the wrong side."""

    @property
    def held(self) -> bool:
        """The statistic that was seen is within the limit."""
        return self.seen_ms <= self.limit_ms


def attainment(target: Target, latency_ms: FloatArray, arrived_ms: FloatArray) -> Attainment | None:
    """A target over requests [m] in the order of arrival; None when there is no request to judge by."""
    known = ~np.isnan(latency_ms)
    latency, arrived = latency_ms[known], arrived_ms[known]
    if not len(latency):
        return None
    inside = latency <= target.limit_ms
    stretches = _stretches(arrived)
    low, high = _seen_alike(inside, *_interval(inside.astype(float), stretches))
    if target.statistic == "mean":
        seen_ms = float(latency.mean())
        missed = _interval(latency, stretches, 0.0, np.inf)[0] > target.limit_ms
    else:
        percent = PERCENT[target.statistic]
        seen_ms = float(np.percentile(latency, percent))
        missed = high < percent / 100.0
    return Attainment(target.name, target.limit_ms, seen_ms, len(latency), float(inside.mean()), (low, high), missed)


def _seen_alike(inside: BoolArray, low: float, high: float) -> tuple[float, float]:
    """The interval where all requests are in time, or none: stretches do not differ then, and only their number tells.

    The exact binomial one: with a share p in time, n of n are with probability pⁿ (Clopper and Pearson, 1934).
    """
    reach = BEYOND_95 ** (1.0 / len(inside))
    if inside.all():
        return min(low, reach), high
    return (low, high) if inside.any() else (low, max(high, 1.0 - reach))


def _stretches(arrived_ms: FloatArray) -> list[BoolArray]:
    """The requests of each stretch; those without any are left out."""
    edges = np.linspace(arrived_ms.min(), arrived_ms.max(), BATCHES + 1)[1:-1]
    index = np.searchsorted(edges, arrived_ms, side="right")
    return [index == i for i in range(BATCHES) if (index == i).any()]


def _interval(
    values: FloatArray, stretches: list[BoolArray], least: float = 0.0, most: float = 1.0
) -> tuple[float, float]:
    """95 % interval of the mean over all requests, from the means of stretches weighted by their requests."""
    mean = float(values.mean())
    if len(stretches) < 2:
        return least, most
    weights = np.array([stretch.sum() for stretch in stretches], float)
    means = np.array([values[stretch].mean() for stretch in stretches])
    # Ratio estimator: requests of a stretch are random too.
    deviations = weights * (means - mean)
    error = np.sqrt((deviations**2).sum() * len(means) / (len(means) - 1)) / weights.sum()
    return max(mean - STUDENT_95 * float(error), least), min(mean + STUDENT_95 * float(error), most)
