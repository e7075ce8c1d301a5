"""KV cache of one rank: bytes per token and per sequence of each class of layers, laid out by the engine's rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from catalog.architecture import Cache
from catalog.schema.cache_rules import CacheRules
from optimizer.memory.compressed import compressed_layout
from optimizer.memory.job import CacheLayout, Job
from optimizer.memory.stages import CacheClass, StageRows
from optimizer.serving_config import FloatArray, IntArray

_BytesOf = Callable[[Job, Cache, CacheRules], FloatArray]
_Caches = tuple[tuple[Cache, IntArray], ...]


def cache_layout(job: Job, stages: StageRows, rules: CacheRules) -> CacheLayout:
    """How the ranks of stages lay out their cache: a column a class of layers, the last for constants per sequence."""
    classes = job.parts.classes
    if rules.compressed is not None and job.model.compressed_attention is not None:
        layout = compressed_layout(job, stages, rules.compressed, _in_flight_tokens(job, rules))
        return _counted_by_requests(layout, job.max_model_len) if rules.tokens_by_requests else layout
    if rules.windows == "grouped" and len(classes) > 1:
        return _grouped(job, stages, rules)
    if "state" in {c.kind for c in classes} and rules.state_pool_fraction is not None:
        return _with_state_pool(_separate(job, stages, rules), rules.state_pool_fraction, rules.state_slots)
    return _separate(job, stages, rules)


def token_bytes_of(job: Job, cache: Cache, rules: CacheRules) -> FloatArray:
    """[n] bytes of one token in one layer on one rank: heads replicate once tp exceeds them, latents are whole."""
    value_bytes = np.array([fmt.bytes_per_value for fmt in job.kv_formats])[job.kv_format]
    heads = cache.kv_heads / np.minimum(job.tp, max(cache.kv_heads, 1))
    latent = cache.latent_values_per_token * value_bytes
    row = rules.sparse_latent_row
    if row and job.model.indexer is not None and cache.latent_values_per_token == row.values_per_token:
        packed = np.array([fmt.id in row.kv_formats for fmt in job.kv_formats])[job.kv_format] & ~job.rocm
        latent = np.where(packed, float(row.bytes_per_token), latent)
    total: FloatArray = heads * cache.values_per_token_per_head * value_bytes + latent + cache.indexer_bytes_per_token
    return total


def state_bytes_of(job: Job, cache: Cache, rules: CacheRules) -> FloatArray:
    """[n] bytes that one sequence takes in one layer on one rank, whatever its length."""
    width = rules.state_bytes_by_architecture.get(job.model.architecture, rules.state_bytes_per_value)
    return (cache.state_values * width + cache.conv_values * rules.conv_bytes_per_value) / job.tp


def _separate(job: Job, stages: StageRows, rules: CacheRules) -> CacheLayout:
    """Every class takes exactly its own bytes; windows count only where the engine and version use them."""
    classes, n = job.parts.classes, len(job.tp)
    per_token = np.stack([_total(job, caches, rules, token_bytes_of) for caches in stages.caches], axis=1)
    constant = sum((_total(job, caches, rules, state_bytes_of) for caches in stages.caches), np.zeros(n))
    if _uses_windows(job, rules):
        caps = np.stack([_cap_tokens(job, cache_class, rules) for cache_class in classes], axis=1)
    else:
        per_token, caps = per_token.sum(axis=1, keepdims=True), np.full((n, 1), np.inf)
    bounded = np.isfinite(caps)
    layout = CacheLayout(
        block_bytes=np.column_stack([per_token * rules.block_tokens, constant]),
        block_tokens=np.column_stack([np.full_like(per_token, rules.block_tokens), np.ones(n)]),
        cap_tokens=np.column_stack([caps, np.ones(n)]),
        extra_blocks=np.column_stack([np.where(bounded, float(rules.window_extra_blocks), 0.0), np.zeros(n)]),
        pool_share=None,
        token_bytes=per_token.sum(axis=1),
        token_step=np.full(n, float(rules.block_tokens)),
        state_bytes=constant,
        unit_bytes=per_token.sum(axis=1) * rules.block_tokens,
    )
    if not bounded.any() or bounded.all():
        return layout
    if rules.window_pool_fraction is not None:
        return _with_window_pool(layout, rules.window_pool_fraction)
    return _counted_by_requests(replace(layout, unit_bytes=np.zeros(n)), job.max_model_len)


def _counted_by_requests(layout: CacheLayout, max_model_len: IntArray) -> CacheLayout:
    """Tokens counted as requests of max_model_len that fit, times max_model_len."""
    lengths = max_model_len.astype(np.float64)
    token_bytes = 1.0 / (layout.sequences(np.ones(len(lengths)), lengths) * lengths)
    return replace(layout, token_bytes=token_bytes, token_step=np.ones(len(lengths)))


def _with_window_pool(layout: CacheLayout, window_tokens_per_token: float) -> CacheLayout:
    """Growing and windowed layers in pools of their own, sized in a fixed ratio of tokens."""
    bounded = np.isfinite(layout.cap_tokens)
    parts = layout.block_bytes / layout.block_tokens * np.where(bounded, window_tokens_per_token, 1.0)
    parts[:, -1] = 0.0
    token_bytes = parts.sum(axis=1)
    share = parts / np.where(token_bytes > 0, token_bytes, 1.0)[:, None]
    return replace(layout, pool_share=share, token_bytes=token_bytes)


def _with_state_pool(layout: CacheLayout, state_fraction: float, slots: int) -> CacheLayout:
    """Recurrent states in a pool of their own, a fixed part of what is free; the KV pool is the rest."""
    share, block_bytes = np.ones_like(layout.block_bytes), layout.block_bytes.copy()
    share[:, -1] = state_fraction / (1.0 - state_fraction)
    block_bytes[:, -1] *= slots
    return replace(layout, pool_share=share, block_bytes=block_bytes)


def _grouped(job: Job, stages: StageRows, rules: CacheRules) -> CacheLayout:
    """One pool of equal pages: classes are split into groups of as many layers, the last of a class padded.

    Blocks of smaller pages hold more tokens where a page is a multiple of them, else they are padded; with recurrent
    layers, blocks of attention are raised until a page holds a state.
    """
    classes, n = job.parts.classes, len(job.tp)
    on_stage = [sum((layers for _, layers in caches), np.zeros(n, np.int64)) for caches in stages.caches]
    groups, layers = _groups(job.parts.layers_of_class, on_stage, rules.nearly_equal_layers)
    token_bytes = [_largest(job, caches, rules, token_bytes_of) for caches in stages.caches]
    states = [_largest(job, caches, rules, state_bytes_of) for caches in stages.caches]
    is_state = np.array([cache_class.kind == "state" for cache_class in classes])
    widest = np.max(token_bytes, axis=0)
    page_of_state = np.max(np.where(is_state[:, None], states, 0.0), axis=0)
    multiple = rules.block_tokens
    if is_state.any() and job.model.latent_attention is not None:
        multiple = max(multiple, rules.latent_block_multiple)
    blocks = np.maximum(np.ceil(page_of_state / np.maximum(widest, 1.0) / multiple), 1.0) * multiple
    page = np.maximum(blocks * widest, page_of_state)
    columns = []
    for index, cache_class in enumerate(classes):
        bytes_per_block = page * layers * groups[index]
        if is_state[index]:
            columns.append((bytes_per_block, np.ones(n), np.ones(n), np.zeros(n)))
            continue
        times = np.maximum(widest / np.maximum(token_bytes[index], 1.0), 1.0)
        block_tokens = blocks * np.where(times % 1.0 == 0.0, times, 1.0)
        cap = _cap_tokens(job, cache_class, rules)
        extra = np.full(n, float(rules.window_extra_blocks if cache_class.kind == "sliding" else 0))
        columns.append((bytes_per_block, block_tokens, cap, extra))
    held_beside = sum(
        (_total(job, c, rules, state_bytes_of) for c, s in zip(stages.caches, is_state, strict=True) if not s),
        np.zeros(n),
    )
    columns.append((held_beside, np.ones(n), np.ones(n), np.zeros(n)))
    block_bytes, block_tokens, caps, extras = (np.stack(part, axis=1) for part in zip(*columns, strict=True))
    layout = CacheLayout(
        block_bytes=block_bytes,
        block_tokens=block_tokens,
        cap_tokens=caps,
        extra_blocks=extras,
        pool_share=None,
        token_bytes=block_bytes[:, :-1].sum(axis=1) / blocks,
        token_step=blocks,
        state_bytes=block_bytes[:, caps[0] == 1.0].sum(axis=1),
        unit_bytes=page * layers,
    )
    return _counted_by_requests(layout, job.max_model_len) if rules.tokens_by_requests else layout


def _groups(in_model: tuple[int, ...], on_stage: list[IntArray], nearly_equal: float) -> tuple[list[int], IntArray]:
    """Groups of each class, and layers of the largest group on a stage [n]; layers are dealt to groups in turn.

    As vLLM's `_get_kv_cache_groups_uniform_page_size` does, vllm/v1/core/kv_cache_utils.py.
    """
    fewest, most = min(in_model), max(in_model)
    size = most if most < nearly_equal * fewest else fewest
    groups = [-(-layers // size) for layers in in_model]
    largest: IntArray = np.max([-(-layers // count) for layers, count in zip(on_stage, groups, strict=True)], axis=0)
    return groups, largest


def _uses_windows(job: Job, rules: CacheRules) -> bool:
    if rules.windows == "ignored":
        return len(job.parts.classes) == 1  # a model of windowed layers only is known to be so by every version
    return not rules.window_architectures or job.model.architecture in rules.window_architectures


def _cap_tokens(job: Job, cache_class: CacheClass, rules: CacheRules) -> FloatArray:
    """[n] tokens at which a sequence stops growing: the window, or the chunk, beside the tokens of steps under way."""
    if cache_class.window_tokens is None:
        return np.full(len(job.tp), np.inf)
    reach = cache_class.window_tokens - (cache_class.kind == "sliding")
    return _in_flight_tokens(job, rules) + reach


def _in_flight_tokens(job: Job, rules: CacheRules) -> FloatArray:
    """[n] tokens that are written before anything beyond a window is freed."""
    steps = np.maximum(job.pp, rules.steps_in_flight) if rules.steps_in_flight > 1 else 1
    return (steps * job.max_num_batched_tokens).astype(np.float64)


def _total(job: Job, caches: _Caches, rules: CacheRules, bytes_of: _BytesOf) -> FloatArray:
    total = np.zeros(len(job.tp))
    for cache, layers in caches:
        total += layers * bytes_of(job, cache, rules)
    return total


def _largest(job: Job, caches: _Caches, rules: CacheRules, bytes_of: _BytesOf) -> FloatArray:
    largest = np.zeros(len(job.tp))
    for cache, layers in caches:
        np.maximum(largest, np.where(layers > 0, bytes_of(job, cache, rules), 0.0), out=largest)
    return largest
