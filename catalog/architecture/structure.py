"""What a model taken apart is made of: tensors by role and split, what a layer caches, layers in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple

from catalog.schema import TensorRole


class Split(StrEnum):
    """How tensor parallelism divides a tensor."""

    TP = "tp"
    """Evenly over the tp ranks."""
    KV_HEADS = "kv_heads"
    """By key/value head: each rank holds max(1, kv_heads / tp) heads, so heads are replicated once tp > kv_heads."""
    REPLICATED = "replicated"
    """Whole on every rank (norms, router, MLA down-projections)."""
    EXPERTS = "experts"
    """Whole experts over ep ranks when ep > 1, otherwise every expert over the tp ranks."""


class Tensor(NamedTuple):
    """Weights of one role in one layer (or outside the layers), counted."""

    role: TensorRole
    parameters: int
    split: Split


@dataclass(frozen=True, slots=True)
class Cache:
    """What one layer keeps while a sequence runs, in values (elements), before any sharding."""

    kind: Literal["full", "sliding", "chunked", "latent", "recurrent", "none"]
    kv_heads: int = 0
    values_per_token_per_head: int = 0
    """Key and value together: head_dim of K + head_dim of V."""
    latent_values_per_token: int = 0
    """MLA: kv_lora_rank + qk_rope_head_dim, on every rank. DeepSeek-V4: compressed values divided by the tokens they
    stand for."""
    indexer_bytes_per_token: int = 0
    """Sparse-attention indexer keys, on every rank."""
    window_tokens: int | None = None
    """Sliding or chunked layers stop growing here."""
    state_values: int = 0
    """Recurrent state per sequence (fp32 in vLLM unless the engine says otherwise)."""
    conv_values: int = 0
    """Kept per sequence in the activation type: convolution state, DeepSeek-V4's window of uncompressed values."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One transformer layer: a mixer and a feed-forward part."""

    tensors: tuple[Tensor, ...]
    cache: Cache
    flops_per_token_per_context_token: int = 0
    """Attention arithmetic per generated token and token of context: 4 · heads · head_dim for softmax (QK and PV)."""
    attended_tokens: int | None = None
    """Attention reads at most this many tokens of the context (window, sparse selection); null = all of it."""
    indexer_flops_per_token_per_context_token: int = 0
    """Arithmetic of a sparse layer's indexer, which always reads the whole context."""

    @property
    def parameters(self) -> int:
        """Parameters of this layer."""
        return sum(tensor.parameters for tensor in self.tensors)


@dataclass(frozen=True, slots=True)
class Architecture:
    """A model taken apart; `layers` are in order, equal layers are the same object."""

    layers: tuple[Layer, ...]
    embedding: tuple[Tensor, ...]
    """Before the first layer (token embedding)."""
    head: tuple[Tensor, ...]
    """After the last layer (final norm, lm_head; no lm_head when tied)."""
    n_heads: int
    n_kv_heads: int
    n_experts: int
    """0 = dense."""
    experts_per_token: int

    def tensors(self) -> Iterator[Tensor]:
        """Every tensor of the language model."""
        yield from self.embedding
        for layer in self.layers:
            yield from layer.tensors
        yield from self.head

    def parameters_of(self, *roles: TensorRole) -> int:
        """Language-model parameters in tensors of these roles."""
        return sum(tensor.parameters for tensor in self.tensors() if tensor.role in roles)

    @property
    def parameters(self) -> int:
        """Language-model parameters in all."""
        distinct = {id(layer): layer for layer in self.layers}  # equal layers are the same object
        times = Counter(map(id, self.layers))
        ends = sum(tensor.parameters for tensor in (*self.embedding, *self.head))
        return ends + sum(times[key] * layer.parameters for key, layer in distinct.items())

    @property
    def active_parameters(self) -> int:
        """Parameters that take part in one token: routed experts count experts_per_token / n_experts."""
        routed = sum(tensor.parameters for tensor in self.tensors() if tensor.split is Split.EXPERTS)
        if not routed:
            return self.parameters
        return self.parameters - routed + routed * self.experts_per_token // self.n_experts
