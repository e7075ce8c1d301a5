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

import numpy as np
from numpy.typing import NDArray

from catalog.schema import Calibration
from optimizer.candidates.spec import ReplicaSpec
from optimizer.memory import REASONS, replica_memory
from optimizer.performance import LOAD_STEPS, RatedReplicas, TokenMix, capacity_of, largest_load, open_replicas
from optimizer.performance.capacity import decoding_of
from optimizer.performance.open_loop import OpenLoop, OpenReplicas
from optimizer.scenario import Target, Workload
from optimizer.serving_config import BoolArray, Configurations, FloatArray, IntArray, Links, StringArray

CONTEXT_BLOCK_TOKENS = 16
"""max_model_len is rounded up to whole KV blocks of this size (vLLM's default block)."""


@dataclass(frozen=True, slots=True)
class Rated:
    """Configurations at their largest batch, with what each class gets."""

    configurations: Configurations  # [n]
    max_model_len: int
    max_batch_size: IntArray  # [n]
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
        return np.char.add(self.choice, np.array(degrees, str))

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
            links=c.links_of_cards[c.gpu[row]],
            limit=self.limit[row],
            serves=() if served.all() else tuple(name for name, s in zip(self.classes, served, strict=True) if s),
        )


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """Configurations at given batches."""

    fits: BoolArray  # [n]
    reason: NDArray[np.int8]  # [n] index into REASONS, 0 where it fits
    fills: BoolArray  # [n] the KV cache holds the whole batch
    replicas: OpenReplicas

    @property
    def runs(self) -> BoolArray:
        """[n] the replica starts and its batch fills."""
        return self.fits & self.fills


class BatchSearch:
    """Finds batches and rates for one workload, counting what it rejects and why."""

    def __init__(self, workload: Workload, max_model_len: int, calibration: Calibration) -> None:
        self.max_model_len, self.calibration = max_model_len, calibration
        self.mix, self.targets = token_mix(workload), workload.planned_targets
        self.of_full_batch = [target for target in self.targets if target.metric == "tpot"]
        self.stops = (*map(target_key, self.targets), "memory", "max_batch_size")
        self.rejected: Counter[str] = Counter()
        self.nearest_ms: dict[str, float] = {}

    def run(self, configurations: Configurations, sizes: IntArray) -> Rated:
        """Every configuration that holds the targets of some class when almost idle, at the best batch for each."""
        if not len(configurations):
            return self._none(configurations)
        first = self._evaluate(configurations, np.full(len(configurations), sizes[0]))
        row, of_class = np.nonzero(self._rejecting(first))
        if not len(row):
            return self._none(configurations)
        lowest, stop = self._batches(configurations, row, of_class, sizes)
        batch = sizes[lowest]
        replicas = self._evaluate(configurations.take(row), batch).replicas
        load = largest_load(replicas, self.targets, of_class[:, None] == np.arange(len(self.mix.names)))
        rated = RatedReplicas.at(replicas, load)
        served_rps = np.where(self._excess(rated.open_loop).max(axis=0, initial=0.0) <= 1.0, rated.rate_rps, 0.0)
        stop = np.where(rated.nearly_full, stop, self._late(replicas, load + 1, of_class))
        # Classes that end up with the same batch and load share a row.
        _, kept = np.unique((row * len(sizes) + lowest) * (LOAD_STEPS + 1) + load, return_index=True)
        limit = tuple(self.stops[s] for s in stop[kept].tolist())
        return Rated(
            configurations.take(row[kept]), self.max_model_len, batch[kept], served_rps[kept], limit, self.mix.names
        )

    def _none(self, configurations: Configurations) -> Rated:
        nothing = np.zeros(0, np.int64)
        return Rated(
            configurations.take(nothing),
            self.max_model_len,
            nothing,
            np.zeros((0, len(self.mix.names))),
            (),
            self.mix.names,
        )

    def _batches(
        self, configurations: Configurations, row: IntArray, of_class: IntArray, sizes: IntArray
    ) -> tuple[IntArray, IntArray]:
        """Index of the largest batch that runs and, when full, holds the class's TPOT; what stops the next one."""
        lowest, beyond = np.zeros(len(row), np.int64), np.full(len(row), len(sizes))
        stop = np.full(len(row), len(self.stops) - 1)
        while (open_ := np.flatnonzero(beyond - lowest > 1)).size:
            middle = (lowest[open_] + beyond[open_]) // 2
            at = self._evaluate(configurations.take(row[open_]), sizes[middle])
            full = self._excess(at.replicas.at(at.replicas.places), self.of_full_batch)
            excess = full[:, np.arange(len(open_)), of_class[open_]]
            in_time = excess.max(axis=0, initial=0.0) <= 1.0
            held = at.runs & in_time
            up, down = open_[held], open_[~held]
            lowest[up], beyond[down] = middle[held], middle[~held]
            stop[down] = np.where(at.runs & ~in_time, self._tpot_stop(excess), len(self.stops) - 2)[~held]
        return lowest, stop

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
        excess = self._excess(replicas.at(decoding_of(load, replicas.places)))
        worst: IntArray = excess[:, np.arange(len(load)), of_class].argmax(axis=0)
        return worst

    def _excess(self, at: OpenLoop, targets: Sequence[Target] | None = None) -> FloatArray:
        """[T, n, R] latencies over their targets."""
        chosen = self.targets if targets is None else targets
        nothing = np.zeros((0, *at.met_spread_ms.shape))
        return np.stack([at.statistic(t.metric, t.statistic) / t.limit_ms for t in chosen]) if chosen else nothing

    def _evaluate(self, configurations: Configurations, batch: IntArray) -> _Evaluation:
        memory = replica_memory(configurations, max_model_len=self.max_model_len, max_num_seqs=batch, with_margin=True)
        places = batch.astype(np.float64)
        capacity, _ = capacity_of(configurations, memory, self.mix, self.calibration)
        replicas = open_replicas(configurations, memory, self.mix, places, self.calibration)
        return _Evaluation(memory.fits, memory.reason, capacity.requests >= places, replicas)

    def _rejecting(self, first: _Evaluation) -> BoolArray:
        """[n, R] the classes that an almost idle replica serves in time; counts why a configuration serves none."""
        for code, n in enumerate(np.bincount(first.reason[~first.fits]).tolist()):
            self.rejected[REASONS[code]] += n
        runs = first.runs
        self.rejected["memory"] += int((first.fits & ~first.fills).sum())
        excess = self._excess(first.replicas.at(decoding_of(np.zeros(len(runs), np.int64), first.replicas.places)))
        within = excess.max(axis=0, initial=0.0) <= 1.0
        late = runs & ~within.any(axis=1)
        for t, target in enumerate(self.targets):
            if n := int((late & (excess[:, :, 0].argmax(axis=0) == t)).sum()):
                self.rejected[target_key(target)] += n
            if late.any():
                self.nearest_ms[target_key(target)] = float(excess[t][runs].min() * target.limit_ms)
        served: BoolArray = within & runs[:, None]
        return served


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
    )


def served_context_tokens(workload: Workload, model_max_tokens: int) -> int:
    """max_model_len of a replica: the longest request, rounded up to whole blocks as far as the model goes.

    A request beyond the model's maximum stays beyond it, and the memory model rejects the replica for that.
    """
    blocks = -(-workload.max_context_tokens // CONTEXT_BLOCK_TOKENS)
    return min(blocks * CONTEXT_BLOCK_TOKENS, max(model_max_tokens, workload.max_context_tokens))
