"""What the fallback is worth: errors on cards and on eras of engines that were left out of the fit whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.fit.held_out import folds_by, held_out, tpot_like, ttft_like
from optimizer.calibration.observations import Observations
from optimizer.serving_config import FloatArray


@dataclass(frozen=True, slots=True)
class Unseen:
    """Each row predicted by a fit without its card, or without its engine's era; NaN where a row states neither."""

    names: tuple[str, ...]  # [m] of the card or era
    tpot: FloatArray  # [m] predicted over measured TPOT, or measured over predicted throughput
    ttft: FloatArray  # [m]


def unseen_cards(observed: Observations) -> Unseen:
    """Every card left out in turn; others of its generation stay."""
    return _left_out(observed, tuple(t.gpu for t in observed.traits))


def unseen_eras(observed: Observations) -> Unseen:
    """Every era of every engine left out in turn; other eras of the engine stay."""
    return _left_out(observed, tuple(f"{t.engine} {t.era}" for t in observed.traits))


def _left_out(observed: Observations, names: tuple[str, ...]) -> Unseen:
    name_of = dict(zip(observed.measurements, names, strict=True))
    ratios = held_out(observed, folds_by(observed, lambda m, _: name_of[m]))
    return Unseen(names, tpot_like(ratios), np.asarray(ttft_like(ratios)))
