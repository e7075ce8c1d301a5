"""Runs in, a calibration out, with its errors before, after, and on runs left out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from catalog.loader import Catalog
from catalog.schema import Calibration
from optimizer.calibration.anchor import fit_anchors, shipped_constants
from optimizer.calibration.content import content_of
from optimizer.calibration.measurement import Measurement
from optimizer.calibration.observations import FIGURES, Observations, log_errors, observe
from optimizer.calibration.write import calibration_yaml
from optimizer.performance.constants import RowConstants
from optimizer.serving_config import FloatArray

MOST_FOLDS = 10
"""Of runs left out in turn."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A calibration of one's own and what it changes.

    Errors are [4, m] logarithms of predicted over measured in the order of FIGURES; NaN where a run does not state it.
    """

    calibration: Calibration
    text: str
    """As a YAML file."""
    shipped: Calibration
    observed: Observations
    before: FloatArray
    after: FloatArray
    left_out: FloatArray
    """Of anchors fitted without the run; all NaN when there is only one."""


def calibrate(measurements: Sequence[Measurement], catalog: Catalog, fitted: date) -> Calibrated:
    """Anchors on the shipped constants for every engine and card measured; give all results at once.

    The same runs give the same file, but for the date `fitted`.
    """
    shipped = next(iter(catalog.calibrations.values()))
    observed = observe(measurements, catalog, shipped)
    anchors = fit_anchors(observed, shipped)
    before = _stated_errors(observed, shipped_constants(observed, shipped))
    after = _stated_errors(observed, anchors.constants(observed, shipped))
    left_out = _left_out(observed, shipped)
    runs = "\n".join(sorted(map(repr, measurements)))
    content = content_of(
        shipped, observed, anchors, after, left_out,
        calibration_id=f"own-{hashlib.sha256(runs.encode()).hexdigest()[:8]}", fitted=fitted,
    )  # fmt: skip
    text = calibration_yaml(content)
    return Calibrated(Calibration.model_validate(content), text, shipped, observed, before, after, left_out)


def _left_out(observed: Observations, shipped: Calibration) -> FloatArray:
    """[4, m] every run predicted by anchors of the others; the runs are left out in ten parts, or one by one."""
    n = len(observed)
    errors = np.full((len(FIGURES), n), np.nan)
    folds = np.arange(n) % min(n, MOST_FOLDS)
    for fold in range(min(n, MOST_FOLDS) if n > 1 else 0):
        out = folds == fold
        anchors = fit_anchors(observed.take(~out), shipped)
        judged = observed.take(out)
        errors[:, out] = _stated_errors(judged, anchors.constants(judged, shipped))
    return errors


def _stated_errors(observed: Observations, constants: RowConstants) -> FloatArray:
    stated = np.array([np.isfinite(getattr(observed, figure)) for figure in FIGURES])
    return np.where(stated, log_errors(observed, constants), np.nan)
