"""What a few own runs are worth: anchors of three runs of a group that the fit has not seen, judged on its others."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np

from benchmarks.fit.calibrate import constants_of
from benchmarks.fit.fit import fit
from catalog.schema import Calibration
from optimizer.calibration.anchor import fit_anchors, shipped_constants
from optimizer.calibration.content import residuals_of
from optimizer.calibration.observations import FIGURES, Observations, log_errors
from optimizer.performance.bands import closest_residual
from optimizer.serving_config import BoolArray, FloatArray, IntArray

ANCHORS = 3
"""Runs of each group that are given away: at one sixth, one half and five sixths of it, by requests in flight."""


class Anchored(NamedTuple):
    """Logarithmic errors of TPOT and TTFT [2, m] and whether they lie in their bands, of runs that were not given."""

    before: FloatArray
    after: FloatArray
    inside: BoolArray


def anchored(runs: Observations, folds: IntArray, content: dict[str, Any]) -> Anchored:
    """Every group of closed-loop runs, predicted by the constants of the other folds before and after its anchors."""
    figures = [FIGURES.index(name) for name in ("tpot_ms", "ttft_ms")]
    found: list[tuple[FloatArray, FloatArray, BoolArray]] = []
    for fold in np.unique(folds):
        constants = constants_of(fit(runs.take(folds != fold)))
        calibration = Calibration.model_validate(content | {"constants": constants})
        for rows in _groups(runs, folds == fold):
            given = np.zeros(len(runs), np.bool_)
            given[rows[[len(rows) // 6, len(rows) // 2, 5 * len(rows) // 6]]] = True
            judged = np.zeros(len(runs), np.bool_)
            judged[rows] = True
            own, others = runs.take(given), runs.take(judged & ~given)
            anchors = fit_anchors(own, calibration)
            before = log_errors(others, shipped_constants(others, calibration))[figures]
            after = log_errors(others, anchors.constants(others, calibration))[figures]
            bands = calibration.model_copy(
                update={"residuals": (*calibration.residuals, *residuals_of(calibration, own))}
            )
            ends = [closest_residual(metric, others.traits[0], bands) for metric in ("tpot", "ttft")]
            low, high = (np.log([[getattr(end, name)] for end in ends]) for name in ("low", "high"))
            found.append((before, after, (low <= -after) & (-after <= high)))
    return Anchored(*(np.concatenate(parts, axis=1) for parts in zip(*found, strict=True)))


def _groups(runs: Observations, chosen: BoolArray) -> list[IntArray]:
    """Rows of each group among the chosen, by requests in flight; too small groups are left out."""
    rows = defaultdict(list)
    for i in np.flatnonzero(chosen).tolist():
        rows[runs.measurements[i].group].append(i)
    ordered = [np.array(of)[np.argsort(runs.concurrency[of], kind="stable")] for of in rows.values()]
    return [of for of in ordered if len(of) > 2 * ANCHORS]
