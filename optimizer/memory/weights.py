"""Weights of one rank: only quantized roles shrink, key/value heads replicate, experts divide over all ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from catalog.architecture import Split
from catalog.schema import Gpu, Model, TensorRole, WeightFormat
from catalog.schema.engine import EngineRules, ExpertPadding, RepackedExperts
from catalog.units import BITS_PER_BYTE
from optimizer.memory.allocations import segment_rest_bytes
from optimizer.memory.extras import adapter_bytes
from optimizer.memory.identity import ByIdentity
from optimizer.memory.job import ROCM_VENDOR, Job
from optimizer.memory.stages import Stage
from optimizer.serving_config import BoolArray, FloatArray, IntArray

FULL_BITS = 16.0
"""Of a tensor that no format quantizes."""
_PACKED_STEP_BITS = 4.0
_VOCABULARY_ROLES = (TensorRole.EMBEDDING, TensorRole.LM_HEAD)
_MEANS_CHECKPOINT = {"fp8": "fp8-block"}
"""`fp8` asked of a model that is published in block FP8 means that checkpoint."""
EXPERT_BITS = {"mxfp4": 4.25, "nvfp4": 4.5}
"""Of the formats that checkpoints give their experts alone: 4 bits and a scale of 8 for 32 or 16 weights."""


class Padding(NamedTuple):
    """By how much repacking makes experts larger; arrays [n]."""

    values: FloatArray
    scales: FloatArray


def weight_bytes(
    job: Job, stage: Stage, rules: EngineRules, *, embedding_on_host: bool = False, separate_lm_head: bool = False
) -> FloatArray:
    """[n] bytes of weights on a rank of this stage, with rope table, adapters and the vision tower an engine loads.

    `embedding_on_host` leaves out an embedding that is not also the output matrix of this stage; `separate_lm_head`
    stores tied ones twice.
    """
    bits = np.stack([job.bits[kind.role] for kind in stage.kinds], axis=1)[job.weight_format]  # [n, kinds]
    per_rank = _padded_parameters(job.model, stage, rules) / _divisors(job, stage)
    on_host = {TensorRole.TABLE} if rules.tables_on_host else set()
    if embedding_on_host and not (job.model.tied_embeddings and stage.last):
        on_host.add(TensorRole.EMBEDDING)
    if on_host:
        per_rank = per_rank * np.array([kind.role not in on_host for kind in stage.kinds])
    padding = _expert_padding(job, rules.expert_padding)
    if rules.expert_padding and job.model.moe is not None:
        is_expert = np.array([kind.role is TensorRole.EXPERT for kind in stage.kinds])
        bits = np.where(is_expert, _padded_expert_bits(job, padding)[:, None], bits)
    for expert_format, repacked in rules.repacked_experts.items():
        if job.model.architecture not in repacked.architectures:
            continue
        bits = np.where(_repacks(job, stage, expert_format, repacked), repacked.bits, bits)
    total: FloatArray = (per_rank * bits).sum(axis=1)
    if stage.first and rules.loads_vision_tower:
        total = total + job.model.vision_parameters * FULL_BITS / job.tp
    if separate_lm_head and job.model.tied_embeddings and stage.last:
        total = total + padded_vocabulary(job.model, rules) * job.model.hidden_size * FULL_BITS / job.tp
    held = (
        total / BITS_PER_BYTE
        + _rope_table_bytes(job, rules)
        + adapter_bytes(job, stage, on_experts=rules.adapters_on_experts and stage.expert_layers > 0)
    )
    if rules.keeps_latent_projections:
        held = held + _latent_projection_bytes(job, stage)
    if rules.counts_segments != "no":
        held = held + _segment_rests(job, stage, padding, reserved=rules.counts_segments == "reserved")
    return held


def card_kinds(gpus: Sequence[Gpu], model: Model, rules: EngineRules) -> IntArray:
    """[gpus] numbers that are the same where weights and cache are stored alike."""
    repacked = [one for one in rules.repacked_experts.values() if model.architecture in one.architectures]
    number: dict[tuple[bool, ...], int] = {}
    kinds = []
    for gpu in gpus:
        repacks = ((gpu.cuda_capability or np.inf) < one.below_compute_capability for one in repacked)
        kinds.append(number.setdefault((gpu.vendor == ROCM_VENDOR, *repacks), len(number)))
    return np.array(kinds, np.int64)


def _repacks(job: Job, stage: Stage, expert_format: str, repacked: RepackedExperts) -> BoolArray:
    """[n, kinds] experts that the card's kernel repacks."""
    is_expert = np.array([kind.role is TensorRole.EXPERT for kind in stage.kinds])
    stored_so = np.array([_expert_format(job.model, fmt) == expert_format for fmt in job.weight_formats])
    chosen = stored_so[job.weight_format] & (job.cuda_capability < repacked.below_compute_capability)
    repacks: BoolArray = chosen[:, None] & is_expert
    return repacks


