"""How much wider errors become where nothing was measured, found by leaving whole engines, generations … out."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from math import log

import numpy as np

from benchmarks.fit.fit import fit, is_closed_loop
from benchmarks.fit.held_out import ends, folds_by, held_out, ratios_of, tpot_like
from catalog.schema.calibration import Traits
from optimizer.calibration.measurement import Measurement
from optimizer.calibration.observations import Observations
from optimizer.serving_config import FloatArray

LEFT_OUT: dict[str, Callable[[Measurement, Traits], Hashable]] = {
    "engine": lambda _, t: t.engine,
    "generation": lambda _, t: t.generation,
    "pair": lambda _, t: (t.engine, t.generation),
    "weights": lambda _, t: (t.engine, t.weights),
}
EVERY_ROW = ("engine", "generation")
"""Judged on all points; the others on closed-loop runs, where their combinations are many enough."""
MANY = 64
"""Fitted up to this many requests in flight, judged on more."""
LEAST = 1.1
"""Extrapolation is never as good as what was measured."""


def widening(observed: Observations, usual: FloatArray) -> dict[str, float | str]:
    """Widths of the TPOT interval over the usual one; `usual` = ratios of closed-loop runs with groups left out."""
    runs = observed.take(is_closed_loop(observed))
    base = _width(usual)
    found = {}
    for name, key in LEFT_OUT.items():
        rows = observed if name in EVERY_ROW else runs
        folds = folds_by(rows, key)
        ratios = tpot_like(held_out(rows, folds))
        found[name] = float(np.mean([_width(ratios[folds == fold]) for fold in np.unique(folds)])) / base
    many = runs.concurrency > MANY
    found["concurrency"] = _width(ratios_of(runs.take(many), fit(runs.take(~many))).tpot_ms) / base
    widened = {name: float(f"{max(ratio, LEAST):.3g}") for name, ratio in found.items()}
    return widened | {
        "pipeline": max(widened.values()),
        "note": (
            "width of the 80 % interval of TPOT, mean over the engines (generations, pairs of both, widths of weights) "
            "left out of the fit one by one, over its width with groups left out; concurrency is fitted up to 64 "
            "requests in flight and judged on more; pipeline parallelism has no closed-loop measurements and is taken "
            "to be as uncertain as the worst of these"
        ),
    }


def _width(ratios: FloatArray) -> float:
    """Of the interval around the prediction that holds the middle 80 % of measurements."""
    low, high = ends(ratios)
    return log(max(high, 1.0) / min(low, 1.0))
