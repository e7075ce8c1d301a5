"""The best batch of each configuration, and the largest rate at which it holds every latency target there.

The batch is the largest that fits memory and, even when it is full, holds the TPOT targets: with fewer places requests
would wait longer, and with more the crowd could slow everybody down. Then the load is raised until a percentile under
random arrivals reaches its target. Both are bisections over all configurations at once. A class with a long prompt may
miss its target where a short one holds it; the search runs for every class on its own, and what each finds is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizer.candidates.physics import Physics
from optimizer.candidates.spec import ReplicaSpec
from optimizer.candidates.starts import Flags, Starts
from optimizer.memory import REASONS
from optimizer.performance import LOAD_STEPS, RatedReplicas, TokenMix, capacity_of, largest_load
from optimizer.performance.capacity import decoding_of
from optimizer.performance.open_loop import OpenLoop, OpenReplicas
from optimizer.scenario import Target, Workload
from optimizer.serving_config import BoolArray, Configurations, FloatArray, IntArray, Links, StringArray

LACKS_MEMORY = tuple(REASONS.index(key) for key in ("", "memory", "context", "margin"))
"""Reasons, or none, for which fewer tokens a step may help."""
ROWS_AT_ONCE = 1000
"""About as many take twice as long to compute as none."""
CONTEXT_BLOCK_TOKENS = 16
"""max_model_len is rounded up to whole KV blocks of this size (vLLM's default block)."""


@dataclass(frozen=True, slots=True)
class Rated:
    """Configurations at their largest batch, with what each class gets."""

    configurations: Configurations  # [n]
    max_model_len: int
    max_batch_size: IntArray  # [n]
    step_tokens: IntArray  # [n] 0 = the engine's default
    rate_rps: FloatArray  # [n, R] 0 where the class misses a target
    limit: tuple[str, ...]  # [n] what stops a larger batch or load
    classes: tuple[str, ...]  # [R]

    @property
    def card(self) -> StringArray:
        """[n] id of the GPU."""
        return np.array([gpu.id for gpu in self.configurations.gpus])[self.configurations.gpu]

    @property
    def places(self) -> tuple[tuple[str, Links | None], ...]:
        """For each of the configurations' cards its id and what joins it to others."""
        c = self.configurations
        return tuple((gpu.id, links) for gpu, links in zip(c.gpus, c.links_of_cards, strict=True))

    @property
    def choice(self) -> StringArray:
        """[n] model and weight format, of which `single_format` allows one."""
        c = self.configurations
        return np.array([f"{c.model.id} {weights.id}" for weights in c.weight_formats])[c.weight_format]

    @property
    def structure(self) -> StringArray:
        """[n] model, weight format and degrees: what makes one plan different in kind from another."""
        c = self.configurations
        degrees = [f" {tp} {pp} {dp} {ep}" for tp, pp, dp, ep in np.stack([c.tp, c.pp, c.dp, c.ep], axis=1).tolist()]
        drafts = f" {c.speculation.method}" if c.speculation else ""
        return np.char.add(self.choice, np.array([f"{one}{drafts}" for one in degrees], str))

    def spec(self, row: int) -> ReplicaSpec:
        """One row by itself."""
        c, served = self.configurations, self.rate_rps[row] > 0
        return ReplicaSpec(
            gpu=c.gpus[c.gpu[row]].id,
            gpus=int(c.gpus_per_replica[row]),
            model=c.model.id,
            weight_dtype=c.weight_formats[c.weight_format[row]].id,
            kv_cache_dtype=c.kv_formats[c.kv_format[row]].id,
            engine=c.engine.id,
            tp=int(c.tp[row]),
            pp=int(c.pp[row]),
            dp=int(c.dp[row]),
            ep=int(c.ep[row]),
            max_batch_size=int(self.max_batch_size[row]),
            max_model_len=self.max_model_len,
            max_num_batched_tokens=int(self.step_tokens[row]) or None,
            links=c.links_of_cards[c.gpu[row]],
            speculation=c.speculation,
            limit=self.limit[row],
            serves=() if served.all() else tuple(name for name, s in zip(self.classes, served, strict=True) if s),
        )


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """Configurations at given batches."""

    fits: BoolArray  # [n]
    reason: NDArray[np.int8]  # [n] index into REASONS, 0 where it fits
    held: FloatArray  # [n] requests that the KV cache holds at once
    places: IntArray  # [n] of the batch
    spare_gib: FloatArray  # [n] of the KV cache, if steps took no memory

    @property
    def runs(self) -> BoolArray:
        """[n] the replica starts and its batch fills."""
        return self.fits & (self.held >= self.places)

    @property
    def may_be_leaner(self) -> BoolArray:
        """[n] it lacks memory, and not more than steps take."""
        lean: BoolArray = ~self.runs & np.isin(self.reason, LACKS_MEMORY) & (self.spare_gib > 0)
        return lean

    @property
    def columns(self) -> tuple[NDArray[Any], ...]:
        """Of the fields, in their order."""
        return self.fits, self.reason, self.held, self.places, self.spare_gib

    @classmethod
    def together(cls, parts: Sequence[_Evaluation]) -> _Evaluation:
        return cls(*map(np.concatenate, zip(*(one.columns for one in parts), strict=True)))

    def take(self, rows: IntArray | BoolArray) -> _Evaluation:
        """The chosen rows, in that order."""
        return _Evaluation(*(column[rows] for column in self.columns))

    def put(self, rows: IntArray, other: _Evaluation) -> None:
        """Some rows written over."""
        for column, value in zip(self.columns, other.columns, strict=True):
            column[rows] = value


@dataclass(frozen=True, slots=True)
class _Found:
    """Batches of m pairs of a configuration and a class, with the flags that they need."""

    pair: IntArray  # [m]
    level: IntArray  # [m] of the starts
    size: IntArray  # [m] position of the batch
    stop: IntArray  # [m] what stops a larger one

    @classmethod
    def together(cls, parts: Sequence[_Found]) -> _Found:
        columns = zip(*((one.pair, one.level, one.size, one.stop) for one in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))


class BatchSearch:
    """Finds flags, batches and rates for one workload, counting what it rejects and why."""

    def __init__(self, workload: Workload, max_model_len: int) -> None:
        self.workload, self.max_model_len = workload, max_model_len
        self.mix, self.targets = token_mix(workload), workload.planned_targets
        self.of_full_batch = [target for target in self.targets if target.metric == "tpot"]
        self.stops = (*map(target_key, self.targets), "memory", "max_batch_size")
        self.rejected: Counter[str] = Counter()
        self.nearest_ms: dict[str, float] = {}

    def run(self, physics: Physics) -> Rated:
        """Every configuration that holds the targets of some class when almost idle, at the best batches for each."""
        configurations, sizes = physics.configurations, physics.sizes
        if not len(configurations):
            return self._none(configurations)
        starts = Starts.of(self.workload, physics.defaults)
        level, first = self._first_running(physics, starts)
        row, of_class = np.nonzero(self._rejecting(physics, starts, level, first))
        if not len(row):
            return self._none(configurations)
        pairs, starts = physics.take(row), starts.take(row)
        found = self._batches(pairs, starts, level[row], of_class)
        row, of_class, pairs = row[found.pair], of_class[found.pair], pairs.take(found.pair)
        flags = starts.at(found.level, found.pair)
        batch = sizes[found.size]
        replicas = pairs.replicas(flags.tokens, self.mix, batch)
        load = largest_load(replicas, self.targets, of_class[:, None] == np.arange(len(self.mix.names)))
        rated = RatedReplicas.at(replicas, load)
        served_rps = np.where(self._excess(rated.open_loop).max(axis=0, initial=0.0) <= 1.0, rated.rate_rps, 0.0)
        stop = np.where(rated.nearly_full, found.stop, self._late(replicas, load + 1, of_class))
        # Classes that end up with the same flags, batch and load share a row.
        same = ((row * len(starts) + found.level) * len(sizes) + found.size) * (LOAD_STEPS + 1) + load
        _, kept = np.unique(same, return_index=True)
        limit = tuple(self.stops[s] for s in stop[kept].tolist())
        return Rated(
            configurations.take(row[kept]),
            self.max_model_len,
            batch[kept],
            flags.tokens[kept] * (flags.tokens != pairs.defaults.max_num_batched_tokens)[kept],
            served_rps[kept],
            limit,
            self.mix.names,
        )

    def _none(self, configurations: Configurations) -> Rated:
        nothing = np.zeros(0, np.int64)
        no_rates = np.zeros((0, len(self.mix.names)))
        return Rated(configurations.take(nothing), self.max_model_len, nothing, nothing, no_rates, (), self.mix.names)

    def _first_running(self, physics: Physics, starts: Starts) -> tuple[IntArray, _Evaluation]:
        """[n] the first level at which each configuration runs with the smallest batch; the first of all if none."""
        n = len(physics.configurations)
        level, smallest = np.zeros(n, np.int64), np.zeros(n, np.int64)
        found = self._evaluate(physics, smallest, starts.at(0, np.arange(n)))
        short = np.flatnonzero(found.may_be_leaner)
        for at in range(len(starts) - 1, 0, -1):  # what does not run with the fewest tokens runs with none
            if not short.size:
                break
            leaner = self._evaluate(physics.take(short), smallest[short], starts.at(at, short))
            short, leaner = short[leaner.runs], leaner.take(leaner.runs)
            level[short] = at
            found.put(short, leaner)
        return level, found

    def _runs(self, physics: Physics, starts: Starts, level: int, rows: IntArray, size: IntArray) -> BoolArray:
        """[rows] whether some of the configurations run at a level, each with its batch `size` [n]."""
        if not rows.size:
            return np.zeros(0, bool)
        return self._evaluate(physics.take(rows), size[rows], starts.at(level, rows)).runs

    def _batches(self, pairs: Physics, starts: Starts, level: IntArray, of_class: IntArray) -> _Found:
        """The largest batch of every pair that time and memory allow, and larger ones where fewer tokens leave room.

        With fewer tokens a step, more places count against later tokens: what wins is seen when both are rated.
        """
        every = np.arange(len(of_class))
        latest, stop = self._largest_in_time(pairs, starts.tokens[level, every], of_class)
        size = self._largest_running(pairs, starts.at(level, every), latest)
        found = [_Found(every, level, size, np.where(size < latest, len(self.stops) - 2, stop))]
        most, short = size.copy(), np.flatnonzero((size < latest) & (level < len(starts) - 1))
        short = short[self._runs(pairs, starts, len(starts) - 1, short, size + 1)]
        for at in range(1, len(starts)):
            rows = short[(level[short] < at) & (starts.tokens[at, short] < starts.tokens[0, short])]
            if at < len(starts) - 1:
                rows = rows[self._runs(pairs, starts, at, rows, size + 1)]
            if rows.size:
                flags, some = starts.at(at, rows), pairs.take(rows)
                limit, why = self._largest_in_time(some, flags.tokens, of_class[rows])
                larger = self._largest_running(some, flags, limit)
                why = np.where(larger < limit, len(self.stops) - 2, why)
                more = larger > most[rows]
                most[rows] = np.maximum(most[rows], larger)
                found.append(_Found(rows[more], np.full(int(more.sum()), at), larger[more], why[more]))
        return _Found.together(found)

    def _largest_in_time(self, pairs: Physics, budget: IntArray, of_class: IntArray) -> tuple[IntArray, IntArray]:
        """[n] index of the largest batch that, when full, holds the class's TPOT; what stops the next one.

        `budget` [n] is the tokens of a step, which no engine's defaults derive from the batch.
        """
        n = len(of_class)
        lowest, beyond = np.zeros(n, np.int64), np.full(n, len(pairs.sizes))
        stop = np.full(n, len(self.stops) - 1)
        if not self.of_full_batch:
            return beyond - 1, stop
        while (open_ := np.flatnonzero(beyond - lowest > 1)).size:
            probe = between(lowest[open_], beyond[open_])
            looks, row = probe.shape[1], np.repeat(open_, probe.shape[1])
            replicas = pairs.take(row).replicas(budget[row], self.mix, pairs.sizes[probe.ravel()])
            full = self._excess(replicas.at(replicas.most), self.of_full_batch)
            excess = full[:, np.arange(len(row)), of_class[row]]
            late: BoolArray = excess.max(axis=0).reshape(-1, looks) > 1.0
            first = np.where(late.any(axis=1), late.argmax(axis=1), looks)
            up, down = np.flatnonzero(first > 0), np.flatnonzero(first < looks)
            lowest[open_[up]], beyond[open_[down]] = probe[up, first[up] - 1], probe[down, first[down]]
            stop[open_[down]] = self._tpot_stop(excess).reshape(-1, looks)[down, first[down]]
        return lowest, stop

    def _largest_running(self, pairs: Physics, flags: Flags, latest: IntArray) -> IntArray:
        """[n] index of the largest batch up to `latest` that starts and fills its places; the smallest always does.

        What a batch leaves room for, every smaller one holds too, for it takes less itself: so one look at the largest
        tells nearly all, and where it starts but does not fill, one at the next that may.
        """
        lowest, beyond = np.zeros_like(latest), latest + 1
        open_ = np.flatnonzero(latest > 0)
        probe = between(lowest[open_], beyond[open_])  # [open, looks]
        probe[:, -1] = latest[open_]
        while open_.size:
            looks, row, size = probe.shape[1], np.repeat(open_, probe.shape[1]), probe.ravel()
            at = self._evaluate(pairs.take(row), size, flags.take(row))
            room = np.searchsorted(pairs.sizes, at.held, side="right") - 1
            known = np.where(at.runs, size, np.where(at.fits, np.minimum(room, size - 1), 0))
            lowest[open_] = np.maximum(lowest[open_], known.reshape(-1, looks).max(axis=1))
            refused = np.where(at.runs, len(pairs.sizes), size)
            beyond[open_] = np.minimum(beyond[open_], refused.reshape(-1, looks).min(axis=1))
            still = beyond[open_] - lowest[open_] > 1
            open_, starts = open_[still], at.fits.reshape(-1, looks)[still, -1]
            probe = between(lowest[open_], beyond[open_])
            probe[:, 0] = np.where(starts, lowest[open_] + 1, probe[:, 0])
        return lowest

    def _tpot_stop(self, excess: FloatArray) -> IntArray:
        """[n] index into `stops` of the TPOT target most exceeded, from [T, n]."""
        if not self.of_full_batch:
            return np.zeros(excess.shape[1], np.int64)
        positions = np.array([self.targets.index(target) for target in self.of_full_batch])
        of_most: IntArray = positions[excess.argmax(axis=0)]
        return of_most

    def _late(self, replicas: OpenReplicas, load: IntArray, of_class: IntArray) -> IntArray:
        """[n] index into `stops` of the target that the class misses most at a load."""
        if not self.targets:
            return np.full(len(load), len(self.stops) - 1)
        excess = self._excess(replicas.at(decoding_of(load, replicas.most)))
        worst: IntArray = excess[:, np.arange(len(load)), of_class].argmax(axis=0)
        return worst

    def _excess(self, at: OpenLoop, targets: Sequence[Target] | None = None) -> FloatArray:
        """[T, n, R] latencies over their targets."""
        chosen = self.targets if targets is None else targets
        nothing = np.zeros((0, *at.met_spread_ms.shape))
        return np.stack([at.statistic(t.metric, t.statistic) / t.limit_ms for t in chosen]) if chosen else nothing

    def _evaluate(self, physics: Physics, size: IntArray, flags: Flags) -> _Evaluation:
        """At the batch sizes of these positions [n]."""
        known = physics.tabulates(flags)
        if known.any() and not known.all():
            parts = [np.flatnonzero(known), np.flatnonzero(~known)]
            found = [self._evaluate(physics.take(rows), size[rows], flags.take(rows)) for rows in parts]
            return _Evaluation.together(found).take(np.argsort(np.concatenate(parts)))
        memory = physics.memory(size, self.max_model_len, flags)
        capacity, _ = capacity_of(physics.configurations, memory, self.mix, physics.calibration)
        spare_gib = memory.kv_cache_gib + memory.activation_gib
        return _Evaluation(memory.fits, memory.reason, capacity.requests, physics.sizes[size], spare_gib)

    def _rejecting(self, physics: Physics, starts: Starts, level: IntArray, first: _Evaluation) -> BoolArray:
        """[n, R] the classes that an almost idle replica serves in time; counts why a configuration serves none."""
        for code, n in enumerate(np.bincount(first.reason[~first.fits]).tolist()):
            self.rejected[REASONS[code]] += n
        runs = first.runs
        self.rejected["memory"] += int((first.fits & ~first.runs).sum())
        tokens, one = starts.tokens[level, np.arange(len(level))], np.full(len(level), physics.sizes[0])
        replicas = physics.replicas(tokens, self.mix, one)
        excess = self._excess(replicas.at(decoding_of(np.zeros(len(runs), np.int64), replicas.most)))
        within = excess.max(axis=0, initial=0.0) <= 1.0
        late = runs & ~within.any(axis=1)
        for t, target in enumerate(self.targets):
            if n := int((late & (excess[:, :, 0].argmax(axis=0) == t)).sum()):
                self.rejected[target_key(target)] += n
            if late.any():
                self.nearest_ms[target_key(target)] = float(excess[t][runs].min() * target.limit_ms)
        served: BoolArray = within & runs[:, None]
        return served


def between(lowest: IntArray, beyond: IntArray) -> IntArray:
    """[n, looks] positions between two that are known [n], evenly spaced: more looks at once where rows are few."""
    apart = (beyond - lowest)[:, None]
    looks = int(np.clip(ROWS_AT_ONCE // max(len(apart), 1), 1, apart.max(initial=2) - 1))
    further: IntArray = np.clip(apart * np.arange(1, looks + 1) // (looks + 1), 1, apart - 1)
    return lowest[:, None] + further


def target_key(target: Target) -> str:
    """The key of a target in the scenario, such as `ttft_p95`."""
    return f"{target.metric}_{target.statistic}"


def token_mix(workload: Workload) -> TokenMix:
    """The workload's request classes as the performance model takes them."""
    classes = workload.request_classes
    return TokenMix(
        names=tuple(c.name for c in classes),
        share=np.array([c.share_fraction for c in classes], float),
        input_tokens=np.array([c.input_tokens for c in classes], float),
        output_tokens=np.array([c.output_tokens for c in classes], float),
        prefix_hit_fraction=workload.prefix_hit_fraction,
        input_sigma=np.array([c.input_sigma for c in classes]),
        output_sigma=np.array([c.output_sigma for c in classes]),
        arrival_cv=workload.arrival_cv,
    )


def served_context_tokens(workload: Workload, model_max_tokens: int) -> int:
    """max_model_len of a replica: the longest request, rounded up to whole blocks as far as the model goes.

    A request beyond the model's maximum stays beyond it, and the memory model rejects the replica for that.
    """
    blocks = -(-workload.max_context_tokens // CONTEXT_BLOCK_TOKENS)
    return min(blocks * CONTEXT_BLOCK_TOKENS, max(model_max_tokens, workload.max_context_tokens))
