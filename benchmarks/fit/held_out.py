"""How far predictions are off on measurements that the fit has not seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np

from benchmarks.fit.fit import Fit, fit, is_closed_loop
from catalog.schema.calibration import Traits
from optimizer.calibration.measurement import Measurement
from optimizer.calibration.observations import FIGURES, Observations, predict
from optimizer.serving_config import BoolArray, FloatArray, IntArray

FOLDS = 5


@dataclass(frozen=True, slots=True)
class Ratios:
    """Predicted over measured, per figure [m]; NaN where a row does not state it."""

    tpot_ms: FloatArray
    ttft_ms: FloatArray
    output_tokens_per_s: FloatArray
    prefill_ms: FloatArray

    def of(self, figure: str) -> FloatArray:
        """[m]"""
        ratios: FloatArray = getattr(self, figure)
        return ratios

    def take(self, rows: BoolArray) -> Ratios:
        """The chosen rows."""
        return Ratios(*(self.of(figure)[rows] for figure in FIGURES))


def ratios_of(observed: Observations, fitted: Fit) -> Ratios:
    """Errors of a fit on any rows."""
    predicted = predict(observed, fitted.constants(observed))
    return Ratios(*(getattr(predicted, figure) / getattr(observed, figure) for figure in FIGURES))


def held_out(observed: Observations, folds: IntArray) -> Ratios:
    """Errors on every row of a fit to the other folds."""
    columns = {figure: np.full(len(observed), np.nan) for figure in FIGURES}
    for fold in np.unique(folds):
        rows = folds == fold
        ratios = ratios_of(observed.take(rows), fit(observed.take(~rows)))
        for figure in FIGURES:
            columns[figure][rows] = ratios.of(figure)
    return Ratios(**columns)


def families_held_out(observed: Observations) -> Ratios:
    """Errors on every published point of a fit to the closed-loop runs and to the other families of sources."""
    runs = is_closed_loop(observed)
    families = np.array([m.source for m in observed.measurements])
    columns = {figure: np.full(len(observed), np.nan) for figure in FIGURES}
    for family in sorted(set(families[~runs].tolist())):
        rows = families == family
        ratios = ratios_of(observed.take(rows), fit(observed.take(~rows)))
        for figure in FIGURES:
            columns[figure][rows] = ratios.of(figure)
    return Ratios(**columns)


def group_folds(observed: Observations) -> IntArray:
    """[m] Whole (model, GPU, engine) groups in folds of about equal size: largest first, into the smallest fold."""
    return _folds(observed, lambda m, _: (m.model, m.gpu, m.engine), FOLDS)


def folds_by(observed: Observations, key: Callable[[Measurement, Traits], Hashable]) -> IntArray:
    """[m] One fold for each value of the key."""
    return _folds(observed, key, None)


def _folds(observed: Observations, key: Callable[[Measurement, Traits], Hashable], most: int | None) -> IntArray:
    keys = [key(m, t) for m, t in zip(observed.measurements, observed.traits, strict=True)]
    sizes = Counter(keys)
    ordered = sorted(sizes, key=lambda k: (-sizes[k], str(k)))
    load = [0] * (most or len(ordered))
    fold_of: dict[Hashable, int] = {}
    for one in ordered:
        fold_of[one] = int(np.argmin(load))
        load[fold_of[one]] += sizes[one]
    return np.array([fold_of[one] for one in keys])


def median_error(ratios: FloatArray) -> float:
    """Median of |predicted / measured − 1|."""
    return float(np.nanmedian(np.abs(ratios - 1.0)))


def mean_error(ratios: FloatArray) -> float:
    """Mean of |predicted / measured − 1|."""
    return float(np.nanmean(np.abs(ratios - 1.0)))


def ends(ratios: FloatArray) -> tuple[float, float]:
    """10 % and 90 % quantiles of measured over predicted: the ends of an 80 % interval."""
    low, high = np.nanquantile(1.0 / ratios, [0.1, 0.9])
    return float(low), float(high)


def coverage(ratios: FloatArray, folds: IntArray) -> float:
    """Part inside an 80 % interval whose ends come from all folds but its own."""
    inside = np.zeros(len(ratios), np.bool_)
    for fold in np.unique(folds):
        here = folds == fold
        low, high = ends(ratios[~here])
        inside[here] = (1.0 / ratios[here] >= low) & (1.0 / ratios[here] <= high)
    return float(inside.mean())


def tpot_like(ratios: Ratios) -> FloatArray:
    """[m] predicted over measured TPOT; where only throughput is stated, measured over predicted throughput."""
    return np.where(np.isfinite(ratios.tpot_ms), ratios.tpot_ms, 1.0 / ratios.output_tokens_per_s)


def ttft_like(ratios: Ratios) -> FloatArray:
    """[m] predicted over measured TTFT; where only a prefill is stated, of that."""
    return np.where(np.isfinite(ratios.ttft_ms), ratios.ttft_ms, ratios.prefill_ms)
