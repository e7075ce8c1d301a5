"""vLLM: visible memory × utilization = weights + activation + non-torch (+ graphs) + KV cache.

Start-up loads the weights, profiles the worst step with dummy requests, gives the KV cache the rest of the budget, and
only then captures graphs and warms the sampler up (vllm/v1/worker/gpu_worker.py, `determine_available_memory`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from catalog.schema import Model, WeightFormat
from catalog.schema.engine import VllmRules
from catalog.units import GIB
from optimizer.memory.cache import cache_layout
from optimizer.memory.job import CacheLayout, Job, Request, Settings, Sized, by_card, context_gib, first_row_for
from optimizer.memory.reasons import INDEX
from optimizer.memory.stages import Stage, StageRows, stages_of
from optimizer.memory.weights import padded_vocabulary, weight_bytes
from optimizer.serving_config import BoolArray, FloatArray, IntArray

_LOGIT_BYTES = 4.0
_HIDDEN_BYTES = 2
_KEY_SCALE_BYTES = 4.0
_V0_CHUNK_TOKENS = 2048
"""Least max_num_batched_tokens of the V0 scheduler, and its chunk beyond the unchunked context."""
_WARM_UP_SEQUENCES = 1024.0
"""At which `start_up_extra_gib` is stated."""


@dataclass(frozen=True, slots=True)
class Vllm:
    """vLLM's arithmetic under the rules of one version."""

    rules: VllmRules

    @property
    def pool_parts(self) -> tuple[str, ...]:
        """Graphs count once they are inside the budget."""
        measured = ("weights", "activation", "non_torch")
        return (*measured, "cuda_graph") if self.rules.graphs.inside_budget else measured

    @property
    def takes_whole_contexts(self) -> bool:
        """Blocks are handed out as sequences grow."""
        return False

    def settings(self, request: Request) -> Settings:
        """Defaults follow the card; V0 takes prompts whole up to a context, so that its step is the context."""
        rules, configurations, n = self.rules, request.configurations, len(request.configurations)
        cards = zip(configurations.gpus, request.visible_gib, strict=True)
        rows = [first_row_for(gpu, visible_gib, rules.batch) for gpu, visible_gib in cards]
        tokens, sequences = request.max_num_batched_tokens, request.max_num_seqs
        if tokens is None and rules.unchunked_up_to_tokens:
            whole = request.max_model_len <= rules.unchunked_up_to_tokens
            tokens = np.maximum(np.where(whole, request.max_model_len, 0), _V0_CHUNK_TOKENS)
        elif tokens is None:
            tokens = by_card(configurations, [row.max_num_batched_tokens for row in rows])
            tokens = np.maximum(tokens, rules.least_step_by_architecture.get(configurations.model.architecture, 0))
            if rules.step_within_requests and sequences is not None:
                tokens = np.minimum(tokens, sequences * request.max_model_len)
        if sequences is None:
            sequences = np.minimum(by_card(configurations, [row.max_num_seqs for row in rows]), tokens)
        asked = request.utilization_fraction
        fraction = np.broadcast_to(rules.gpu_memory_utilization if asked is None else asked, (n,))
        return Settings(sequences, tokens, fraction)

    def most_fraction(self, job: Job) -> FloatArray:
        """[n] in whole hundredths what leaves start-up its own and a reserve; the default, where that starts with less.

        Graphs outside the budget count as if one rank held all layers.
        """
        rules, graphs = self.rules, self._graphs_gib(job, stages_of(job.model, 1)[0].n_layers)
        kept = context_gib(job, rules) + self._taken_outside_gib(job, graphs) + rules.reserve_gib
        free = np.minimum(1.0 - kept / job.visible_gib, rules.highest_utilization)
        safe = np.floor(np.maximum(free, 0.01) * 100.0 + 1e-9) / 100.0
        overdrawn, runs_out = self._refused(job, graphs)
        most: FloatArray = np.where(overdrawn | runs_out, safe, np.maximum(safe, job.utilization_fraction))
        return most

    def weights_gib(self, job: Job, stage: Stage) -> FloatArray:
        """[n] on every rank that holds this stage, whatever the flags."""
        loaded = weight_bytes(job, stage, self.rules) / GIB
        of_kernels = np.where(job.rocm, self.rules.load_rocm_gib, 0.0)
        return loaded + (of_kernels if job.parts.rope_values else 0.0)

    def beside_weights(self, job: Job) -> FloatArray:
        """[formats, 2] whether expert kernels have a workspace; GiB that start-up takes, at the most sequences."""
        return np.array([
            (self._has_workspace(job.model, one), self._start_up_gib(one)) for one in job.weight_formats
        ], np.float64)  # fmt: skip

    def size(self, job: Job, stages: StageRows, weights: FloatArray) -> Sized:
        """Memory of every rank that holds the stage of its row, with its weights in GiB."""
        rules = self.rules
        budget = job.visible_gib * job.utilization_fraction
        activation = self._activation_gib(job, stages)
        non_torch = self._non_torch_gib(job)
        graphs = self._graphs_gib(job, stages.n_layers)
        left = budget - weights - activation - non_torch - (graphs if rules.graphs.inside_budget else 0.0)
        layout = cache_layout(job, stages, rules.cache)
        return Sized(
            budget_gib=budget,
            weights_gib=weights,
            activation_gib=activation,
            non_torch_gib=non_torch,
            cuda_graph_gib=graphs,
            kv_cache_gib=left,
            layout=layout,
            reason=self._reason(job, weights, graphs, left, layout),
        )

    def _activation_gib(self, job: Job, stages: StageRows) -> FloatArray:
        """[n] peak of the profiling run; the sampler works on the last stage only."""
        rules, tokens = self.rules.activation, job.max_num_batched_tokens
        hidden = tokens * job.model.hidden_size * _HIDDEN_BYTES
        handed_over = np.where(job.pp > 1, rules.pipeline_hidden_copies, 0.0)
        layer = hidden * (rules.layer_hidden_copies + handed_over)
        layer = layer + tokens * _HIDDEN_BYTES * 3.0 * job.parts.dense_width / job.tp
        if job.model.hyper_connections is not None:
            layer = layer + rules.stream_copies * job.model.hyper_connections.streams * hidden
        gathered = self._gathered_keys_bytes(job)
        layer = layer + np.where(gathered > 0, rules.indexer_logits_gib * GIB, 0.0)
        workspace = self._moe_workspace_bytes(job)
        if not rules.moe_workspace_persistent:
            layer, workspace = np.maximum(layer, hidden * rules.hidden_copies + workspace), np.zeros(len(job.tp))
        workspace = np.maximum(workspace, gathered)
        if job.model.moe is not None:  # the hidden states of every rank's tokens, for the experts of this one
            layer = layer + np.where(job.dp > 1, hidden * job.dp, 0.0)
        logits = job.max_num_seqs * padded_vocabulary(job.model, self.rules) * _LOGIT_BYTES
        sampler = rules.sampler_copies * logits + rules.hidden_copies * hidden
        samples = stages.last & ~self._skips_sampler(job)
        peak = np.maximum(layer, np.where(samples, sampler, 0.0)) + workspace
        if job.model.vision_parameters and rules.vision_gib:
            tower = rules.vision_by_architecture_gib.get(job.model.architecture, rules.vision_gib)
            peak = peak + np.where(stages.first, hidden + tower * GIB, 0.0)  # `hidden` for the encoder cache
        return peak / GIB + rules.constant_gib

    def _skips_sampler(self, job: Job) -> BoolArray:
        if self.rules.sampler_profiled_when_chunked:
            return np.zeros(len(job.tp), np.bool_)
        return job.max_num_batched_tokens < job.max_model_len

    def _gathered_keys_bytes(self, job: Job) -> FloatArray:
        """[n] keys that the indexer of sparse latent attention works on, each with its scale."""
        model = job.model
        if model.indexer is None or (model.latent_attention is None and model.compressed_attention is None):
            return np.zeros(len(job.tp))
        per_key = model.compressed_attention.csa_tokens if model.compressed_attention is not None else 1
        keys = np.ceil(job.max_model_len / per_key) * self.rules.activation.indexer_requests
        gathered: FloatArray = keys * (model.indexer.head_dim + _KEY_SCALE_BYTES)
        return gathered

    def _moe_workspace_bytes(self, job: Job) -> FloatArray:
        moe = job.model.moe
        if moe is None:
            return np.zeros(len(job.tp))
        rules, hidden = self.rules.activation, moe.latent_size or job.model.hidden_size
        width = moe.intermediate_size / np.maximum(job.tp * job.dp // np.maximum(job.ep, 1), 1)
        tokens = (job.max_num_batched_tokens * job.dp).astype(np.float64)  # of every attention rank
        rows = np.minimum(tokens, rules.moe_chunk_tokens or np.inf) * moe.experts_per_token * _HIDDEN_BYTES
        workspace = rows * (np.maximum(width, hidden) + np.maximum(2.0 * width, hidden))
        has_one = [self._has_workspace(job.model, fmt) for fmt in job.weight_formats]
        return np.where(np.array(has_one)[job.weight_format], workspace, 0.0)

    def _has_workspace(self, model: Model, weight_format: WeightFormat) -> bool:
        """Of expert kernels."""
        return model.moe is not None and weight_format.id not in self.rules.activation.moe_workspace_not_formats

    def _non_torch_gib(self, job: Job) -> FloatArray:
        rules = self.rules
        non_torch = np.zeros(len(job.tp))
        for row in rules.non_torch:
            gib = np.where(job.fast_link, row.fast_link_gib, row.pcie_gib)
            non_torch = np.where(job.tp * job.dp >= row.from_tp, gib, non_torch)
        non_torch = np.where((job.tp * job.dp == 1) & (job.pp > 1), rules.non_torch_pipeline_gib, non_torch)
        return non_torch + np.where(job.rocm, rules.non_torch_rocm_gib, 0.0)

    def _graphs_gib(self, job: Job, n_layers: IntArray | int) -> FloatArray:
        rules = self.rules.graphs
        if job.enforce_eager:
            return np.zeros(len(job.tp))
        growing = rules.per_layer_gib * n_layers + (rules.moe_gib if job.model.moe else 0.0)
        captured = _captured_fractions(rules.largest_sequences)
        gib: FloatArray = rules.constant_gib + growing * captured[np.minimum(job.max_num_seqs, len(captured) - 1)]
        return gib

    def _reason(
        self, job: Job, weights: FloatArray, graphs: FloatArray, left: FloatArray, layout: CacheLayout
    ) -> NDArray[np.int8]:
        """[n] what stops start-up besides a KV cache that is too small; later lines outrank earlier ones."""
        rules, reason = self.rules, np.zeros(len(job.tp), np.int8)
        overdrawn, runs_out = self._refused(job, graphs)
        reason[runs_out] = INDEX["start_up"]
        if rules.state_blocks_cover_max_num_seqs and any(c.kind == "state" for c in job.parts.classes):
            reason[job.max_num_seqs * layout.unit_bytes > np.maximum(left, 0.0) * GIB] = INDEX["state"]
        reason[overdrawn] = INDEX["utilization"]
        reason[weights + context_gib(job, rules) > job.visible_gib] = INDEX["weights"]
        reason[job.max_num_seqs > job.max_num_batched_tokens] = INDEX["step"]
        return reason

    def _refused(self, job: Job, graphs: FloatArray) -> tuple[BoolArray, BoolArray]:
        """[n] whether less is free at start than is asked for; whether memory runs out after sizing."""
        rules, taken = self.rules, self._taken_outside_gib(job, graphs)
        outside = job.visible_gib * (1.0 - job.utilization_fraction) - context_gib(job, rules)
        runs_out: BoolArray = (taken > 0) & (outside + rules.start_up_slack_gib < taken)
        return (outside < 0.0) & rules.checks_free_memory, runs_out

    def _taken_outside_gib(self, job: Job, graphs: FloatArray) -> FloatArray:
        """[n] after the KV cache is sized, from what the fraction left."""
        return self._start_up_extra_gib(job) + (0.0 if self.rules.graphs.inside_budget else graphs)

    def _start_up_extra_gib(self, job: Job) -> FloatArray:
        """[n] taken while the sampler warms up, by weight format and in proportion to the sequences."""
        extra = np.array([self._start_up_gib(fmt) for fmt in job.weight_formats])
        gib: FloatArray = extra[job.weight_format] * np.minimum(job.max_num_seqs / _WARM_UP_SEQUENCES, 1.0)
        return gib

    def _start_up_gib(self, weight_format: WeightFormat) -> float:
        """At the most sequences."""
        return self.rules.start_up_extra_gib.get(weight_format.id, 0.0)


@lru_cache(maxsize=16)
def _captured_fractions(most: int) -> FloatArray:
    """[sequences], up to `most`: part of the graphs for `most` that are captured, in pieces and whole."""
    whole = np.arange(most + 1)
    captured = (_sizes_captured(np.minimum(2 * whole, most)) + _sizes_captured(whole)) / 2.0
    fractions: FloatArray = captured / _sizes_captured(whole[-1:])
    return fractions


def _sizes_captured(largest: IntArray) -> FloatArray:
    """How many batch sizes are captured up to the largest: 1, 2, 4, every 8 up to 256, every 16 beyond."""
    below_eight = (largest >= 1) * 1.0 + (largest >= 2) + (largest >= 4)
    sizes: FloatArray = below_eight + np.minimum(largest, 256) // 8 + np.maximum(largest - 256, 0) // 16
    return sizes
