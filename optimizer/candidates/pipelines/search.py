"""The pipelines of one model over the offers of a ground that are worth rating, each split at its best."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from catalog.units import MS_PER_S
from optimizer.candidates.pipelines.grounds import MOST_SETS, STAGES, STAGES_OF_ONE_GPU
from optimizer.candidates.pipelines.leaves import Leaves
from optimizer.candidates.pipelines.quality import Quality
from optimizer.candidates.pipelines.split import Beginnings, Splits
from optimizer.candidates.pipelines.stages import Setting, StageTimes
from optimizer.scenario import Workload
from optimizer.scenario.pipelines import ENGINES_OF_SINGLE_GPU_STAGES
from optimizer.serving_config import BoolArray, FloatArray, IntArray

KEPT = 2
"""Splits rated for each set of offers, degree, tokens of a step and choice of formats: those that carry most when full.
The largest need not hold a target on the first token."""


class Split(NamedTuple):
    """A pipeline to be rated."""

    setting: Setting
    batch: int
    is_fullest: bool
    """A larger batch does not fit."""
    offers: tuple[int, ...]
    """Of each stage."""
    weights: tuple[int, ...]
    """Format of each stage."""
    ends: tuple[int, ...]
    """Layers that the first stage holds, the first two, …, all of them."""


@dataclass(frozen=True, slots=True)
class _Best:
    """The best splits in one setting, those of each set of offers in the order of their choices; arrays [m]."""

    setting: Setting
    of: IntArray
    """Which of the sets of offers."""
    choice: IntArray
    tokens_per_s: FloatArray
    """While the batch is full."""
    batch: IntArray
    is_fullest: BoolArray
    offers: IntArray  # [m, P]
    weights: IntArray  # [m, P]
    ends: IntArray  # [m, P]

    def splits(self, rows: IntArray) -> Iterator[Split]:
        """Some of them."""
        columns = (self.batch, self.is_fullest, self.offers, self.weights, self.ends)
        for batch, is_fullest, *of_stages in zip(*(column[rows].tolist() for column in columns), strict=True):
            yield Split(self.setting, batch, is_fullest, *map(tuple, of_stages))


@dataclass(frozen=True, slots=True)
class _Sets:
    """Sets of offers for pipelines of P stages, those that start with the same fraction of memory together."""

    offers: IntArray  # [n, P]
    of_places: IntArray  # [n] which of the sets of places
    places: IntArray  # [m, P] each once
    fraction: IntArray  # [m] of memory, that all stages start with: which of those there are
    is_cut: bool
    """There are more."""


class Search:
    """Finds the splits of a workload's pipelines on one ground."""

    def __init__(self, workload: Workload, times: StageTimes, quality: Quality) -> None:
        self.workload, self.times, self.quality = workload, times, quality
        self.rejected: Counter[str] = Counter()
        self.n_looked_at = 0
        self._n_layers = times.shape.model.n_layers
        limits = [target.limit_ms for target in workload.planned_targets if target.metric == "tpot"]
        # Finite, for what does not run takes forever.
        self._most_ms = min(limits, default=float(np.finfo(float).max))

    def run(self) -> list[Split]:
        """The best few of each set of offers, tensor-parallel degree and choice of formats."""
        axes, kv_formats = self.times.axes, range(len(self.quality.caches))
        stages = STAGES_OF_ONE_GPU if self.times.shape.engine.id in ENGINES_OF_SINGLE_GPU_STAGES else STAGES
        pp, most = self.workload.pp, self.workload.max_gpus_per_replica
        found: list[_Best] = []
        sets = {
            (tp, n): self._sets(n, tp)
            for tp, n in itertools.product(axes.degrees, stages)
            if tp * n <= most and (pp is None or n in pp) and n <= self._n_layers
        }
        for kv_format in kv_formats:
            leaves = {key: Leaves.on(one.places, self.quality, kv_format, self._n_layers) for key, one in sets.items()}
            for tokens, (key, one) in itertools.product(axes.step_tokens, sets.items()):
                found.append(self._of_setting(Setting(kv_format, tokens, *key), one, leaves[key]))
        return _best_of_all(found)

    def _sets(self, n_stages: int, tp: int) -> _Sets:
        some = list(itertools.islice(self.times.ground.sets(n_stages, tp), MOST_SETS + 1))
        offers = np.array(some[:MOST_SETS], np.int64).reshape(-1, n_stages)
        fraction = self.times.fractions_of(np.array(self.times.ground.place)[offers], tp)
        _, first, which = np.unique(fraction, return_index=True, return_inverse=True)
        offers = offers[np.argsort(first[which], kind="stable")]
        places = np.array(self.times.ground.place)[offers]
        distinct, first, which = np.unique(places, axis=0, return_index=True, return_inverse=True)
        by_first = np.argsort(first)
        distinct = distinct[by_first]
        of_places = np.argsort(by_first)[which.ravel()]
        return _Sets(offers, of_places, distinct, self.times.fractions_of(distinct, tp), len(some) > MOST_SETS)

    def _of_setting(self, setting: Setting, sets: _Sets, leaves: Leaves) -> _Best:
        n_formats, batch = len(self.quality.weights), self.times.axes.batch
        stage_ms = self.times.of(setting)  # [fractions, places, formats, V, contents]
        place = np.take_along_axis(sets.places[leaves.of], leaves.order, axis=1)
        kind = (sets.fraction[leaves.of][:, None] * stage_ms.shape[1] + place) * n_formats + leaves.weights
        splits = Splits(
            self.times.spans,
            stage_ms.reshape(-1, *stage_ms.shape[-2:]),
            Beginnings.of(kind, leaves.least),
            in_turn=self.times.shape.engine.stages_take_turns,
        )
        tokens_per_s = np.where(splits.ms <= self._most_ms, batch / splits.ms * MS_PER_S, 0.0)
        self._count(sets, leaves, tokens_per_s, splits.ms)
        leaf, variant = _largest(tokens_per_s, leaves.of * (n_formats + 1) + leaves.choice)
        ends = splits.ends(leaf, variant)
        fits_more = np.isfinite(np.pad(splits.ms, ((0, 0), (0, 1)))[leaf, variant + 1])
        # Each stands on every set of offers in these places.
        starts = np.searchsorted(leaves.of[leaf], np.arange(len(sets.places) + 1))
        rows, of = _ranges(starts[sets.of_places], starts[sets.of_places + 1])
        leaf, variant = leaf[rows], variant[rows]
        return _Best(
            setting,
            of=of,
            choice=leaves.choice[leaf],
            tokens_per_s=tokens_per_s[leaf, variant],
            batch=batch[variant],
            is_fullest=~fits_more[rows],
            offers=np.take_along_axis(sets.offers[of], leaves.order[leaf], axis=1),
            weights=leaves.weights[leaf],
            ends=ends[rows],
        )

    def _count(self, sets: _Sets, leaves: Leaves, tokens_per_s: FloatArray, ms: FloatArray) -> None:
        """What was looked at, and why some places hold nothing."""
        m = len(sets.places)
        serves, runs = np.zeros(m, bool), np.zeros(m, bool)
        np.logical_or.at(serves, leaves.of, (tokens_per_s > 0).any(axis=1))
        np.logical_or.at(runs, leaves.of, np.isfinite(ms).any(axis=1))
        self.n_looked_at += m
        self.rejected.update("latency of pipelines" if late else "memory" for late in runs[~serves].tolist())
        if sets.is_cut:
            self.rejected["pipelines over too many offers"] += 1


