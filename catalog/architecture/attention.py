"""Attention mixers: the tensors and the cache of one layer with separate, latent or compressed keys and values."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from catalog.architecture.structure import Cache, Split, Tensor
from catalog.schema import Model, TensorRole
from catalog.schema.model import Attention, Indexer, LatentAttention

_ATTENTION, _NORM, _STATE = TensorRole.ATTENTION, TensorRole.NORM, TensorRole.STATE
_T = TypeVar("_T")


class Mixer(NamedTuple):
    """The part of a layer that mixes tokens."""

    tensors: tuple[Tensor, ...]
    cache: Cache
    flops_per_token_per_context_token: int = 0
    attended_tokens: int | None = None
    indexer_flops_per_token_per_context_token: int = 0


def full_attention(model: Model) -> Mixer:
    """Attention to the whole context."""
    attention = _given(model.attention)
    return _softmax_attention(model, attention, Cache("full", **_key_value(attention)))


def sliding_attention(model: Model) -> Mixer:
    """Attention to the last `window_tokens`."""
    attention = _given(model.local_attention or model.attention)
    return _softmax_attention(
        model, attention, Cache("sliding", window_tokens=model.window_tokens, **_key_value(attention))
    )


def chunked_attention(model: Model) -> Mixer:
    """Attention within the current chunk of `window_tokens`."""
    attention = _given(model.local_attention or model.attention)
    return _softmax_attention(
        model, attention, Cache("chunked", window_tokens=model.window_tokens, **_key_value(attention))
    )


def sparse_attention(model: Model) -> Mixer:
    """Attention to the blocks of keys that the layer's indexer chooses; all keys and values stay cached."""
    attention, indexer = _given(model.attention), _given(model.indexer)
    query_width = indexer.heads * indexer.head_dim
    cache = Cache("full", indexer_bytes_per_token=indexer.cached_bytes_per_token, **_key_value(attention))
    mixer = _softmax_attention(model, attention, cache)
    return mixer._replace(
        tensors=(
            *mixer.tensors,
            Tensor(_ATTENTION, model.hidden_size * (query_width + indexer.head_dim), Split.REPLICATED),
            Tensor(_NORM, 2 * indexer.head_dim, Split.REPLICATED),
        ),
        attended_tokens=indexer.topk_tokens,
        indexer_flops_per_token_per_context_token=2 * query_width,
    )


def latent_attention(model: Model) -> Mixer:
    """Multi-head latent attention: one latent a token, the same on every rank; decode works in the latent space."""
    latent = _given(model.latent_attention)
    return Mixer(
        _latent_tensors(model.hidden_size, latent),
        Cache("latent", latent_values_per_token=latent.kv_lora_rank + latent.qk_rope_head_dim),
        flops_per_token_per_context_token=2 * latent.heads * (2 * latent.kv_lora_rank + latent.qk_rope_head_dim),
    )


def sparse_latent_attention(model: Model) -> Mixer:
    """Latent attention to the tokens that the layer's own indexer chooses."""
    shared = shared_sparse_latent_attention(model)
    indexer, latent = _given(model.indexer), _given(model.latent_attention)
    query_width = indexer.heads * indexer.head_dim
    tensors = [
        *shared.tensors,
        Tensor(_ATTENTION, _given(latent.q_lora_rank) * query_width, Split.REPLICATED),
        Tensor(_ATTENTION, model.hidden_size * (indexer.head_dim + indexer.heads), Split.REPLICATED),
        Tensor(_NORM, 2 * indexer.head_dim, Split.REPLICATED),
    ]
    if indexer.pool_tokens > 1:  # a gate on every key, a bias by its place in the pool
        tensors.append(Tensor(_STATE, indexer.head_dim * (model.hidden_size + indexer.pool_tokens), Split.REPLICATED))
    return shared._replace(
        tensors=tuple(tensors),
        cache=Cache(
            "latent",
            latent_values_per_token=shared.cache.latent_values_per_token,
            indexer_bytes_per_token=indexer.cached_bytes_per_token,
        ),
        indexer_flops_per_token_per_context_token=2 * query_width // indexer.pool_tokens,
    )


