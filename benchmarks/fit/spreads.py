"""What held-out errors are made of: how much belongs to a pair of engine and card, to a model on it, to single runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from benchmarks.fit.held_out import folds_by, held_out
from catalog.schema.calibration import Metric
from optimizer.calibration.observations import Observations
from optimizer.serving_config import FloatArray

NORMAL_MAD = 1.4826
"""Standard deviation of a normal over its median absolute deviation."""
TAIL = 2.5631
"""Standard deviations between the 10 % and the 90 % quantile of a normal."""
LEAST = 0.1
"""Ten pairs on two generations of cards cannot show that less is left between them."""


def spreads(observed: Observations) -> dict[Metric, dict[str, Any]]:
    """Standard deviations of the logarithms of errors on pairs left out of the fit; medians, as a few runs are wrong.

    Of the runs about their group's median, of the groups' medians about their pair's, and of the pairs' about zero as
    far as their groups do not explain it.
    """
    pairs = [(t.engine, t.gpu) for t in observed.traits]
    ratios = held_out(observed, folds_by(observed, lambda _, t: (t.engine, t.gpu)))
    groups = [(t.engine, t.gpu, t.model) for t in observed.traits]
    errors: dict[Metric, FloatArray] = {"tpot": np.log(ratios.tpot_ms), "ttft": np.log(ratios.ttft_ms)}
    return {metric: _spread(of, pairs, groups) for metric, of in errors.items()}


def _spread(errors: FloatArray, pairs: Sequence[Hashable], groups: Sequence[Hashable]) -> dict[str, Any]:
    middle = {group: float(np.median(of)) for group, of in _by(groups, errors).items()}
    about = np.array([error - middle[group] for error, group in zip(errors.tolist(), groups, strict=True)])
    run = float(np.quantile(about, 0.9) - np.quantile(about, 0.1)) / TAIL
    pair_of = dict(zip(groups, pairs, strict=True))
    by_pair = _by([pair_of[group] for group in middle], np.array(list(middle.values())))
    several = [of for of in by_pair.values() if len(of) > 1]
    model = NORMAL_MAD * float(np.median(np.abs(np.concatenate([(of - of.mean()) * _unshrunk(of) for of in several]))))
    means = np.array([of.mean() for of in by_pair.values()])
    groups_per_pair = np.mean([len(of) for of in by_pair.values()])
    pair = float(np.sqrt(max(float(np.mean(means**2)) - model**2 / groups_per_pair, 0.0)))
    named = {"pair": pair, "model": model, "run": run}
    return {name: float(f"{max(value, LEAST):.3g}") for name, value in named.items()}


def _unshrunk(values: FloatArray) -> float:
    """Deviations from a mean of n values are too small by √((n − 1) / n)."""
    return float(np.sqrt(len(values) / (len(values) - 1)))


def _by(keys: Sequence[Hashable], values: FloatArray) -> dict[Hashable, FloatArray]:
    found: dict[Hashable, list[float]] = defaultdict(list)
    for key, value in zip(keys, values.tolist(), strict=True):
        found[key].append(value)
    return {key: np.array(of) for key, of in found.items()}
