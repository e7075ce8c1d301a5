"""KV cache of DeepSeek-V4 as vLLM lays it out: blocks that any group of layers may take, each as large as the largest.

Every layer keeps its window; beside it a growing cache of compressed entries and the unfinished ones, as a window of
its own (vllm/v1/core/kv_cache_utils.py, `_get_kv_cache_groups_uniform_groups`, `_get_kv_cache_config_packed`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from catalog.schema import Model
from catalog.schema.cache_rules import CompressedPages
from optimizer.memory.job import CacheLayout, Job
from optimizer.memory.stages import StageRows
from optimizer.serving_config import FloatArray, IntArray

_OVERLAP = 2
"""Sparse entries are made of the tokens of two spans, each in two halves (vllm/models/deepseek_v4/compressor.py)."""


class Layers(NamedTuple):
    """How many layers cache in each way; all of them keep a window."""

    sparse: int
    heavy: int
    windows: int


def compressed_layout(job: Job, stages: StageRows, pages: CompressedPages, in_flight_tokens: FloatArray) -> CacheLayout:
    """Columns: compressed entries, windows, unfinished entries of the sparse and of the heavily compressed layers.

    `in_flight_tokens` [n] are written beyond a window before anything of it is freed.
    """
    model, n = job.model, len(job.tp)
    attention, window = model.compressed_attention, model.window_tokens
    assert attention is not None
    assert window is not None
    of_model, (sparse, heavy, windows) = _of_model(model), _of_stages(stages, n)
    groups = _window_groups(of_model)
    entry, key, few = _page_bytes(model, pages)
    slots = np.maximum(np.maximum(sparse, heavy), -(-windows // groups))
    block = (slots * entry + sparse * key + heavy * few).astype(np.float64)
    shares = [1.0, float(groups), float(of_model.sparse > 0), float(of_model.heavy > 0)]
    n_groups = sum(shares)
    if pages.weighs_groups:
        whole = of_model.sparse * (entry + key) + of_model.heavy * few
        others = (of_model.windows * entry, of_model.sparse * (entry + key), of_model.heavy * entry)
        shares = [1.0, *(other / whole for other in others)]
    spans = [np.inf, window, _OVERLAP * attention.csa_tokens, attention.hca_tokens]
    block_tokens = [pages.block_tokens, pages.window_block_tokens, pages.sparse_block_tokens, pages.heavy_block_tokens]
    return CacheLayout(
        block_bytes=np.column_stack([*(share * block for share in shares), np.zeros(n)]),
        block_tokens=np.tile([*map(float, block_tokens), 1.0], (n, 1)),
        cap_tokens=np.column_stack([*(in_flight_tokens + (span - 1) for span in spans), np.ones(n)]),
        extra_blocks=np.tile([0.0, 1.0, 1.0, 1.0, 0.0], (n, 1)),
        pool_share=None,
        token_bytes=block * n_groups / min(block_tokens),
        token_step=np.full(n, float(min(block_tokens))),
        state_bytes=np.zeros(n),
        unit_bytes=block,
    )


def _of_model(model: Model) -> Layers:
    mixers = [kind.mixer for kind in model.layer_kinds]
    return Layers(mixers.count("csa"), mixers.count("hca"), len(mixers))


def _of_stages(stages: StageRows, n: int) -> tuple[IntArray, IntArray, IntArray]:
    """[n] sparse layers, heavily compressed ones, and all, which keep a window."""
    held = [pair for caches in stages.caches for pair in caches]
    none = np.zeros(n, np.int64)
    sparse = sum((layers for cache, layers in held if cache.indexer_bytes_per_token), none)
    latent = sum((layers for cache, layers in held if cache.kind == "latent"), none)
    return sparse, latent - sparse, sum((layers for _, layers in held), none)


@lru_cache(maxsize=64)
def _window_groups(layers: Layers) -> int:
    """Groups that the windows are split into, so that each is about as long as the group of compressed entries."""
    most = max(layers.sparse, layers.heavy)
    counts = [most, layers.windows, *(count for count in (layers.sparse, layers.heavy) if count)]
    padding = {size: sum(-count % size for count in counts) for size in range(max(most, 1), layers.windows + 1)}
    least = min(padding.values())
    size = max(size for size, padded in padding.items() if padded == least)
    return -(-layers.windows // size)


def _page_bytes(model: Model, pages: CompressedPages) -> tuple[int, int, int]:
    """Of a block of sparse entries or a window, of the indexer's keys beside them, of heavily compressed entries."""
    attention, indexer = model.compressed_attention, model.indexer
    assert attention is not None
    entries = pages.block_tokens // attention.csa_tokens
    few = pages.block_tokens // attention.hca_tokens
    keys = entries * indexer.cached_bytes_per_token if indexer is not None else 0
    sizes = (entries * pages.entry_bytes, keys, few * pages.entry_bytes)
    entry, key, other = (-(-size // pages.alignment_bytes) * pages.alignment_bytes for size in sizes)
    return entry, key, other
