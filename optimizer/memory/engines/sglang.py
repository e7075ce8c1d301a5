"""SGLang: KV cache = free after weights − (1 − mem_fraction_static) × free before.

The fraction covers weights and KV cache; activations and graphs live in the rest, which is not measured but set aside
by a rule of thumb (python/sglang/srt/server_args.py, `_handle_gpu_memory_settings`; model_runner.py,
`profile_max_num_token`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from catalog.schema.engine import SglangBatch, SglangRules
from catalog.units import GIB, MEBI
from optimizer.memory.cache import cache_layout
from optimizer.memory.job import Job, Request, Settings, Sized, by_card, context_gib
from optimizer.memory.reasons import INDEX
from optimizer.memory.stages import Stage, StageRows
from optimizer.memory.weights import weight_bytes
from optimizer.serving_config import FloatArray, IntArray

_MIB_PER_GIB = GIB / MEBI


@dataclass(frozen=True, slots=True)
class Sglang:
    """SGLang's arithmetic under the rules of one version."""

    rules: SglangRules

    @property
    def pool_parts(self) -> tuple[str, ...]:
        """Activations and graphs live in what the fraction leaves."""
        return ("weights", "non_torch")

    @property
    def takes_whole_contexts(self) -> bool:
        """Blocks are handed out as sequences grow."""
        return False

    def settings(self, request: Request) -> Settings:
        """Chunk and graphs follow the card; the fraction follows from them unless given."""
        configurations, n = request.configurations, len(request.configurations)
        tokens, sequences = request.max_num_batched_tokens, request.max_num_seqs
        if tokens is None:
            rows = [self._batch(visible_gib) for visible_gib in request.visible_gib]
            tokens = by_card(configurations, [row.chunked_prefill_tokens for row in rows])
        if sequences is None:
            sequences = np.full(n, self.rules.max_num_seqs, np.int64)
        if request.utilization_fraction is not None:
            return Settings(sequences, tokens, np.broadcast_to(request.utilization_fraction, (n,)))
        return Settings(sequences, tokens, self._default_fraction(request, tokens))

    def most_fraction(self, job: Job) -> FloatArray:
        """[n] the default: too few start-ups are known to ask for more."""
        return job.utilization_fraction

    def weights_gib(self, job: Job, stage: Stage) -> FloatArray:
        """[n] on every rank that holds this stage, whatever the flags."""
        return weight_bytes(job, stage, self.rules) / GIB + self.rules.load_overhead_gib

    def size(self, job: Job, stages: StageRows, weights: FloatArray) -> Sized:
        """Memory of every rank that holds the stage of its row, with its weights in GiB."""
        rules, formula = self.rules, self.rules.reserve_formula
        context = context_gib(job, rules)
        free_before = job.visible_gib - context
        budget = free_before * job.utilization_fraction
        rest = budget - weights
        if rules.cache.state_pool_fraction is not None and any(c.kind == "state" for c in job.parts.classes):
            rest = rest * (1.0 - rules.cache.state_pool_fraction)
        activation = np.maximum(job.max_num_batched_tokens, 2048) * formula.per_prefill_token_mib / _MIB_PER_GIB
        captured = 0.0 if job.enforce_eager else formula.per_graph_sequence_mib / _MIB_PER_GIB
        graphs_gib = self._graph_sequences(job.visible_gib, job.tp) * captured
        reason = np.zeros(len(job.tp), np.int8)
        reason[weights > free_before] = INDEX["weights"]
        return Sized(
            budget_gib=budget,
            weights_gib=weights,
            activation_gib=activation,
            non_torch_gib=context,
            cuda_graph_gib=graphs_gib,
            kv_cache_gib=rest,
            layout=cache_layout(job, stages, rules.cache),
            reason=reason,
        )

    def _batch(self, visible_gib: float) -> SglangBatch:
        return next((row for row in self.rules.batch if visible_gib < row.below_gib), self.rules.batch[-1])

    def _graph_sequences(self, visible_gib: FloatArray, tp: IntArray) -> FloatArray:
        """[n] largest batch that is captured."""
        sequences = np.zeros(len(tp))
        for row in reversed(self.rules.batch):
            largest = np.where(tp < 4, row.graph_sequences, row.graph_sequences_tp4)
            sequences = np.where((visible_gib < row.below_gib) | (sequences == 0), largest, sequences)
        return sequences

    def _default_fraction(self, request: Request, tokens: IntArray) -> FloatArray:
        """[n] mem_fraction_static when no flag says otherwise, to three decimals as the engine rounds it."""
        rules, configurations = self.rules, request.configurations
        tp, dp, visible_gib = configurations.tp, configurations.dp, np.array(request.visible_gib)
        if rules.fraction_by_tp:
            fraction = np.zeros(len(tp))
            for from_tp, value in reversed(rules.fraction_by_tp):
                fraction = np.where(tp >= from_tp, value, fraction)
            return fraction
        visible_mib = (visible_gib * _MIB_PER_GIB)[configurations.gpu]
        gpus = (tp * configurations.pp).astype(np.float64)
        if rules.reserve_by_card:
            reserves = [
                next((r for r in rules.reserve_by_card if gib < r.below_gib), rules.reserve_by_card[-1])
                for gib in visible_gib
            ]
            constant = by_card(configurations, [row.constant_mib for row in reserves])
            reserve = constant + by_card(configurations, [row.per_gpu_mib for row in reserves]) * gpus
        else:
            formula = rules.reserve_formula
            graphs = self._graph_sequences(visible_mib / _MIB_PER_GIB, tp)
            reserve = formula.constant_mib + np.maximum(tokens, 2048) * formula.per_prefill_token_mib
            reserve = reserve + graphs * formula.per_graph_sequence_mib + gpus * formula.per_gpu_mib
            reserve = reserve + np.where(dp > 1, graphs * dp * formula.dp_per_graph_sequence_mib, 0.0)
            large = visible_mib > formula.least_from_gib * _MIB_PER_GIB
            reserve = np.where(large, np.maximum(reserve, formula.least_mib), reserve)
        return np.round((visible_mib - reserve) / visible_mib, 3)
