"""What a model asks for per step in each weight format: bytes and operations, grouped by how ranks share them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from catalog.architecture import Architecture, Layer, Split, architecture_of
from catalog.schema import Model, TensorRole, WeightFormat
from catalog.units import BITS_PER_BYTE
from optimizer.serving_config import FloatArray

SPLITS = (Split.TP, Split.KV_HEADS, Split.REPLICATED, Split.EXPERTS)
FLOPS_PER_WEIGHT = 2
"""A multiplication and an addition per token."""
STATE_BYTES = 4
"""Recurrent states are kept in fp32 (vLLM's mamba_ssm_cache_dtype)."""
ACTIVATION_BYTES = 2
"""bf16 or fp16."""


@dataclass(frozen=True, slots=True)
class Attention:
    """Attention and cache of equal layers."""

    layers: int
    kv_head_values_per_token: int
    """Over all KV heads; ranks share them by head."""
    shared_values_per_token: int
    """Latents, whole on every rank."""
    indexer_bytes_per_token: int
    """Whole on every rank."""
    state_bytes: int
    """Read and written per step and sequence, over all ranks."""
    flops_per_context_token: int
    indexer_flops_per_context_token: int
    attended_limit: float
    """Tokens of context that are read at most; infinite = all."""


@dataclass(frozen=True, slots=True)
class ModelTables:
    """One model in F weight formats."""

    weight_bytes: FloatArray  # [F, 4] by SPLITS, over all layers and ranks
    quantized_flops: FloatArray  # [F, 4] per token; of routed experts, those that a token uses
    plain_flops: FloatArray  # [F, 4] of tensors that the format leaves in 16 bit
    attention: tuple[Attention, ...]
    layers: int
    moe_layers: int
    latent_layers: int
    recurrent_layers: int
    hidden_size: int
    kv_heads: int
    experts: int
    """1 for a dense model."""
    experts_per_token: int
    attention_kind: str
    """As in `Traits.attention`."""


@lru_cache(maxsize=512)
def tables_of(model: Model, formats: tuple[WeightFormat, ...]) -> ModelTables:
    """The model's tables; cached."""
    architecture = architecture_of(model)
    experts = max(architecture.n_experts, 1)
    active_fraction = architecture.experts_per_token / experts if architecture.n_experts else 1.0
    tensors = (*_of_layers(Counter(architecture.layers)), *_of_head(architecture, model.tied_embeddings))
    weight_bytes, quantized, plain = _summed(tensors, formats, active_fraction)
    kinds = Counter(layer.cache.kind for layer in architecture.layers)
    return ModelTables(
        weight_bytes=weight_bytes,
        quantized_flops=quantized,
        plain_flops=plain,
        attention=tuple(_attention(layer, count) for layer, count in Counter(architecture.layers).items()),
        layers=len(architecture.layers),
        moe_layers=sum(any(t.role == TensorRole.EXPERT for t in layer.tensors) for layer in architecture.layers),
        latent_layers=kinds["latent"],
        recurrent_layers=kinds["recurrent"],
        hidden_size=model.hidden_size,
        kv_heads=max(architecture.n_kv_heads, 1),
        experts=experts,
        experts_per_token=max(architecture.experts_per_token, 1),
        attention_kind="latent" if kinds["latent"] else "recurrent" if kinds["recurrent"] else "heads",
    )


@dataclass(frozen=True, slots=True)
class DraftTables:
    """What drafting one token asks for: a layer of the head and the output matrix."""

    weight_bytes: FloatArray  # [F, 4]
    quantized_flops: FloatArray  # [F, 4] per token
    plain_flops: FloatArray  # [F, 4]


@lru_cache(maxsize=512)
def draft_tables(model: Model, drafting: Model, formats: tuple[WeightFormat, ...]) -> DraftTables:
    """The tables of one pass of what `drafting` has beyond `model`; a head of several layers takes them in turn."""
    own, whole = architecture_of(model), architecture_of(drafting)
    added = Counter(whole.layers) - Counter(own.layers)
    (layer,) = added  # of one kind
    experts = max(whole.n_experts, 1)
    active_fraction = whole.experts_per_token / experts if whole.n_experts else 1.0
    tensors = (*_of_layers({layer: 1}), *_of_head(own, model.tied_embeddings))
    return DraftTables(*_summed(tensors, formats, active_fraction))


_Tensor = tuple[TensorRole, Split, int]


def _summed(
    tensors: Iterable[_Tensor], formats: tuple[WeightFormat, ...], active_fraction: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """[F, 4] bytes, operations on quantized tensors, and on the others."""
    weight_bytes, quantized, plain = (np.zeros((len(formats), len(SPLITS))) for _ in range(3))
    for role, split, parameters in tensors:
        column = SPLITS.index(split)
        flops = FLOPS_PER_WEIGHT * parameters * (active_fraction if split == Split.EXPERTS else 1.0)
        for row, weight_format in enumerate(formats):
            weight_bytes[row, column] += parameters * weight_format.bits_of(role) / BITS_PER_BYTE
            (quantized if role in weight_format.quantizes else plain)[row, column] += flops
    return weight_bytes, quantized, plain


def _of_layers(layers: Mapping[Layer, int]) -> Iterator[_Tensor]:
    for layer, count in layers.items():
        for tensor in layer.tensors:
            yield tensor.role, tensor.split, tensor.parameters * count


def _of_head(architecture: Architecture, tied: bool) -> Iterator[_Tensor]:
    """What every step reads beside the layers; of the embedding only rows, unless it is the head as well."""
    for tensor in architecture.head:
        yield tensor.role, tensor.split, tensor.parameters
    if tied:
        for tensor in architecture.embedding:
            if tensor.role == TensorRole.EMBEDDING:
                yield TensorRole.LM_HEAD, tensor.split, tensor.parameters


def _attention(layer: Layer, count: int) -> Attention:
    cache = layer.cache
    limit = float("inf") if layer.attended_tokens is None else float(layer.attended_tokens)
    return Attention(
        layers=count,
        kv_head_values_per_token=cache.kv_heads * cache.values_per_token_per_head,
        shared_values_per_token=cache.latent_values_per_token,
        indexer_bytes_per_token=cache.indexer_bytes_per_token,
        state_bytes=2 * (cache.state_values * STATE_BYTES + cache.conv_values * ACTIVATION_BYTES),
        flops_per_context_token=layer.flops_per_token_per_context_token,
        indexer_flops_per_context_token=layer.indexer_flops_per_token_per_context_token,
        attended_limit=limit / 2.0 if cache.kind == "chunked" else limit,  # a chunk is half full on average
    )
