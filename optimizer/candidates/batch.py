"""The largest batch of each configuration that fits memory and holds every latency target.

Throughput grows with the batch and so does every latency, so the largest admissible batch is the best one, and
bisection over the batch sizes finds it for all configurations at once. A class with a long prompt may miss its target
where a short one holds it; the search runs for every class on its own, and a configuration is kept at each batch found.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from catalog.schema import Calibration
from optimizer.candidates.spec import ReplicaSpec
from optimizer.memory import REASONS, replica_memory
from optimizer.performance import TokenMix, replica_performance
from optimizer.scenario import Target, Workload
from optimizer.serving_config import BoolArray, Configurations, FloatArray, IntArray, StringArray

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
            limit=self.limit[row],
        )


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """Configurations at given batches."""

    fits: BoolArray  # [n]
    why_not: tuple[str, ...]  # [n] reason of the memory model, "" where it fits
    fills: BoolArray  # [n] the KV cache holds the whole batch
    within: BoolArray  # [n, R] every latency target is held
    worst: IntArray  # [n, R] index of the target most exceeded
    latency_ms: FloatArray  # [T, n, R]
    rate_rps: FloatArray  # [n, R]


class BatchSearch:
    """Finds the largest admissible batches for one workload, counting what it rejects and why."""

    def __init__(self, workload: Workload, max_model_len: int, calibration: Calibration) -> None:
        self.workload, self.max_model_len, self.calibration = workload, max_model_len, calibration
        self.mix = token_mix(workload)
        self.rejected: Counter[str] = Counter()
        self.nearest_ms: dict[str, float] = {}

    def run(self, configurations: Configurations, sizes: IntArray) -> Rated:
        """Every configuration that is admissible at the smallest batch, at its largest admissible ones."""
        if not len(configurations):
            return self._none(configurations)
        first = self._evaluate(configurations, np.full(len(configurations), sizes[0]))
        self._count_rejections(first)
        row, of_class = np.nonzero(first.within & (first.fits & first.fills)[:, None])
        if not len(row):
            return self._none(configurations)
        lowest = np.zeros(len(row), np.int64)
        beyond = np.full(len(row), len(sizes))
        while (open_ := beyond - lowest > 1).any():
            middle = (lowest[open_] + beyond[open_]) // 2
            admissible = self._admissible(configurations, row[open_], of_class[open_], sizes[middle])
            lowest[open_] = np.where(admissible, middle, lowest[open_])
            beyond[open_] = np.where(admissible, beyond[open_], middle)
        found = np.unique(np.stack([row, lowest]), axis=1)
        chosen, batch = configurations.take(found[0]), sizes[found[1]]
        at = self._evaluate(chosen, batch)
        is_last = found[1] + 1 == len(sizes)
        next_up = self._evaluate(chosen, sizes[np.minimum(found[1] + 1, len(sizes) - 1)])
        return Rated(
            chosen, self.max_model_len, batch, np.where(at.within, at.rate_rps, 0.0), self._limits(next_up, is_last)
        )

    def _none(self, configurations: Configurations) -> Rated:
        nothing = np.zeros(0, np.int64)
        return Rated(configurations.take(nothing), self.max_model_len, nothing, np.zeros((0, len(self.mix.names))), ())

    def _admissible(
        self, configurations: Configurations, row: IntArray, of_class: IntArray, batch: IntArray
    ) -> BoolArray:
        at = self._evaluate(configurations.take(row), batch)
        return at.fits & at.fills & at.within[np.arange(len(row)), of_class]

    def _evaluate(self, configurations: Configurations, batch: IntArray) -> _Evaluation:
        memory = replica_memory(configurations, max_model_len=self.max_model_len, max_num_seqs=batch)
        performance = replica_performance(configurations, memory, self.mix, batch.astype(float), self.calibration)
        targets = self.workload.targets
        shape = performance.rate_rps.shape
        latency = np.stack([performance.statistic(t.metric, t.statistic) for t in targets] or [np.zeros(shape)])
        limits = np.array([t.limit_ms for t in targets] or [np.inf])
        excess = latency / limits[:, None, None]
        return _Evaluation(
            fits=memory.fits,
            why_not=tuple(REASONS[code] for code in memory.reason.tolist()),
            fills=performance.batch >= batch,
            within=(excess <= 1.0).all(axis=0),
            worst=excess.argmax(axis=0),
            latency_ms=latency,
            rate_rps=performance.rate_rps,
        )

    def _count_rejections(self, first: _Evaluation) -> None:
        """Why configurations fail even at the smallest batch; a latency counts when no class can be served."""
        self.rejected.update(why for why, fits in zip(first.why_not, first.fits, strict=True) if not fits)
        self.rejected["memory"] += int((first.fits & ~first.fills).sum())
        runs = first.fits & first.fills
        late = runs & ~first.within.any(axis=1)
        for t, target in enumerate(self.workload.targets):
            if n := int((late & (first.worst[:, 0] == t)).sum()):
                self.rejected[target_key(target)] += n
            if late.any():
                self.nearest_ms[target_key(target)] = float(first.latency_ms[t][runs].min())

    def _limits(self, next_up: _Evaluation, is_last: BoolArray) -> tuple[str, ...]:
        names = [target_key(target) for target in self.workload.targets]
        return tuple(
            "max_batch_size" if last else names[worst] if runs and names and not within else "memory"
            for last, runs, within, worst in zip(
                is_last.tolist(),
                (next_up.fits & next_up.fills).tolist(),
                np.asarray(next_up.within.all(axis=1)).tolist(),
                next_up.worst[:, 0].tolist(),
                strict=True,
            )
        )


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