def shared_sparse_latent_attention(model: Model) -> Mixer:
    """Latent attention to the tokens that an earlier layer's indexer chose."""
    return latent_attention(model)._replace(attended_tokens=_given(model.indexer).topk_tokens)


def window_attention(model: Model) -> Mixer:
    """DeepSeek-V4 layer that sees only its window."""
    return _compressed_attention(
        model, (), Cache("sliding", 1, _given(model.compressed_attention).head_dim, window_tokens=model.window_tokens)
    )


def compressed_sparse_attention(model: Model) -> Mixer:
    """DeepSeek-V4: the window, and of the entries compressed from every few tokens those an indexer chooses."""
    compressed, indexer = _given(model.compressed_attention), _given(model.indexer)
    tokens = compressed.csa_tokens
    query_width = indexer.heads * indexer.head_dim
    tensors = (
        *_compressor(model.hidden_size, 2 * compressed.head_dim, compressed.head_dim, tokens),
        *_compressor(model.hidden_size, 2 * indexer.head_dim, indexer.head_dim, tokens),
        Tensor(_ATTENTION, compressed.q_lora_rank * query_width, Split.REPLICATED),
        Tensor(_ATTENTION, model.hidden_size * indexer.heads, Split.REPLICATED),
    )
    cache = _compressed_cache(model, tokens, indexer)
    mixer = _compressed_attention(model, tensors, cache)
    return mixer._replace(
        attended_tokens=_given(model.window_tokens) + indexer.topk_tokens,
        indexer_flops_per_token_per_context_token=2 * query_width // tokens,
    )


