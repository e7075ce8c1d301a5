"""llama.cpp: every buffer has its exact size; the cache is as large as asked for, and fits beside them or does not.

Sizes as printed by `load_tensors`, `llama_kv_cache` and `sched_reserve` (https://github.com/ggml-org/llama.cpp).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from catalog.schema.engine import LlamacppRules
from catalog.units import GIB
from optimizer.memory.cache import cache_layout
from optimizer.memory.job import Job, Request, Settings, Sized, context_gib
from optimizer.memory.reasons import INDEX
from optimizer.memory.stages import Stage, StageRows
from optimizer.memory.weights import weight_bytes
from optimizer.serving_config import FloatArray

_F32_BYTES = 4.0


@dataclass(frozen=True, slots=True)
class Llamacpp:
    """llama.cpp's arithmetic under the rules of one version."""

    rules: LlamacppRules

    @property
    def pool_parts(self) -> tuple[str, ...]:
        """All but graphs, of which none are inside."""
        return ("weights", "activation", "non_torch")

    @property
    def takes_whole_contexts(self) -> bool:
        """`--ctx-size` is shared by the slots: so many times max_model_len."""
        return True

    def settings(self, request: Request) -> Settings:
        """`max_num_batched_tokens` is the micro-batch; there is no fraction, only a margin left free."""
        rules, n = self.rules, len(request.configurations)
        sequences, tokens, fraction = request.max_num_seqs, request.max_num_batched_tokens, request.utilization_fraction
        return Settings(
            np.full(n, rules.max_num_seqs, np.int64) if sequences is None else sequences,
            np.full(n, rules.ubatch_tokens, np.int64) if tokens is None else tokens,
            np.broadcast_to(1.0 if fraction is None else fraction, (n,)),
        )

    def most_fraction(self, job: Job) -> FloatArray:
        """[n] the default: the cache is as large as asked for."""
        return job.utilization_fraction

    def weights_gib(self, job: Job, stage: Stage) -> FloatArray:
        """[n] on every rank that holds this stage, whatever the flags."""
        return weight_bytes(job, stage, self.rules, embedding_on_host=self.rules.embedding_on_host) / GIB

    def beside_weights(self, job: Job) -> FloatArray:
        """[formats, 0] nothing that differs between them."""
        return np.zeros((len(job.weight_formats), 0))

    def size(self, job: Job, stages: StageRows, weights: FloatArray) -> Sized:
        """Memory of every card that holds the stage of its row, with its weights in GiB."""
        rules, ubatch = self.rules, job.max_num_batched_tokens
        context = context_gib(job, rules)
        budget = job.visible_gib * job.utilization_fraction - rules.free_margin_gib
        logits = np.where(stages.last, float(job.model.vocab_size + job.model.hidden_size), 0.0)
        layer = rules.compute_hidden_copies * job.model.hidden_size + 2.0 * job.parts.dense_width
        compute = ubatch * _F32_BYTES * np.maximum(logits, layer) / GIB
        reason = np.zeros(len(job.tp), np.int8)
        reason[weights + context > job.visible_gib] = INDEX["weights"]
        return Sized(
            budget_gib=budget,
            weights_gib=weights,
            activation_gib=compute,
            non_torch_gib=context,
            cuda_graph_gib=np.zeros(len(job.tp)),
            kv_cache_gib=budget - weights - compute - context,
            layout=cache_layout(job, stages, rules.cache),
            reason=reason,
        )
