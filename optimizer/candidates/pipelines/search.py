"""The pipelines of one model over the offers of a ground that are worth rating, each split at its best."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

import numpy as np

from catalog.units import MS_PER_S
from optimizer.candidates.pipelines.grounds import MOST_SETS, STAGES, STAGES_OF_ONE_GPU, Ground
from optimizer.candidates.pipelines.split import Front, ends_of, front, with_at_least
from optimizer.candidates.pipelines.stages import Setting, StageTimes
from optimizer.scenario import Workload
from optimizer.scenario.pipelines import ENGINES_OF_SINGLE_GPU_STAGES
from optimizer.serving_config import FloatArray

KEPT = 2
"""Splits rated for each set of offers, degree, tokens of a step and choice of formats: those that carry most when full.
The largest need not hold a target on the first token."""
ROUNDING = 1e-9

Kind = tuple[int, int]
"""Place and weight format of a stage."""
_Key = tuple[tuple[Kind, int], ...]
"""Kinds of the first stages, each with the least layers that they hold up to there."""


@dataclass(frozen=True, slots=True)
class Split:
    """A pipeline to be rated."""

    setting: Setting
    batch: int
    offers: tuple[str, ...]
    """Of each stage."""
    kinds: tuple[Kind, ...]
    ends: tuple[int, ...]
    """Layers that the first stage holds, the first two, …, all of them."""
    tokens_per_s: float
    """While the batch is full."""
    is_fullest: bool
    """A larger batch does not fit."""

    @property
    def formats(self) -> tuple[int, ...]:
        """Weight formats, each once."""
        return tuple(dict.fromkeys(weights for _, weights in self.kinds))


@dataclass(frozen=True, slots=True)
class Quality:
    """Of weights and caches by themselves, relative to bf16, and what they must come to together."""

    weights: Sequence[float]
    """Of each weight format, the best first."""
    caches: Sequence[float]
    by_layer: Sequence[int]
    """The weight formats of which each layer may have its own."""
    least: float

    def enough(self, weights: int, cache: int) -> bool:
        """Whether a replica may be in that format."""
        return self.weights[weights] * self.caches[cache] >= self.least - ROUNDING

    def layers_in(self, better: int, other: int, cache: int, n_layers: int) -> int:
        """Least layers in the better format where the rest are in the other; the mean over layers counts."""
        if self.enough(other, cache):
            return 1
        lacking = self.least / self.caches[cache] - self.weights[other]
        return max(1, ceil(n_layers * lacking / (self.weights[better] - self.weights[other]) - ROUNDING))


@dataclass(slots=True)
class Search:
    """Finds the splits of a workload's pipelines on one ground."""

    workload: Workload
    times: StageTimes
    quality: Quality
    rejected: Counter[str] = field(default_factory=Counter)
    n_looked_at: int = 0

    def run(self) -> Iterator[Split]:
        """The best few of each set of offers, tensor-parallel degree and choice of formats."""
        best: dict[tuple[object, ...], list[Split]] = {}
        axes, kv_formats = self.times.axes, range(len(self.quality.caches))
        stages = STAGES_OF_ONE_GPU if self.times.shape.engine.id in ENGINES_OF_SINGLE_GPU_STAGES else STAGES
        for kv_format, tokens, tp, n_stages in itertools.product(kv_formats, axes.step_tokens, axes.degrees, stages):
            pp, most = self.workload.pp, self.workload.max_gpus_per_replica
            if tp * n_stages <= most and (pp is None or n_stages in pp) and n_stages <= self._n_layers:
                for fraction, sets in self._sets(n_stages, tp).items():
                    self._of_setting(Setting(kv_format, tokens, tp, n_stages, fraction), sets, best)
        for kept in best.values():
            yield from kept

    def _sets(self, n_stages: int, tp: int) -> dict[float, list[tuple[int, ...]]]:
        """Offers of the stages of each pipeline, by the fraction of memory that all of them start with."""
        found: dict[float, list[tuple[int, ...]]] = {}
        for number, chosen in enumerate(self._ground.sets(n_stages, tp)):
            if number == MOST_SETS:
                self.rejected["pipelines over too many offers"] += 1
                break
            places = {self._ground.place[s] for s in chosen}
            found.setdefault(self.times.fraction_of(places, tp), []).append(chosen)
        return found

    @property
    def _ground(self) -> Ground:
        return self.times.ground

    @property
    def _in_turn(self) -> bool:
        return self.times.shape.engine.stages_take_turns

    @property
    def _n_layers(self) -> int:
        return self.times.shape.model.n_layers

    def _of_setting(
        self, setting: Setting, sets: Sequence[tuple[int, ...]], best: dict[tuple[object, ...], list[Split]]
    ) -> None:
        stage_ms = self.times.of(setting)
        fronts: dict[_Key, Front] = {}
        splits: dict[tuple[int, ...], list[Split]] = {}
        for chosen in sets:
            places = tuple(self._ground.place[s] for s in chosen)
            if places not in splits:
                splits[places] = list(self._of_places(setting, places, stage_ms, fronts))
                self.n_looked_at += 1
            for split in splits[places]:
                waiting = {place: [s for s in chosen if self._ground.place[s] == place] for place in places}
                offers = tuple(self._ground.offers[waiting[place].pop(0)] for place, _ in split.kinds)
                formats = split.formats if len(split.formats) == 1 else "several"
                kept = best.setdefault((chosen, setting.tp, setting.step_tokens, formats), [])
                kept.append(replace(split, offers=offers))
                kept.sort(key=lambda one: -one.tokens_per_s)
                del kept[KEPT:]

    def _of_places(
        self, setting: Setting, places: tuple[int, ...], stage_ms: FloatArray, fronts: dict[_Key, Front]
    ) -> Iterator[Split]:
        """The best splits of each choice of formats, the one that carries most first."""
        runs = late = False
        for kinds in self._kinds(setting, places):
            path = self._path(setting, kinds, stage_ms, fronts)
            ms = path[-1].ms[:, -1]
            tokens_per_s = np.where(ms <= self._most_ms, self.times.axes.batch / ms * MS_PER_S, 0.0)
            late |= bool(np.isfinite(ms).any())
            for v in np.argsort(-tokens_per_s, kind="stable")[:KEPT].tolist():
                if tokens_per_s[v] > 0:
                    runs = True
                    fullest = v + 1 < len(ms) and not np.isfinite(ms[v + 1])
                    batch, carried = int(self.times.axes.batch[v]), float(tokens_per_s[v])
                    yield Split(setting, batch, (), kinds, ends_of(path, v), carried, fullest)
        if not runs:
            self.rejected["latency of pipelines" if late else "memory"] += 1

    @property
    def _most_ms(self) -> float:
        """That a token may take while the batch is full; finite, for what does not run takes forever."""
        limits = [target.limit_ms for target in self.workload.planned_targets if target.metric == "tpot"]
        return min(limits, default=float(np.finfo(float).max))

    def _path(
        self, setting: Setting, kinds: tuple[Kind, ...], stage_ms: FloatArray, fronts: dict[_Key, Front]
    ) -> list[Front]:
        """The fronts of the first stage, the first two …; those of pipelines that begin alike are found once."""
        path: list[Front] = []
        key: _Key = ()
        for kind, (_, following) in zip(kinds, (*kinds[1:], kinds[-1]), strict=True):
            changes = following != kind[1]
            least = self.quality.layers_in(kind[1], following, setting.kv_format, self._n_layers) if changes else 0
            key = (*key, (kind, least))
            if key not in fronts:
                joined = front(stage_ms[kind], path[-1] if path else None, in_turn=self._in_turn)
                fronts[key] = with_at_least(joined, least)
            path.append(fronts[key])
        return path

    def _kinds(self, setting: Setting, places: tuple[int, ...]) -> Iterator[tuple[Kind, ...]]:
        """Stages with formats: one for all, or the better of two for those on some cards, which then come first."""
        cache, formats = setting.kv_format, range(len(self.quality.weights))
        for one in formats:
            if self.quality.enough(one, cache):
                yield tuple((place, one) for place in places)
        distinct = sorted(set(places))
        for better, other in itertools.combinations(self.quality.by_layer, 2):
            if not self.quality.enough(better, cache):
                continue
            for ahead in (some for n in range(1, len(distinct)) for some in itertools.combinations(distinct, n)):
                first = ((place, better) for place in places if place in ahead)
                yield (*first, *((place, other) for place in places if place not in ahead))
