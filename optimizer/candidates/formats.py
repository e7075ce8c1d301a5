"""Formats that another beats whatever is sent: fewer bytes to read and to hold, the same arithmetic.

Between two formats that an engine computes alike, with the same constants, a step takes no longer and a card holds no
less in the one with fewer bytes, at every degree; so its rate is at least as high and its latencies as low at every
batch and every mix of requests. That is true before a request is known, and most formats go by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from catalog.schema import Calibration
from optimizer.memory import caches_no_larger, weights_no_larger
from optimizer.performance import caches_no_slower, weights_no_slower
from optimizer.serving_config import BoolArray, Configurations


@dataclass(frozen=True, slots=True)
class Covered:
    """Of a model on an engine, on each of G cards: the formats that do all that another does, at least as well."""

    weights: BoolArray  # [G, W, W'] W' covers W
    caches: BoolArray  # [G, K, K']

    @classmethod
    def of(cls, degrees: Configurations, calibration: Calibration) -> Covered:
        """On all of their cards and between all of their formats, at some degrees, one in each row."""
        return cls(
            weights_no_larger(degrees) & weights_no_slower(degrees, calibration),
            caches_no_larger(degrees) & caches_no_slower(degrees),
        )


def worth_rating(accepted: Sequence[BoolArray], covered: Sequence[Covered], *, mix: bool) -> list[BoolArray]:
    """[G, W, K] of the formats accepted [G, W, K] for each way to run a model those that remain.

    Where formats may mix, one goes when another on the same card covers it. Else it must be covered by one of its own
    weights (and another type of cache), or its weights go with all caches and cards and ways to run the model, where
    those of one other format cover them on each. Of equals the first stays.
    """
    kept = []
    replaced = ~np.eye(accepted[0].shape[1], dtype=bool)  # [W, W'] every W has a W' wherever it is accepted
    for mask, by in zip(accepted, covered, strict=True):
        n_weights, n_caches = mask.shape[1:]
        n = n_weights * n_caches
        covers = (by.weights[:, :, None, :, None] & by.caches[:, None, :, None, :]).reshape(-1, n, n)
        covers &= mask.reshape(-1, 1, n)
        beats = covers & (~covers.swapaxes(1, 2) | _earlier(n)) & ~np.eye(n, dtype=bool)
        if not mix:
            beats &= np.kron(np.eye(n_weights, dtype=bool), np.ones((n_caches, n_caches), bool))
            by_weights = covers.reshape(*mask.shape, n_weights, n_caches).any(axis=-1)
            replaced &= (by_weights | ~mask[..., None]).all(axis=(0, 2))
        kept.append(mask & ~beats.any(axis=-1).reshape(mask.shape))
    if mix:
        return kept
    gone = np.asarray((replaced & (~replaced.T | _earlier(len(replaced)))).any(axis=1))
    return [mask & ~gone[:, None] for mask in kept]


def _earlier(n: int) -> BoolArray:
    """[n, n'] whether n' comes before n."""
    return np.arange(n) < np.arange(n)[:, None]
