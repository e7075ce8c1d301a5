"""The largest batch of each configuration that fits memory and holds every latency target.

Throughput grows with the batch and so does every latency, so the largest admissible batch is the best one, and
bisection over the batch sizes finds it for all configurations at once. A class with a long prompt may miss its target
where a short one holds it; the search runs for every class on its own, and a configuration is kept at each batch found.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalog.schema import Calibration
from optimizer.candidates.spec import ReplicaSpec
from optimizer.memory import REASONS, replica_memory
from optimizer.performance import TokenMix, replica_performance
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
    limit: tuple[str, ...]  # [n] what stops a larger batch

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

    def spec(self, row: int) -> ReplicaSpec:
        """One row by itself."""
        c = self.configurations
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
        )


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """Configurations at given batches."""

    fits: BoolArray  # [n]
    reason: NDArray[np.int8]  # [n] index into REASONS, 0 where it fits
    fills: BoolArray  # [n] the KV cache holds the whole batch
    within: BoolArray  # [n, R] every latency target is held
    worst: IntArray  # [n, R] index of the target most exceeded
    latency_ms: FloatArray  # [T, n, R]
    rate_rps: FloatArray  # [n, R]

    @property
    def runs(self) -> BoolArray:
        """[n] the replica starts and its batch fills."""
        return self.fits & self.fills

    @property
    def admissible(self) -> BoolArray:
        """[n, R] the class can be served at this batch."""
        return self.within & self.runs[:, None]

    @property
    def served_rps(self) -> FloatArray:
        """[n, R] 0 where the class misses a target."""
        return np.where(self.within, self.rate_rps, 0.0)


class BatchSearch:
    """Finds the largest admissible batches for one workload, counting what it rejects and why."""

    def __init__(self, workload: Workload, max_model_len: int, calibration: Calibration) -> None:
        self.workload, self.max_model_len, self.calibration = workload, max_model_len, calibration
        self.mix = token_mix(workload)
        self.stops = (*map(target_key, workload.targets), "memory", "max_batch_size")
        self.rejected: Counter[str] = Counter()
        self.nearest_ms: dict[str, float] = {}

    def run(self, configurations: Configurations, sizes: IntArray) -> Rated:
        """Every configuration that is admissible at the smallest batch, at its largest admissible ones."""
        if not len(configurations):
            return self._none(configurations)
        first = self._evaluate(configurations, np.full(len(configurations), sizes[0]))
        self._count_rejections(first)
        row, of_class = np.nonzero(first.admissible)
        if not len(row):
            return self._none(configurations)
        lowest, beyond = np.zeros(len(row), np.int64), np.full(len(row), len(sizes))
        rate_rps, stop = first.served_rps[row], np.full(len(row), len(self.stops) - 1)
        while (open_ := np.flatnonzero(beyond - lowest > 1)).size:
            middle = (lowest[open_] + beyond[open_]) // 2
            at = self._evaluate(configurations.take(row[open_]), sizes[middle])
            held = at.admissible[np.arange(len(open_)), of_class[open_]]
            up, down = open_[held], open_[~held]
            lowest[up], rate_rps[up] = middle[held], at.served_rps[held]
            beyond[down], stop[down] = middle[~held], self._stop(at)[~held]
        # Classes that stop at the same batch share a row.
        _, kept = np.unique(row * len(sizes) + lowest, return_index=True)
        limit = tuple(self.stops[s] for s in stop[kept].tolist())
        return Rated(configurations.take(row[kept]), self.max_model_len, sizes[lowest[kept]], rate_rps[kept], limit)

    def _none(self, configurations: Configurations) -> Rated:
        nothing = np.zeros(0, np.int64)
        return Rated(configurations.take(nothing), self.max_model_len, nothing, np.zeros((0, len(self.mix.names))), ())

    def _evaluate(self, configurations: Configurations, batch: IntArray) -> _Evaluation:
        memory = replica_memory(configurations, max_model_len=self.max_model_len, max_num_seqs=batch, with_margin=True)
        performance = replica_performance(configurations, memory, self.mix, batch.astype(float), self.calibration)
        targets = self.workload.targets
        shape = performance.rate_rps.shape
        latency = np.stack([performance.statistic(t.metric, t.statistic) for t in targets] or [np.zeros(shape)])
        limits = np.array([t.limit_ms for t in targets] or [np.inf])
        excess = latency / limits[:, None, None]
        return _Evaluation(
            fits=memory.fits,
            reason=memory.reason,
            fills=performance.batch >= batch,
            within=(excess <= 1.0).all(axis=0),
            worst=excess.argmax(axis=0),
            latency_ms=latency,
            rate_rps=performance.rate_rps,
        )

    def _count_rejections(self, first: _Evaluation) -> None:
        """Why configurations fail even at the smallest batch; a latency counts when no class can be served."""
        for code, n in enumerate(np.bincount(first.reason[~first.fits]).tolist()):
            self.rejected[REASONS[code]] += n
        self.rejected["memory"] += int((first.fits & ~first.fills).sum())
        runs = first.runs
        late = runs & ~first.within.any(axis=1)
        for t, target in enumerate(self.workload.targets):
            if n := int((late & (first.worst[:, 0] == t)).sum()):
                self.rejected[target_key(target)] += n
            if late.any():
                self.nearest_ms[target_key(target)] = float(first.latency_ms[t][runs].min())

    def _stop(self, at: _Evaluation) -> IntArray:
        """[n] what stops the first class at a batch, as an index into `stops`."""
        late = at.runs & ~at.within.all(axis=1)
        return np.where(late, at.worst[:, 0], len(self.stops) - 2)


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
    )


def served_context_tokens(workload: Workload, model_max_tokens: int) -> int:
    """max_model_len of a replica: the longest request, rounded up to whole blocks as far as the model goes.

    A request beyond the model's maximum stays beyond it, and the memory model rejects the replica for that.
    """
    blocks = -(-workload.max_context_tokens // CONTEXT_BLOCK_TOKENS)
    return min(blocks * CONTEXT_BLOCK_TOKENS, max(model_max_tokens, workload.max_context_tokens))
