"""Memory of many replicas at every batch size, tabulated once for workloads that differ in what they send."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from catalog.units import GIB
from optimizer.memory.estimate import Basis, memory_basis, replica_memory, takes_whole_contexts
from optimizer.memory.extras import loaded
from optimizer.memory.job import CacheLayout
from optimizer.memory.reasons import INDEX
from optimizer.memory.stages import parts_of
from optimizer.serving_config import BoolArray, Configurations, FloatArray, IntArray, sequences_per_rank

OF_LENGTH = tuple(INDEX[key] for key in ("context_limit", "context", "slots", "margin"))
"""Reasons that depend on max_model_len."""


@dataclass(frozen=True, slots=True)
class HeldMemory:
    """What plans need to know of the memory of n replicas."""

    max_num_seqs: IntArray
    max_num_batched_tokens: IntArray
    fits: BoolArray
    reason: NDArray[np.int8]
    dp: IntArray
    kv_cache_gib: FloatArray
    activation_gib: FloatArray
    layout: CacheLayout

    def concurrency(self, tokens: FloatArray | float) -> FloatArray:
        """[n] sequences of that total length that the KV cache of the whole replica holds at once."""
        lengths = np.broadcast_to(np.asarray(tokens, np.float64), self.fits.shape)
        return self.layout.sequences(self.kv_cache_gib * GIB, lengths) * self.dp


class MemoryTable:
    """n configurations × batch sizes, with the margin that plans keep; `fraction` [n] of memory, or the default.

    For configurations of which the memory at one length tells that at every other, see `holds_at_every_length`.
    """

    def __init__(
        self,
        configurations: Configurations,
        sizes: IntArray,
        max_model_len: int,
        fraction: FloatArray | None = None,
        basis: Basis | None = None,
    ) -> None:
        n = len(configurations)
        self._sizes = sizes
        every = np.repeat(np.arange(n), len(sizes))
        memory = replica_memory(
            configurations.take(every),
            max_model_len=max_model_len,
            max_num_seqs=sequences_per_rank(np.tile(sizes, n), configurations.dp[every]),
            gpu_memory_utilization=None if fraction is None else fraction[every],
            with_margin=True,
            basis=(memory_basis(configurations) if basis is None else basis).take(every),
        )
        self._takes_whole_contexts = takes_whole_contexts(configurations)
        self._model_tokens = configurations.model.max_context_tokens
        self._pool_gib, self._margin_gib, self._dp = memory.kv_cache_gib, memory.margin_gib, memory.dp
        self._reason = np.where(np.isin(memory.reason, OF_LENGTH), 0, memory.reason).astype(np.int8)
        self._activation_gib = memory.activation_gib
        self._layout, self._batched_tokens = memory.layout, memory.max_num_batched_tokens

    def at(self, rows: IntArray, size: IntArray, max_model_len: int) -> HeldMemory:
        """Memory of some configurations, each at the batch size of that position."""
        cell = rows * len(self._sizes) + size
        layout = _take(self._layout, cell)
        pool, reason = self._pool_gib[cell], self._reason[cell]
        lengths = np.full(len(cell), float(max_model_len))
        if max_model_len > self._model_tokens:
            reason = np.where(reason == 0, INDEX["context_limit"], reason)
        least = self._sizes[size] if self._takes_whole_contexts else np.ones(len(cell))
        requests = layout.sequences(pool * GIB, lengths)
        at_worst = layout.sequences((pool - self._margin_gib[cell]) * GIB, lengths)
        for key, short in (("context", requests < 1.0), ("slots", requests < least), ("margin", at_worst < least)):
            reason = np.where((reason == 0) & short, INDEX[key], reason)
        return HeldMemory(
            max_num_seqs=sequences_per_rank(self._sizes[size], self._dp[cell]),
            max_num_batched_tokens=self._batched_tokens[cell],
            fits=reason == 0,
            reason=reason.astype(np.int8),
            dp=self._dp[cell],
            kv_cache_gib=pool,
            activation_gib=self._activation_gib[cell],
            layout=layout,
        )


def holds_at_every_length(configurations: Configurations) -> bool:
    """Whether the pipeline stage that limits a replica is the same at every length of requests.

    It is where all layers cache alike. Of layers with a window and layers without, the latter count more the longer
    the requests are; so which stage limits depends on these, unless there is only one.
    """
    return len(parts_of(loaded(configurations).model).classes) <= 1 or bool((configurations.pp == 1).all())


def _take(layout: CacheLayout, rows: IntArray) -> CacheLayout:
    """What `CacheLayout.sequences` reads, of some rows."""
    return replace(
        layout,
        block_bytes=layout.block_bytes[rows],
        block_tokens=layout.block_tokens[rows],
        cap_tokens=layout.cap_tokens[rows],
        extra_blocks=layout.extra_blocks[rows],
        pool_share=None if layout.pool_share is None else layout.pool_share[rows],
    )