def heavily_compressed_attention(model: Model) -> Mixer:
    """DeepSeek-V4: the window, and every entry compressed from many tokens."""
    compressed = _given(model.compressed_attention)
    tokens = compressed.hca_tokens
    tensors = _compressor(model.hidden_size, compressed.head_dim, compressed.head_dim, tokens)
    mixer = _compressed_attention(model, tensors, _compressed_cache(model, tokens, None))
    return mixer._replace(flops_per_token_per_context_token=mixer.flops_per_token_per_context_token // tokens)


def _softmax_attention(model: Model, attention: Attention, cache: Cache) -> Mixer:
    hidden, value_dim = model.hidden_size, attention.value_head_dim or attention.head_dim
    query_width, output_width = attention.heads * attention.head_dim, attention.heads * value_dim
    key_width = attention.kv_heads * attention.head_dim
    value_width = 0 if attention.key_is_value else attention.kv_heads * value_dim
    tensors = [
        Tensor(_ATTENTION, hidden * query_width, Split.TP),
        Tensor(_ATTENTION, hidden * (key_width + value_width), Split.KV_HEADS),
        Tensor(_ATTENTION, output_width * hidden, Split.TP),
    ]
    if attention.gate != "none":
        gate_width = output_width if attention.gate == "full" else attention.heads
        tensors.append(Tensor(_ATTENTION, hidden * gate_width, Split.TP))
    if attention.qkv_bias:  # vectors count as norms: no format quantizes either
        tensors += [Tensor(_NORM, query_width, Split.TP), Tensor(_NORM, key_width + value_width, Split.KV_HEADS)]
    if attention.output_bias:
        tensors.append(Tensor(_NORM, hidden, Split.REPLICATED))
    if attention.sinks:
        tensors.append(Tensor(_NORM, attention.heads, Split.TP))
    tensors += _query_key_norms(attention)
    return Mixer(
        tuple(tensors),
        cache,
        flops_per_token_per_context_token=2 * (query_width + output_width),
        attended_tokens=cache.window_tokens,
    )


def _query_key_norms(attention: Attention) -> list[Tensor]:
    match attention.qk_norm:
        case "none":
            return []
        case "head":
            return [Tensor(_NORM, 2 * attention.head_dim, Split.REPLICATED)]
        case "all" | "each_head":
            return [
                Tensor(_NORM, attention.heads * attention.head_dim, Split.TP),
                Tensor(_NORM, attention.kv_heads * attention.head_dim, Split.KV_HEADS),
            ]


def _key_value(attention: Attention) -> dict[str, int]:
    value_dim = attention.value_head_dim or attention.head_dim
    return {"kv_heads": attention.kv_heads, "values_per_token_per_head": attention.head_dim + value_dim}


def _latent_tensors(hidden: int, latent: LatentAttention) -> tuple[Tensor, ...]:
    query_width = latent.heads * (latent.qk_nope_head_dim + latent.qk_rope_head_dim)
    rank = latent.q_lora_rank
    queries = (
        [Tensor(_ATTENTION, hidden * query_width, Split.TP)]
        if rank is None
        else [
            Tensor(_ATTENTION, hidden * rank, Split.REPLICATED),
            Tensor(_NORM, rank, Split.REPLICATED),
            Tensor(_ATTENTION, rank * query_width, Split.TP),
        ]
    )
    expanded = latent.heads * (latent.qk_nope_head_dim + latent.v_head_dim)
    output_width = latent.heads * latent.v_head_dim
    outputs = [Tensor(_ATTENTION, output_width * hidden, Split.TP)] * (2 if latent.gate else 1)
    return (
        *queries,
        Tensor(_ATTENTION, hidden * (latent.kv_lora_rank + latent.qk_rope_head_dim), Split.REPLICATED),
        Tensor(_NORM, latent.kv_lora_rank, Split.REPLICATED),
        Tensor(_ATTENTION, latent.kv_lora_rank * expanded, Split.TP),
        *outputs,
    )


def _compressed_attention(model: Model, compressor: tuple[Tensor, ...], cache: Cache) -> Mixer:
    compressed, hidden = _given(model.compressed_attention), model.hidden_size
    query_width = compressed.heads * compressed.head_dim
    tensors = (
        Tensor(_ATTENTION, hidden * compressed.q_lora_rank, Split.REPLICATED),
        Tensor(_ATTENTION, compressed.q_lora_rank * query_width, Split.TP),
        Tensor(_ATTENTION, hidden * compressed.head_dim, Split.REPLICATED),
        Tensor(_ATTENTION, query_width * compressed.output_lora_rank, Split.TP),
        Tensor(_ATTENTION, compressed.output_groups * compressed.output_lora_rank * hidden, Split.TP),
        Tensor(_NORM, compressed.q_lora_rank + compressed.head_dim, Split.REPLICATED),
        Tensor(_NORM, compressed.heads, Split.TP),  # attention sinks
        *compressor,
    )
    return Mixer(tensors, cache, flops_per_token_per_context_token=4 * query_width, attended_tokens=cache.window_tokens)


def _compressor(hidden: int, width: int, head_dim: int, tokens: int) -> tuple[Tensor, ...]:
    """Pools `tokens` tokens into one entry: values and gates, a bias per position, a norm; never quantized."""
    return (
        Tensor(_STATE, 2 * hidden * width, Split.REPLICATED),
        Tensor(_STATE, tokens * width, Split.REPLICATED),
        Tensor(_NORM, head_dim, Split.REPLICATED),
    )


def _compressed_cache(model: Model, tokens: int, indexer: Indexer | None) -> Cache:
    """Entries shared among `tokens` tokens grow with the sequence; the window's values are a constant."""
    head_dim = _given(model.compressed_attention).head_dim
    return Cache(
        "latent",
        latent_values_per_token=head_dim // tokens,
        indexer_bytes_per_token=indexer.cached_bytes_per_token // tokens if indexer else 0,
        conv_values=_given(model.window_tokens) * head_dim,
    )


def _given(value: _T | None) -> _T:
    assert value is not None, "Model checks that its layers' dimensions are there"
    return value
