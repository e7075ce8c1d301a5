"""The weight formats that stages may be in: one for all of a pipeline, or two, the better one on some of its cards."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from optimizer.candidates.pipelines.quality import Quality
from optimizer.serving_config import IntArray


@dataclass(frozen=True, slots=True)
class Leaves:
    """n pipelines of P stages before their layers are split; those on one set of places lie together."""

    of: IntArray  # [n] which of the sets, ascending
    choice: IntArray  # [n] the weight format, or where there are two the number of formats
    order: IntArray  # [n, P] which of the set's places each stage is on
    weights: IntArray  # [n, P]
    least: IntArray  # [n, P] layers that the stages up to there hold together at least

    @classmethod
    def on(cls, places: IntArray, quality: Quality, cache: int, n_layers: int) -> Leaves:
        """On sets of places [m, P] in ascending order: those in one format first, then those in two."""
        parts = list(_in_one(places, quality, cache))
        parts += _in_two(places, quality, cache, n_layers)
        if not parts:
            none = np.zeros((0, places.shape[1]), np.int64)
            return cls(none[:, 0], none[:, 0], none, none, none)
        of, choice, order, weights, least = (np.concatenate(column) for column in zip(*parts, strict=True))
        by_set = np.argsort(of, kind="stable")
        return cls(of[by_set], choice[by_set], order[by_set], weights[by_set], least[by_set])


_Part = tuple[IntArray, IntArray, IntArray, IntArray, IntArray]


def _in_one(places: IntArray, quality: Quality, cache: int) -> Iterator[_Part]:
    m, none = len(places), np.zeros_like(places)
    for one in range(len(quality.weights)):
        if quality.enough(one, cache):
            yield np.arange(m), np.full(m, one), none + np.arange(places.shape[1]), none + one, none


def _in_two(places: IntArray, quality: Quality, cache: int, n_layers: int) -> Iterator[_Part]:
    """The stages on any of the places, but not on all, in the better format; they come first."""
    pairs = [pair for pair in itertools.combinations(quality.by_layer, 2) if quality.enough(pair[0], cache)]
    if not pairs:
        return
    changes = places[:, 1:] != places[:, :-1]
    rank = np.pad(np.cumsum(changes, axis=1), ((0, 0), (1, 0)))  # [m, P] of its place among those of the set
    last, stage = rank[:, -1], np.arange(places.shape[1])
    splits = []
    for ranks in (some for n in stage[1:].tolist() for some in itertools.combinations(stage.tolist(), n)):
        of = np.flatnonzero((last >= max(ranks)) & (last >= len(ranks)))
        ahead = np.isin(rank[of], ranks)
        splits.append((of, np.argsort(~ahead, axis=1, kind="stable"), ahead.sum(axis=1)[:, None]))
    for better, other in pairs:
        least = quality.layers_in(better, other, cache, n_layers)
        for of, order, n_ahead in splits:
            weights = np.where(stage < n_ahead, better, other)
            yield of, np.full(len(of), len(quality.weights)), order, weights, np.where(stage == n_ahead - 1, least, 0)
