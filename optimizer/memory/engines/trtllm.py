"""TensorRT-LLM: KV cache = fraction × what is free after the engine, its activations and its buffers.

https://nvidia.github.io/TensorRT-LLM/reference/memory.html
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from catalog.schema.engine import TrtllmRules
from catalog.units import GIB
from optimizer.memory.cache import cache_layout
from optimizer.memory.job import Job, Request, Settings, Sized, context_gib
from optimizer.memory.reasons import INDEX
from optimizer.memory.stages import Stage, StageRows
from optimizer.memory.weights import padded_vocabulary, weight_bytes
from optimizer.serving_config import FloatArray


@dataclass(frozen=True, slots=True)
class Trtllm:
    """TensorRT-LLM's arithmetic under the rules of one version."""

    rules: TrtllmRules

    @property
    def pool_parts(self) -> tuple[str, ...]:
        """All but graphs, of which none are inside."""
        return ("weights", "activation", "non_torch")

    @property
    def takes_whole_contexts(self) -> bool:
        """Blocks are handed out as sequences grow."""
        return False

    def settings(self, request: Request) -> Settings:
        """The same on every card."""
        rules, n = self.rules, len(request.configurations)
        sequences, tokens, fraction = request.max_num_seqs, request.max_num_batched_tokens, request.utilization_fraction
        return Settings(
            np.full(n, rules.max_num_seqs, np.int64) if sequences is None else sequences,
            np.full(n, rules.max_num_batched_tokens, np.int64) if tokens is None else tokens,
            np.broadcast_to(rules.free_gpu_memory_fraction if fraction is None else fraction, (n,)),
        )

    def most_fraction(self, job: Job) -> FloatArray:
        """[n] the default: too few start-ups are known to ask for more."""
        return job.utilization_fraction

    def weights_gib(self, job: Job, stage: Stage) -> FloatArray:
        """[n] on every rank that holds this stage, whatever the flags."""
        return weight_bytes(job, stage, self.rules, separate_lm_head=self.rules.separate_lm_head) / GIB

    def beside_weights(self, job: Job) -> FloatArray:
        """[formats, 0] nothing that differs between them."""
        return np.zeros((len(job.weight_formats), 0))

    def size(self, job: Job, stages: StageRows, weights: FloatArray) -> Sized:
        """Memory of every rank that holds the stage of its row, with its weights in GiB."""
        rules = self.rules
        context = context_gib(job, rules)
        layer = (
            job.max_num_batched_tokens
            * 2.0
            * (rules.layer_hidden_copies * job.model.hidden_size + 3.0 * job.parts.dense_width / job.tp)
        )
        logits = np.where(stages.last, job.max_num_seqs * padded_vocabulary(job.model, rules) * 4.0, 0.0)
        activation = np.maximum(layer, rules.sampler_copies * logits) / GIB + rules.constant_gib
        free = job.visible_gib - context - weights - activation
        reason = np.zeros(len(job.tp), np.int8)
        reason[weights + context > job.visible_gib] = INDEX["weights"]
        return Sized(
            budget_gib=job.visible_gib - context,
            weights_gib=weights,
            activation_gib=activation,
            non_torch_gib=context,
            cuda_graph_gib=np.zeros(len(job.tp)),
            kv_cache_gib=free * np.where(free > 0, job.utilization_fraction, 1.0),
            layout=cache_layout(job, stages, rules.cache),
            reason=reason,
        )
