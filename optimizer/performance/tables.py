"""What a model asks for per step in each weight format: bytes and operations, grouped by how ranks share them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from catalog.architecture import Architecture, Layer, Split, architecture_of
from catalog.schema import Model, TensorRole, WeightFormat
from catalog.units import BITS_PER_BYTE
from optimizer.memory.identity import ByIdentity
from optimizer.serving_config import FloatArray, IntArray

SPLITS = (Split.TP, Split.KV_HEADS, Split.REPLICATED, Split.EXPERTS)
FLOPS_PER_WEIGHT = 2
"""A multiplication and an addition per token."""
STATE_BYTES = 4
"""Recurrent states are kept in fp32 (vLLM's mamba_ssm_cache_dtype)."""
ACTIVATION_BYTES = 2
"""bf16 or fp16."""


Count = int | FloatArray
"""Of layers; [n] in tables of rows."""


@dataclass(frozen=True, slots=True)
class Attention:
    """Attention and cache of equal layers."""

    layers: Count
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
    layers: Count
    moe_layers: Count
    latent_layers: Count
    recurrent_layers: Count
    hidden_size: int
    kv_heads: int
    experts: int
    """1 for a dense model."""
    experts_per_token: int
    attention_kind: str
    """As in `Traits.attention`."""
    of_rows: bool = False
    """The F rows are of n configurations and not of formats, and counts of layers are arrays [n]; see `span_tables`."""


def span_tables(
    model: Model, formats: tuple[WeightFormat, ...], weight_format: IntArray, spans: IntArray, times: IntArray
) -> ModelTables:
    """The tables of n models that would repeat a span of layers [n, 2], its ends included, so many `times` [n].

    Each is in a format of its own, `weight_format` [n]; a span that ends with the model has its head as well.
    """
    whole, architecture = tables_of(model, formats), architecture_of(model)
    kinds = list(dict.fromkeys(architecture.layers))
    experts = max(architecture.n_experts, 1)
    active_fraction = architecture.experts_per_token / experts if architecture.n_experts else 1.0
    of_kind = [_summed(_of_layers({kind: 1}), formats, active_fraction) for kind in kinds]
    of_head = _summed(_of_head(architecture, model.tied_embeddings), formats, active_fraction)
    position = np.array([kinds.index(layer) for layer in architecture.layers])
    before = np.zeros((len(position) + 1, len(kinds)))
    before[1:] = np.cumsum(position[:, None] == np.arange(len(kinds))[None, :], axis=0)
    held = (before[spans[:, 1] + 1] - before[spans[:, 0]]) * times[:, None]  # [n, kinds]
    heads = ((spans[:, 1] == len(position) - 1) * times)[:, None]

    def summed(part: int) -> FloatArray:
        total: FloatArray = heads * of_head[part][weight_format]
        for kind, tables in enumerate(of_kind):
            total = total + held[:, [kind]] * tables[part][weight_format]
        return total

    def counted(chosen: Callable[[Layer], bool]) -> FloatArray:
        count: FloatArray = held @ np.array([chosen(kind) for kind in kinds], np.float64)
        return count

    return replace(
        whole,
        weight_bytes=summed(0),
        quantized_flops=summed(1),
        plain_flops=summed(2),
        attention=tuple(replace(_attention(kind, 1), layers=held[:, i]) for i, kind in enumerate(kinds)),
        layers=held.sum(axis=1),
        moe_layers=counted(_has_experts),
        latent_layers=counted(lambda layer: layer.cache.kind == "latent"),
        recurrent_layers=counted(lambda layer: layer.cache.kind == "recurrent"),
        of_rows=True,
    )


def _has_experts(layer: Layer) -> bool:
    return any(tensor.role == TensorRole.EXPERT for tensor in layer.tensors)


_TABLES = ByIdentity[ModelTables]()


def tables_of(model: Model, formats: tuple[WeightFormat, ...]) -> ModelTables:
    """The model's tables; kept."""
    return _TABLES.get((model, *formats), lambda: _made(model, formats))


def _made(model: Model, formats: tuple[WeightFormat, ...]) -> ModelTables:
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
        moe_layers=sum(map(_has_experts, architecture.layers)),
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


_DRAFT_TABLES = ByIdentity[DraftTables]()


def draft_tables(model: Model, drafting: Model, formats: tuple[WeightFormat, ...]) -> DraftTables:
    """The tables of one pass of what `drafting` has beyond `model`; a head of several layers takes them in turn."""
    return _DRAFT_TABLES.get((model, drafting, *formats), lambda: _of_draft(model, drafting, formats))


def _of_draft(model: Model, drafting: Model, formats: tuple[WeightFormat, ...]) -> DraftTables:
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
