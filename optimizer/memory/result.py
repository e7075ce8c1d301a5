"""The answer: memory of n replicas as arrays, or of one as plain numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalog.units import GIB
from optimizer.memory.job import CacheLayout
from optimizer.memory.reasons import REASONS
from optimizer.serving_config import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class ReplicaMemory:
    """Memory of n replicas, per GPU, of the rank that limits; arrays [n]."""

    budget_gib: FloatArray
    weights_gib: FloatArray
    activation_gib: FloatArray
    non_torch_gib: FloatArray
    cuda_graph_gib: FloatArray
    kv_cache_gib: FloatArray
    """Left for the KV cache; negative = what is missing."""
    margin_gib: FloatArray
    """By which the KV cache may be off, about nine times in ten."""
    plus_minus_gib: Mapping[str, FloatArray]
    """The same of each part: weights, activation, non_torch, cuda_graph."""
    kv_bytes_per_token: FloatArray
    """Pool ÷ tokens as the engine counts them, padding layers included."""
    kv_cache_tokens: IntArray
    """Whole replica."""
    state_bytes_per_sequence: FloatArray
    max_num_seqs: IntArray
    max_num_batched_tokens: IntArray
    utilization_fraction: FloatArray
    max_concurrency: FloatArray
    """Requests of max_model_len that the whole replica holds at once."""
    fits: BoolArray
    reason: NDArray[np.int8]
    """Index into REASONS; 0 where it fits."""
    fits_with_margin: BoolArray
    """Fits even where the KV cache is smaller by the margin."""
    dp: IntArray
    layout: CacheLayout

    def __len__(self) -> int:
        return len(self.fits)

    def concurrency(self, tokens: FloatArray | float) -> FloatArray:
        """[n] sequences of that total length that the KV cache of the whole replica holds at once.

        Windows, states and blocks are honoured; max_num_seqs is not applied.
        """
        lengths = np.broadcast_to(np.asarray(tokens, np.float64), self.fits.shape)
        return self.layout.sequences(self.kv_cache_gib * GIB, lengths) * self.dp


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Memory of one replica, per GPU, of the rank that limits."""

    weights_gib: float
    activation_gib: float
    non_torch_gib: float
    cuda_graph_gib: float
    kv_cache_gib: float
    """Available for the KV cache; negative = what is missing."""
    margin_gib: float
    """By which the KV cache may be off, about nine times in ten."""
    plus_minus_gib: Mapping[str, float]
    """The same of each part: weights, activation, non_torch, cuda_graph."""
    kv_cache_tokens: int
    """Whole replica."""
    kv_bytes_per_token: float
    """Per GPU, as the engine counts tokens."""
    state_bytes_per_sequence: float
    max_concurrency: float
    """Requests of max_model_len."""
    budget_gib: float
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    utilization_fraction: float
    fits: bool
    """Loads, and serves at least one request of max_model_len."""
    fits_with_margin: bool
    """The same even where the KV cache is smaller by the margin; what plans ask for."""
    reason: str
    """Why it does not; empty when it fits."""
    reason_key: str

    @classmethod
    def of(cls, memory: ReplicaMemory, row: int, *, max_model_len: int, reason: str) -> MemoryEstimate:
        """One row of many, with its reason in words."""
        return cls(
            weights_gib=float(memory.weights_gib[row]),
            activation_gib=float(memory.activation_gib[row]),
            non_torch_gib=float(memory.non_torch_gib[row]),
            cuda_graph_gib=float(memory.cuda_graph_gib[row]),
            kv_cache_gib=float(memory.kv_cache_gib[row]),
            margin_gib=float(memory.margin_gib[row]),
            plus_minus_gib={part: float(gib[row]) for part, gib in memory.plus_minus_gib.items()},
            kv_cache_tokens=int(memory.kv_cache_tokens[row]),
            kv_bytes_per_token=float(memory.kv_bytes_per_token[row]),
            state_bytes_per_sequence=float(memory.state_bytes_per_sequence[row]),
            max_concurrency=float(memory.max_concurrency[row]),
            budget_gib=float(memory.budget_gib[row]),
            max_model_len=max_model_len,
            max_num_seqs=int(memory.max_num_seqs[row]),
            max_num_batched_tokens=int(memory.max_num_batched_tokens[row]),
            utilization_fraction=float(memory.utilization_fraction[row]),
            fits=bool(memory.fits[row]),
            fits_with_margin=bool(memory.fits_with_margin[row]),
            reason=reason,
            reason_key=REASONS[int(memory.reason[row])],
        )
