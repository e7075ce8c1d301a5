"""How far predictions may be off: 80 % intervals from held-out residuals, wider where nothing was measured."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from catalog.schema import Calibration
from catalog.schema.calibration import Fitted, Metric, Residual, Traits
from optimizer.performance.traits import TraitRows
from optimizer.serving_config import BoolArray, FloatArray

DEPARTURES = ("engine", "generation", "pair", "weights", "pipeline", "concurrency")
"""Ways to be outside of what was measured: the fields of `catalog.schema.calibration.Widening`, which explains them."""
POINT_ESTIMATE = 0.5
"""The quantile of the prediction error at which nothing is added to the prediction."""
BAND_END = 0.9
"""The quantile at the upper end of an 80 % interval."""
_TRAITS = ("model", "gpu", "engine", "generation")
"""What a residual may be of, the narrowest first."""


@dataclass(frozen=True, slots=True)
class Bands:
    """80 % intervals of the means, as multiples of the prediction."""

    ttft: FloatArray  # [2, n] low, high
    tpot: FloatArray  # [2, n]
    departures: BoolArray  # [n, D] outside what was measured, in the order of DEPARTURES

    def extrapolated(self, row: int) -> tuple[str, ...]:
        """In what a row departs from what was measured."""
        return tuple(name for name, departs in zip(DEPARTURES, self.departures[row].tolist(), strict=True) if departs)


def bands_of(rows: TraitRows, concurrency: FloatArray, calibration: Calibration) -> Bands:
    """The bands of n configurations with so many requests in flight, about their predictions."""
    most = np.array([_most_concurrent(traits, calibration) for traits in rows.traits])[rows.row]
    bands = _bands(rows, concurrency > most, calibration)
    if calibration.confidence_fraction == POINT_ESTIMATE:
        return bands
    margins = margins_of(rows, calibration)
    return Bands(bands.ttft / margins.ttft, bands.tpot / margins.tpot, bands.departures)


@dataclass(frozen=True, slots=True)
class Margins:
    """By how much predictions are made longer to be on the safe side; 1 for the point estimate."""

    ttft: FloatArray  # [n]
    tpot: FloatArray  # [n]


def margins_of(rows: TraitRows, calibration: Calibration) -> Margins:
    """The quantile of measured over predicted that the calibration is asked to plan on.

    The upper end of a band is the 90 % quantile, and errors in the logarithm are taken to be normal: quantile c is the
    end to the power z(c) / z(90 %). The number of requests in flight widens the band but adds no margin: replicas would
    seem to gain from smaller batches. Where TPOT's margin is the larger one it is TTFT's too, as steps are part of it.
    """
    power = NormalDist().inv_cdf(calibration.confidence_fraction) / NormalDist().inv_cdf(BAND_END)
    bands = _bands(rows, np.zeros(len(rows.row), np.bool_), calibration)
    tpot = bands.tpot[1] ** power
    return Margins(np.maximum(bands.ttft[1] ** power, tpot), tpot)


def _bands(rows: TraitRows, crowded: BoolArray, calibration: Calibration) -> Bands:
    """Each departure from what was measured widens the interval in the logarithm; several add up like variances."""
    of_traits = np.array([_departures(traits, calibration) for traits in rows.traits])[rows.row]
    departures = np.column_stack([of_traits, rows.pipelined, crowded])
    excess = np.array([getattr(calibration.widening, name) - 1.0 for name in DEPARTURES])
    wider = 1.0 + np.sqrt(departures @ excess**2)
    return Bands(
        ttft=_ends("ttft", rows, calibration) ** wider,
        tpot=_ends("tpot", rows, calibration) ** wider,
        departures=departures,
    )


def closest_residual(metric: Metric, traits: Traits, calibration: Calibration) -> Residual:
    """The residual that shares most traits."""
    matching = [
        residual
        for residual in calibration.residuals_in_use
        if residual.metric == metric
        and all(getattr(residual, name) in (None, getattr(traits, name)) for name in _TRAITS)
    ]
    return max(matching, key=lambda residual: [getattr(residual, name) is not None for name in _TRAITS])


def _ends(metric: Metric, rows: TraitRows, calibration: Calibration) -> FloatArray:
    """[2, n] of the residuals that share most traits."""
    best = [closest_residual(metric, traits, calibration) for traits in rows.traits]
    return np.array([(residual.low, residual.high) for residual in best])[rows.row].T


def _departures(traits: Traits, calibration: Calibration) -> tuple[bool, bool, bool, bool]:
    """Which of the first four DEPARTURES a configuration has."""
    seen = [fitted for fitted in calibration.fitted_on if fitted.gpu in (None, traits.gpu)]
    engine = any(fitted.engine == traits.engine for fitted in seen)
    generation = any(fitted.generation == traits.generation for fitted in seen)
    of_pair = [fitted for fitted in seen if _is_of_pair(fitted, traits)]
    weights = any(traits.weights in fitted.weights for fitted in of_pair)
    return not engine, not generation, engine and generation and not of_pair, bool(of_pair) and not weights


def _is_of_pair(fitted: Fitted, traits: Traits) -> bool:
    return (fitted.engine, fitted.era, fitted.generation) == (traits.engine, traits.era, traits.generation)


def _most_concurrent(traits: Traits, calibration: Calibration) -> float:
    """Requests in flight up to which the engine was measured."""
    return max(
        (
            fitted.max_concurrency
            for fitted in calibration.fitted_on
            if fitted.engine == traits.engine and fitted.gpu in (None, traits.gpu)
        ),
        default=0,
    )