def _expert_format(model: Model, weight_format: WeightFormat) -> str:
    """Id of the format of the experts."""
    checkpoint = model.checkpoint
    own = checkpoint.expert_format if effective_format(model, weight_format) == checkpoint.weight_format else None
    return own or weight_format.id


def _rope_table_bytes(job: Job, rules: EngineRules) -> FloatArray:
    """[n] sines and cosines of every position, on every rank."""
    if not rules.rope_value_bytes:
        return np.zeros(len(job.tp))
    model = job.model
    copies = rules.mrope_table_copies if model.mrope else 1
    of_engine = np.where(job.rocm, 2, rules.rope_value_bytes)
    table: FloatArray = job.parts.rope_values * copies * np.maximum(of_engine, model.rope_table_bytes_per_value)
    return table


def _latent_projection_bytes(job: Job, stage: Stage) -> FloatArray:
    """[n] the up-projections of keys and values once more, in 16 bit and shaped for decoding in the latent space."""
    latent = job.model.latent_attention
    if latent is None:
        return np.zeros(len(job.tp))
    parameters = latent.heads * (latent.qk_nope_head_dim + latent.v_head_dim) * latent.kv_lora_rank
    copied: FloatArray = stage.latent_layers * parameters * FULL_BITS / BITS_PER_BYTE / job.tp
    return copied


def _segment_rests(job: Job, stage: Stage, padding: Padding, *, reserved: bool) -> FloatArray:
    """[n] unused ends of the segments that hold the layers' large matrices and the scales of quantized ones."""
    total = np.zeros(len(job.tp))
    for matrix, times in stage.matrices:
        bits = job.bits[matrix.role]
        packed = _packed_bits(bits)
        ranks = job.tp * job.dp if matrix.split is Split.EXPERTS else job.tp
        parameters = matrix.parameters / (1 if matrix.split is Split.REPLICATED else ranks)
        if matrix.kv_heads:
            parameters = parameters + matrix.kv_parameters / np.minimum(job.tp, matrix.kv_heads)
        for of_tensor, padded in zip((packed, bits - packed), padding, strict=True):
            size_bytes = parameters * of_tensor[job.weight_format] / BITS_PER_BYTE
            if matrix.role is TensorRole.EXPERT:
                size_bytes = size_bytes * padded
            total += times * segment_rest_bytes(np.round(size_bytes), reserved)
    return total


