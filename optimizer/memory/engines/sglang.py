"""SGLang: KV cache = free after weights − (1 − mem_fraction_static) × free before.

The fraction covers weights and KV cache; activations and graphs live in the rest, which is not measured but set aside
by a rule of thumb (python/sglang/srt/server_args.py, `_handle_gpu_memory_settings`; model_runner.py,
`profile_max_num_token`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from catalog.schema import Model
from catalog.schema.drafted import DraftedModel
from catalog.schema.engine import SglangBatch, SglangRules
from catalog.units import GIB, MEBI
from optimizer.memory.cache import cache_layout
from optimizer.memory.extras import has_draft_head
from optimizer.memory.job import Job, Request, Settings, Sized, by_card, context_gib
from optimizer.memory.reasons import INDEX
from optimizer.memory.stages import Stage, StageRows
from optimizer.memory.weights import weight_bytes
from optimizer.serving_config import FloatArray, IntArray

_MIB_PER_GIB = GIB / MEBI
_LEAST_CHUNK_TOKENS = 2048
"""That activations are reserved for."""
_SEVERAL_RANKS = 4
"""From which larger batches are captured."""
_CAPTURED_EVERY = ((32, 4), (256, 16), (512, 32), (4096, 128), (1_000_000, 256))
"""Steps between the numbers of tokens that prompts are captured at, each up to a number."""


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

    def beside_weights(self, job: Job) -> FloatArray:
        """[formats, 0] nothing that differs between them."""
        return np.zeros((len(job.weight_formats), 0))

    def size(self, job: Job, stages: StageRows, weights: FloatArray) -> Sized:
        """Memory of every rank that holds the stage of its row, with its weights in GiB."""
        rules, formula = self.rules, self.rules.reserve_formula
        context = context_gib(job, rules)
        free_before = job.visible_gib - context
        budget = free_before * job.utilization_fraction
        rest = budget - weights
        if rules.cache.state_pool_fraction is not None and any(c.kind == "state" for c in job.parts.classes):
            rest = rest * (1.0 - rules.cache.state_pool_fraction)
        chunk = np.maximum(job.max_num_batched_tokens, _LEAST_CHUNK_TOKENS)
        activation = chunk * formula.per_prefill_token_mib / _MIB_PER_GIB
        captured = 0.0 if job.enforce_eager else formula.per_graph_sequence_mib / _MIB_PER_GIB
        graphs_gib = self._graph_sequences(job.visible_gib, job.tp * job.dp) * captured
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

    def _graph_sequences(self, visible_gib: FloatArray, ranks: IntArray) -> FloatArray:
        """[n] largest batch that is captured; `ranks` a stage, over which the experts of dp are spread as well."""
        sequences = np.zeros(len(ranks))
        for row in reversed(self.rules.batch):
            largest = np.where(ranks < _SEVERAL_RANKS, row.graph_sequences, row.graph_sequences_tp4)
            sequences = np.where((visible_gib < row.below_gib) | (sequences == 0), largest, sequences)
        return sequences

    def _default_fraction(self, request: Request, tokens: IntArray) -> FloatArray:
        """[n] mem_fraction_static when no flag says otherwise, to three decimals as the engine rounds it."""
        rules, configurations = self.rules, request.configurations
        ranks = configurations.tp * configurations.dp
        if rules.fraction_by_tp:
            fraction = np.zeros(len(ranks))
            for from_tp, value in reversed(rules.fraction_by_tp):
                fraction = np.where(ranks >= from_tp, value, fraction)
            return fraction
        card_mib = by_card(configurations, [_card_mib(request, index) for index in range(len(configurations.gpus))])
        if rules.reserve_by_card:
            reserve = self._reserve_by_card_mib(request)
        else:
            reserve = self._reserve_by_formula_mib(request, tokens, card_mib)
        if isinstance(configurations.model, DraftedModel):
            reserve = reserve + rules.reserve_drafting_model_mib
        elif has_draft_head(configurations.model):
            reserve = reserve + rules.reserve_drafting_mib
        part = np.maximum(np.round((card_mib - reserve) / card_mib, 3), 0.0)
        left: FloatArray = part * self._vision_part(configurations.model)
        return left

    def _reserve_by_card_mib(self, request: Request) -> FloatArray:
        rules, configurations = self.rules, request.configurations
        rows = [
            next((row for row in rules.reserve_by_card if gib < row.below_gib), rules.reserve_by_card[-1])
            for gib in request.visible_gib
        ]
        per_gpu = by_card(configurations, [row.per_gpu_mib for row in rows])
        reserve: FloatArray = by_card(configurations, [row.constant_mib for row in rows]) + per_gpu * _gpus(request)
        return reserve + np.where(configurations.dp > 1, rules.reserve_dp_mib, 0.0)

    def _reserve_by_formula_mib(self, request: Request, tokens: IntArray, card_mib: FloatArray) -> FloatArray:
        formula, configurations = self.rules.reserve_formula, request.configurations
        dp = configurations.dp
        graphs = self._graph_sequences(card_mib / _MIB_PER_GIB, configurations.tp * dp)
        reserve = formula.constant_mib + np.maximum(tokens, _LEAST_CHUNK_TOKENS) * formula.per_prefill_token_mib
        reserve = reserve + graphs * formula.per_graph_sequence_mib + _gpus(request) * formula.per_gpu_mib
        more = np.where(graphs > formula.dp_large_from_sequences, formula.dp_large_graph_sequence_mib, 0.0)
        reserve = reserve + np.where(dp > 1, graphs * dp * (formula.dp_per_graph_sequence_mib + more), 0.0)
        if configurations.model.latent_attention is not None:
            reserve = reserve + formula.latent_prefill_graphs_mib
        else:
            reserve = reserve + _prefill_graphs(tokens) * formula.per_prefill_graph_mib
        large = card_mib > formula.least_from_gib * _MIB_PER_GIB
        return np.where(large, np.maximum(reserve, formula.least_mib), reserve)

    def _vision_part(self, model: Model) -> float:
        rules = self.rules.vision
        if rules is None or not model.vision_parameters:
            return 1.0
        part = 1.0 - rules.slope * (model.vision_parameters / rules.reference_parameters - 1.0)
        return rules.at_reference * min(max(part, rules.least_part), rules.most_part)


def _card_mib(request: Request, index: int) -> float:
    """What nvidia-smi says that a card has, as long as nothing else is asked for; else what an engine sees."""
    gpu, asked = request.configurations.gpus[index], request.visible_gib[index]
    driver = gpu.driver_memory_mib
    return driver if driver is not None and asked == gpu.visible_memory_gib else asked * _MIB_PER_GIB


def _gpus(request: Request) -> FloatArray:
    configurations = request.configurations
    return (configurations.tp * configurations.dp * configurations.pp).astype(np.float64)


def _prefill_graphs(tokens: IntArray) -> FloatArray:
    """[n] numbers of tokens up to a chunk that prompts are captured at."""
    sizes = np.zeros(len(tokens))
    before = 0
    for up_to, step in _CAPTURED_EVERY:
        sizes += np.maximum(np.minimum(tokens, up_to) - before, 0) // step
        before = up_to
    return sizes