def _largest(values: FloatArray, group: IntArray) -> tuple[IntArray, IntArray]:
    """Row and column of the `KEPT` largest positive values [n, V] of each group of rows, group after group.

    Rows of a group [n] lie together; of equals the first is taken.
    """
    found = []
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    number = np.cumsum(np.diff(group, prepend=-1) != 0) - 1
    values = values.copy()
    for rank in range(KEPT if len(group) else 0):
        column = values.argmax(axis=1)
        largest = values[np.arange(len(values)), column]
        at_best = np.flatnonzero(largest == np.maximum.reduceat(largest, starts)[number])
        row = at_best[np.searchsorted(number[at_best], np.arange(len(starts)))]
        found.append((row, column[row], np.full(len(row), rank), largest[row] > 0))
        values[row, column[row]] = 0.0
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    rows, columns, ranks, positive = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((ranks, number[rows]))
    order = order[positive[order]]
    return rows[order], columns[order]


def _ranges(starts: IntArray, stops: IntArray) -> tuple[IntArray, IntArray]:
    """Positions from each start to its stop, range after range, and which range each is of."""
    lengths = stops - starts
    of = np.repeat(np.arange(len(starts)), lengths)
    return np.arange(len(of)) - (np.cumsum(lengths) - lengths)[of] + starts[of], of


def _best_of_all(found: Sequence[_Best]) -> list[Split]:
    """Of equal sets of offers, degrees, tokens of a step and choices, those that carry most over all caches."""
    if not found:
        return []
    sizes = [len(one.of) for one in found]
    setting = np.array([(b.setting.step_tokens, b.setting.tp, b.setting.n_stages) for b in found])
    setting = np.repeat(np.unique(setting, axis=0, return_inverse=True)[1].ravel(), sizes)
    columns = (setting, np.concatenate([b.of for b in found]), np.concatenate([b.choice for b in found]))
    code = np.ravel_multi_index(columns, tuple(1 + int(column.max(initial=0)) for column in columns))
    order = np.lexsort((-np.concatenate([b.tokens_per_s for b in found]), code))
    _, first, which = np.unique(code, return_index=True, return_inverse=True)
    which = which.ravel()
    starts = np.searchsorted(code[order], code[order])
    kept = order[np.arange(len(order)) - starts < KEPT]
    kept = kept[np.argsort(first[which[kept]], kind="stable")]
    ends = np.cumsum(sizes)
    part = np.searchsorted(ends, kept, side="right")
    splits: dict[int, Split] = {}
    for number, one in enumerate(found):
        here = np.flatnonzero(part == number)
        splits.update(zip(here.tolist(), one.splits(kept[here] - ends[number] + sizes[number]), strict=True))
    return [splits[position] for position in range(len(kept))]
