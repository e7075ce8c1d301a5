"""A fit and its held-out errors as the content of a calibration file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from math import exp
from typing import Any

import numpy as np

from benchmarks.fit.fit import Fit, is_closed_loop
from benchmarks.fit.held_out import Ratios, ends, median_error, tpot_like, ttft_like
from benchmarks.fit.parameters import PACE, PACED, PRIORS, Unknown
from benchmarks.fit.solve import row_weights
from optimizer.calibration.observations import FIGURES, Observations
from optimizer.serving_config import BoolArray, FloatArray

SMALLEST_FACTOR = 0.005
"""Departures below this (logarithm) are left out of the file."""
POINTS_FOR_RESIDUAL = 20
"""Held-out points from which an engine on a generation has an interval of its own."""
ESTIMATED = {
    "pipeline_ms": "the fit's starting value: the closed-loop runs have one stage, and llama.cpp's few say little",
}
METRIC_OF = dict(zip(FIGURES, ("tpot", "ttft", "throughput", "prefill"), strict=True))


def constants_of(fit: Fit) -> dict[str, Any]:
    """Every constant with its factors, most general first."""
    return {name: _constant(name, fit) for name in PRIORS}


def _constant(name: str, fit: Fit) -> dict[str, Any]:
    logarithms = {u: x for u, x in fit.values.items() if u.constant == name}
    for pace, x in fit.values.items():
        if pace.constant == PACE and name in PACED:
            own = Unknown(name, pace.level, pace.values)
            logarithms[own] = logarithms.get(own, 0.0) + PACED[name] * x
    factors = [
        dict(zip(unknown.level, unknown.values, strict=True))
        | {"factor": rounded(exp(x)), "points": fit.points.get(unknown) or fit.points[replace(unknown, constant=PACE)]}
        for unknown, x in logarithms.items()
        if unknown.level and abs(x) >= SMALLEST_FACTOR
    ]
    value = rounded(PRIORS[name].start * exp(fit.values[Unknown(name, (), ())]))
    note = {"label": "estimated", "note": ESTIMATED[name]} if name in ESTIMATED else {}
    return {"value": value, **note, "factors": factors}


def residuals_of(ratios: Ratios, observed: Observations) -> list[dict[str, Any]]:
    """80 % intervals of closed-loop runs: all, every engine, every engine on every generation with enough points."""
    closed_loop = is_closed_loop(observed)
    engines = np.array([t.engine for t in observed.traits])
    generations = np.array([t.generation for t in observed.traits])
    residuals = []
    for metric, of in (("tpot", tpot_like(ratios)), ("ttft", ttft_like(ratios))):
        known = np.isfinite(of)
        residuals.append({"metric": metric, **_band(of[known & closed_loop])})
        for engine in sorted(set(engines[known].tolist())):
            rows = known & (engines == engine)
            groups = [({"engine": engine}, rows)]
            groups += [
                ({"engine": engine, "generation": generation}, rows & (generations == generation))
                for generation in sorted(set(generations[rows].tolist()))
            ]
            for traits, chosen in groups:
                best = _closed_loop_first(chosen, closed_loop)
                if best.sum() >= POINTS_FOR_RESIDUAL:
                    residuals.append({"metric": metric, **traits, **_band(of[best])})
    return residuals


def _closed_loop_first(rows: BoolArray, closed_loop: BoolArray) -> BoolArray:
    """Closed-loop runs where there are enough, else all."""
    first: BoolArray = rows & closed_loop
    return first if first.sum() >= POINTS_FOR_RESIDUAL else rows


def _band(ratios: FloatArray) -> dict[str, Any]:
    low, high = ends(ratios)
    return {"low": rounded(min(low, 1.0)), "high": rounded(max(high, 1.0)), "points": len(ratios)}


def fitted_on(observed: Observations) -> Iterator[dict[str, Any]]:
    """What was measured of each era of each engine on each generation."""
    groups: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for i, t in enumerate(observed.traits):
        groups[t.engine, t.era, t.generation].append(i)
    for (engine, era, generation), rows in sorted(groups.items()):
        yield {
            "engine": engine,
            "era": era,
            "generation": generation,
            "weights": sorted({observed.traits[i].weights for i in rows}),
            "max_concurrency": int(observed.concurrency[rows].max()),
            "points": len(rows),
        }


def data_used(in_sample: Ratios, out_of_sample: Ratios, observed: Observations) -> Iterator[dict[str, Any]]:
    """Each family of sources with its weight and its errors."""
    families = np.array([m.source for m in observed.measurements])
    weights = row_weights(observed)[: len(observed)]
    for family in sorted(set(families.tolist())):
        for figure, metric in METRIC_OF.items():
            stated = (families == family) & np.isfinite(in_sample.of(figure))
            if stated.any():
                yield {
                    "source_family": family,
                    "metric": metric,
                    "points": int(stated.sum()),
                    "weight": rounded(float(weights[stated].sum() / weights.sum())),
                    "median_error": rounded(median_error(in_sample.of(figure)[stated])),
                    "held_out_median_error": rounded(median_error(out_of_sample.of(figure)[stated])),
                }


def rounded(value: float) -> float:
    """Four digits."""
    return float(f"{value:.4g}")
