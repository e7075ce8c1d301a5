"""How far predictions may be off: 80 % intervals from held-out residuals, wider where nothing was measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from catalog.schema import Calibration
from catalog.schema.calibration import Metric, Traits
from optimizer.performance.constants import TraitRows
from optimizer.serving_config import BoolArray, FloatArray


@dataclass(frozen=True, slots=True)
class Bands:
    """80 % intervals of the means, as multiples of the prediction."""

    ttft: FloatArray  # [2, n] low, high
    tpot: FloatArray  # [2, n]
    extrapolated: BoolArray  # [n] outside what was measured


def bands_of(rows: TraitRows, pp: FloatArray, concurrency: FloatArray, calibration: Calibration) -> Bands:
    """The bands of n configurations.

    Each departure from what was measured widens the interval in the logarithm; several add up as independent errors do.
    """
    beyond = calibration.widening
    squares = (
        np.array([_departures(traits, calibration) for traits in rows.traits])[rows.row]
        + np.where(pp > 1, _excess(beyond.pipeline), 0.0)
        + np.where(concurrency > _most_concurrent(rows.traits[0].engine, calibration), _excess(beyond.concurrency), 0.0)
    )
    wider = 1.0 + np.sqrt(squares)
    return Bands(
        ttft=_ends("ttft", rows, calibration) ** wider,
        tpot=_ends("tpot", rows, calibration) ** wider,
        extrapolated=squares > 0.0,
    )


def _ends(metric: Metric, rows: TraitRows, calibration: Calibration) -> FloatArray:
    """[2, n] of the residuals that share most traits."""
    ends = []
    for traits in rows.traits:
        matching = [
            residual
            for residual in calibration.residuals
            if residual.metric == metric
            and residual.engine in (None, traits.engine)
            and residual.generation in (None, traits.generation)
        ]
        best = max(matching, key=lambda r: (r.engine is not None, r.generation is not None))
        ends.append((best.low, best.high))
    return np.array(ends)[rows.row].T


def _departures(traits: Traits, calibration: Calibration) -> float:
    """Sum of the squared excesses of a configuration's departures from what was measured."""
    beyond = calibration.widening
    of_engine = [seen for seen in calibration.fitted_on if seen.engine == traits.engine]
    of_pair = [seen for seen in of_engine if (seen.era, seen.generation) == (traits.era, traits.generation)]
    excess = 0.0
    if not of_engine:
        excess += _excess(beyond.engine)
    if not any(seen.generation == traits.generation for seen in calibration.fitted_on):
        excess += _excess(beyond.generation)
    elif of_engine and not of_pair:
        excess += _excess(beyond.pair)
    if of_pair and not any(traits.weights in seen.weights for seen in of_pair):
        excess += _excess(beyond.weights)
    return excess


def _most_concurrent(engine: str, calibration: Calibration) -> float:
    return max((seen.max_concurrency for seen in calibration.fitted_on if seen.engine == engine), default=0)


def _excess(widening: float) -> float:
    return (widening - 1.0) ** 2
