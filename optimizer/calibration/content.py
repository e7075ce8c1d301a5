"""Anchors as a calibration file: the shipped one with more factors, narrower bands and what was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date
from math import exp, sqrt
from pathlib import PurePath
from typing import Any

import numpy as np

from catalog.schema import Calibration
from catalog.schema.calibration import Metric, Residual, Spread
from optimizer.calibration.anchor import METRIC_OF_FIGURE, Anchors, Place, pair_of
from optimizer.calibration.observations import FIGURES, Observations
from optimizer.performance.bands import closest_residual
from optimizer.serving_config import FloatArray

SMALLEST_LOGARITHM = 0.002
"""Departures below are left out of the file."""
ALIKE = 2.0
"""Runs of a model err alike, so that several say less than as many independent ones: for bands they count at twice
their spread, with which those narrowed by three runs hold 80 % of others (benchmarks/fit/REPORT.md)."""
METHOD = (
    " On top of these, one's own benchmarks add factors by engine and card, and by model there, shrunk by how far "
    "held-out errors spread between cards, models and runs."
)
DATA_METRIC = {"tpot_ms": "tpot", "ttft_ms": "ttft", "output_tokens_per_s": "throughput", "prefill_ms": "prefill"}


def content_of(
    shipped: Calibration,
    observed: Observations,
    anchors: Anchors,
    after: FloatArray,
    left_out: FloatArray,
    *,
    calibration_id: str,
    fitted: date,
) -> dict[str, Any]:
    """The whole file; `after` and `left_out` are logarithmic errors [4, m], NaN where a run states no such figure."""
    known = shipped.model_dump(mode="json", exclude_defaults=True)
    files = ", ".join(sorted({PurePath(m.source).name for m in observed.measurements}))
    source = {
        "text": f"own benchmarks: {files}",
        "retrieved": fitted.isoformat(),
        "label": "measured",
        "fields": ["constants", "residuals", "fitted_on", "data"],
    }
    return {
        "kind": "calibration",
        **known,
        "id": calibration_id,
        "name": "Own benchmarks over published measurements",
        "fitted": fitted.isoformat(),
        "method": shipped.method + METHOD,
        "sources": [*known["sources"], source],
        "constants": _constants(known["constants"], anchors, observed),
        "residuals": [
            *known["residuals"],
            *(band.model_dump(mode="json", exclude_defaults=True) for band in residuals_of(shipped, observed)),
        ],
        "fitted_on": [*known["fitted_on"], *_fitted_on(observed)],
        "data": [*known["data"], *_data(observed, after, left_out)],
    }


def _constants(known: dict[str, Any], anchors: Anchors, observed: Observations) -> dict[str, Any]:
    points = _points(observed)
    constants = {}
    for name, constant in known.items():
        factors = [
            {key: value for key, value in place._asdict().items() if value is not None}
            | {"factor": _rounded(exp(logarithms[name])), "points": points[place]}
            for place, logarithms in anchors.logarithms.items()
            if abs(logarithms[name]) >= SMALLEST_LOGARITHM
        ]
        constants[name] = constant | {"factors": [*constant.get("factors", ()), *factors]}
    return constants


def residuals_of(shipped: Calibration, observed: Observations) -> Iterator[Residual]:
    """The bands of the cards measured, for any model and for the measured ones; those of the shipped file, narrowed."""
    points = _points(observed)
    traits_at = {pair_of(traits): traits for traits in observed.traits}
    metrics: tuple[Metric, ...] = ("tpot", "ttft")
    for metric in metrics:
        runs = _points(observed, metric)
        for place in points:
            before = closest_residual(metric, traits_at[place._replace(model=None)], shipped)
            narrower = _narrower(shipped.spreads[metric], runs, place)
            if runs[place]:
                yield Residual(
                    metric=metric,
                    engine=place.engine,
                    gpu=place.gpu,
                    model=place.model,
                    low=_rounded(before.low**narrower),
                    high=_rounded(before.high**narrower),
                    points=runs[place],
                )


def _narrower(spread: Spread, runs: Counter[Place], place: Place) -> float:
    """Width of the band after the runs over that before.

    What is left of each part of the error when its normal prior has met the runs: of the pair's after the means of its
    models, of the model's after its own runs; that of single runs stays whole.
    """
    models = [
        n for other, n in runs.items() if other._replace(model=None) == place._replace(model=None) and other.model
    ]
    noise = (ALIKE * spread.run) ** 2
    pair = 1.0 / (1.0 / spread.pair**2 + sum(1.0 / (spread.model**2 + noise / n) for n in models if n))
    whole = spread.pair**2 + spread.model**2
    left = pair + spread.model**2 if place.model is None else 1.0 / (1.0 / whole + runs[place] / noise)
    return sqrt((left + noise) / (whole + noise))


def _fitted_on(observed: Observations) -> Iterator[dict[str, Any]]:
    """Each pair measured, of that card alone."""
    rows_at: dict[Place, list[int]] = {}
    for i, traits in enumerate(observed.traits):
        rows_at.setdefault(pair_of(traits), []).append(i)
    for pair, rows in rows_at.items():
        yield {
            "engine": pair.engine,
            "era": pair.era,
            "generation": observed.traits[rows[0]].generation,
            "gpu": pair.gpu,
            "weights": sorted({observed.traits[i].weights for i in rows}),
            "max_concurrency": max(int(observed.concurrency[rows].max()), 1),
            "points": len(rows),
        }


def _data(observed: Observations, after: FloatArray, left_out: FloatArray) -> Iterator[dict[str, Any]]:
    """Each file with its errors; weights count runs against all published points as equals."""
    sources = np.array([m.source for m in observed.measurements])
    for source in dict.fromkeys(sources.tolist()):
        for figure, errors, unseen in zip(FIGURES, after, left_out, strict=True):
            stated = (sources == source) & np.isfinite(errors)
            if stated.any():
                yield {
                    "source_family": PurePath(source).name,
                    "metric": DATA_METRIC[figure],
                    "points": int(stated.sum()),
                    "weight": 1.0,
                    "median_error": _rounded(median_error(errors[stated])),
                    "held_out_median_error": None
                    if np.isnan(unseen[stated]).all()
                    else _rounded(median_error(unseen[stated])),
                }


def median_error(logarithms: FloatArray) -> float:
    """Median of |predicted / measured − 1|."""
    return float(np.nanmedian(np.abs(np.expm1(logarithms))))


def _points(observed: Observations, metric: Metric | None = None) -> Counter[Place]:
    """Runs at every place, of those that state a figure of the metric."""
    counted: Counter[Place] = Counter()
    for i, traits in enumerate(observed.traits):
        states = any(
            np.isfinite(getattr(observed, figure)[i])
            for figure in FIGURES
            if metric is None or METRIC_OF_FIGURE[figure] == metric
        )
        for place in (pair_of(traits), pair_of(traits)._replace(model=traits.model)):
            counted[place] += states
    return counted


def _rounded(value: float) -> float:
    """Four digits."""
    return float(f"{value:.4g}")