def _packed_bits(bits: FloatArray) -> FloatArray:
    """Bits per weight without scales, which lie in tensors of their own: 16, 8 or 4."""
    return np.maximum(bits // _PACKED_STEP_BITS * _PACKED_STEP_BITS, _PACKED_STEP_BITS)


def effective_format(model: Model, weight_format: WeightFormat) -> str:
    """Id of the format as the engine loads it."""
    published = model.checkpoint.weight_format
    return published if published and published == _MEANS_CHECKPOINT.get(weight_format.id) else weight_format.id


_BITS = ByIdentity[dict[TensorRole, FloatArray]]()


def bits_by_role(model: Model, weight_formats: tuple[WeightFormat, ...]) -> dict[TensorRole, FloatArray]:
    """Role -> [formats] bits per weight, scales included."""
    return _BITS.get(
        (model, *weight_formats),
        lambda: {role: np.array([_bits_of(model, fmt, role) for fmt in weight_formats]) for role in TensorRole},
    )


def _bits_of(model: Model, weight_format: WeightFormat, role: TensorRole) -> float:
    """Bits per weight, scales included; a published checkpoint keeps some roles whole, or has experts of its own."""
    checkpoint = model.checkpoint
    if role is TensorRole.EMBEDDING and model.tied_embeddings and role in weight_format.quantizes:
        role = TensorRole.LM_HEAD  # the one matrix is stored as the output matrix is (GGUF)
    if role is TensorRole.ROUTER and model.moe is not None and model.moe.router_32bit:
        return 2 * FULL_BITS
    if effective_format(model, weight_format) == checkpoint.weight_format:
        for other in checkpoint.other_bits:
            if other.role is role:
                return other.bits
        if role in checkpoint.kept_16bit:
            return FULL_BITS
        if role is TensorRole.EXPERT and checkpoint.expert_format is not None:
            return EXPERT_BITS[checkpoint.expert_format]
    return weight_format.bits_of(role)


def _padded_parameters(model: Model, stage: Stage, rules: EngineRules) -> FloatArray:
    """[kinds] parameters, the vocabulary padded to the multiple that the engine divides."""
    rows = padded_vocabulary(model, rules) / model.vocab_size
    padded: FloatArray = stage.parameters * np.array(
        [rows if k.role in _VOCABULARY_ROLES else 1.0 for k in stage.kinds]
    )
    return padded


def padded_vocabulary(model: Model, rules: EngineRules) -> int:
    """Rows of the embedding as the engine allocates them."""
    multiple = rules.law.vocabulary_multiple
    return -(-model.vocab_size // multiple) * multiple


def _divisors(job: Job, stage: Stage) -> FloatArray:
    """[n, kinds] ranks that share each tensor."""
    columns = []
    for kind in stage.kinds:
        match kind.split:
            case Split.TP:
                columns.append(job.tp)
            case Split.KV_HEADS:
                columns.append(np.minimum(job.tp, max(kind.kv_heads, 1)))
            case Split.EXPERTS:  # by whole experts, by slices, or both: always over every attention rank
                columns.append(job.tp * job.dp)
            case Split.REPLICATED:
                columns.append(np.ones_like(job.tp))
    return np.stack(columns, axis=1).astype(np.float64)


def _expert_padding(job: Job, padding: Mapping[str, ExpertPadding]) -> Padding:
    """Padded size ÷ size of an expert's matrices after repacking, and of their scales."""
    values, scales = np.ones(len(job.tp)), np.ones(len(job.tp))
    moe = job.model.moe
    for index, fmt in enumerate(job.weight_formats):
        if moe is None or (rule := padding.get(fmt.id)) is None:
            continue
        hidden = moe.latent_size or job.model.hidden_size
        slices = np.maximum(job.tp * job.dp // np.maximum(job.ep, 1), 1)
        width = moe.intermediate_size / slices
        wide = np.ceil(width / rule.intermediate_multiple) * rule.intermediate_multiple / width
        high = -(-hidden // rule.hidden_multiple) * rule.hidden_multiple / hidden
        values = np.where(job.weight_format == index, wide * high, values)
        scales = np.where(job.weight_format == index, wide * high if rule.pads_scales else 1.0, scales)
    return Padding(values, scales)


def _padded_expert_bits(job: Job, padding: Padding) -> FloatArray:
    """[n] bits that a weight of an expert takes, with its share of the padding."""
    bits = job.bits[TensorRole.EXPERT]
    packed = _packed_bits(bits)
    padded: FloatArray = (
        packed[job.weight_format] * padding.values + (bits - packed)[job.weight_format] * padding.scales
    )
    return padded
