"""Memory of many replicas, worked out once for every batch and number of tokens that some workload asks about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalog.units import GIB
from optimizer.memory.estimate import Basis, memory_basis, replica_memory, takes_whole_contexts
from optimizer.memory.extras import loaded
from optimizer.memory.job import CacheLayout
from optimizer.memory.reasons import INDEX
from optimizer.memory.result import ReplicaMemory
from optimizer.memory.stages import parts_of
from optimizer.serving_config import BoolArray, Configurations, FloatArray, IntArray, sequences_per_rank

OF_LENGTH = tuple(INDEX[key] for key in ("context_limit", "context", "slots", "margin"))
"""Reasons that depend on max_model_len."""
NUMBERS = 4
"""Columns of a table before those of the cache: the pool, its margin, activations and the reason."""
FIRST_ROOM = 4096
"""Cells that a table has room for at first."""


@dataclass(frozen=True, slots=True)
class HeldMemory:
    """What plans need to know of the memory of n replicas."""

    max_num_seqs: IntArray
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
    """n configurations × batch sizes × tokens of a step, with the margin that plans keep; cells are filled when asked.

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
        """`fraction` [n] of memory, or the engine's default."""
        self._configurations, self._sizes, self._max_model_len = configurations, sizes, max_model_len
        self._fraction, self._basis = fraction, memory_basis(configurations) if basis is None else basis
        self._takes_whole_contexts = takes_whole_contexts(configurations)
        self._place: dict[int, IntArray] = {}
        """Tokens of a step -> for each configuration and size its line; −1 where it is not known yet."""
        self._lines: FloatArray = np.zeros((0, 0))
        self._n_lines, self._has_shares = 0, False

    def at(self, rows: IntArray, size: IntArray, step_tokens: IntArray, max_model_len: IntArray) -> HeldMemory:
        """Memory of some configurations, each at the batch size of that position, tokens of a step and length."""
        lines = self._lines_of(rows, size, step_tokens)
        pool, margin, activation, known = lines[:, :NUMBERS].T
        layout, reason = self._layout(lines), known.astype(np.int8)
        lengths, model_tokens = max_model_len.astype(np.float64), self._configurations.model.max_context_tokens
        lawful = self._basis.law[rows] == 0
        reason = np.where(lawful & (lengths > model_tokens), INDEX["context_limit"], reason)
        least = self._sizes[size] if self._takes_whole_contexts else np.ones(len(rows))
        used = layout.used_bytes(lengths)
        requests, at_worst = layout.holding(pool * GIB, used), layout.holding((pool - margin) * GIB, used)
        for key, short in (("context", requests < 1.0), ("slots", requests < least), ("margin", at_worst < least)):
            reason = np.where((reason == 0) & short, INDEX[key], reason)
        dp = self._configurations.dp[rows]
        sequences = sequences_per_rank(self._sizes[size], dp)
        return HeldMemory(sequences, reason == 0, reason.astype(np.int8), dp, pool, activation, layout)

    def _lines_of(self, rows: IntArray, size: IntArray, step_tokens: IntArray) -> FloatArray:
        """[m, …] lines of the table; those that are not known are worked out first."""
        cell = rows * len(self._sizes) + size
        budgets, of = np.unique(step_tokens, return_inverse=True)
        n_cells = len(self._configurations) * len(self._sizes)
        places = [self._place.setdefault(tokens, np.full(n_cells, -1)) for tokens in budgets.tolist()]
        asked = [cell[of == b] for b in range(len(budgets))]
        unknown = [np.unique(cells[place[cells] < 0]) for place, cells in zip(places, asked, strict=True)]
        new = np.cumsum([0, *map(len, unknown)])
        if new[-1]:
            for place, cells, first in zip(places, unknown, new[:-1], strict=True):
                place[cells] = self._n_lines + first + np.arange(len(cells))
            self._work_out(np.concatenate(unknown), np.repeat(budgets, np.diff(new)))
        line = np.zeros(len(rows), np.int64)
        for b, (place, cells) in enumerate(zip(places, asked, strict=True)):
            line[of == b] = place[cells]
        return self._lines[line]

    def _work_out(self, cell: IntArray, step_tokens: IntArray) -> None:
        """Adds lines for some cells."""
        rows, size = np.divmod(cell, len(self._sizes))
        configurations = self._configurations.take(rows)
        memory = replica_memory(
            configurations,
            max_model_len=self._max_model_len,
            max_num_seqs=sequences_per_rank(self._sizes[size], configurations.dp),
            max_num_batched_tokens=step_tokens,
            gpu_memory_utilization=None if self._fraction is None else self._fraction[rows],
            with_margin=True,
            basis=self._basis.take(rows),
        )
        self._has_shares = memory.layout.pool_share is not None
        lines, n = _lines(memory), self._n_lines
        if n + len(lines) > len(self._lines):
            room = np.zeros((max(FIRST_ROOM, 2 * (n + len(lines))), lines.shape[1]))
            room[:n] = self._lines[:n].reshape(n, lines.shape[1])
            self._lines = room
        self._lines[n : n + len(lines)] = lines
        self._n_lines = n + len(lines)

    def _layout(self, lines: FloatArray) -> CacheLayout:
        """What `CacheLayout.sequences` reads, of some lines."""
        columns = np.split(lines[:, NUMBERS:], 5 if self._has_shares else 4, axis=1)
        nothing = np.zeros(0)
        return CacheLayout(
            block_bytes=columns[0],
            block_tokens=columns[1],
            cap_tokens=columns[2],
            extra_blocks=columns[3],
            pool_share=columns[4] if self._has_shares else None,
            token_bytes=nothing,
            token_step=nothing,
            state_bytes=nothing,
            unit_bytes=nothing,
        )


def _lines(memory: ReplicaMemory) -> FloatArray:
    """[m, …] one for each replica."""
    layout = memory.layout
    reason = np.where(np.isin(memory.reason, OF_LENGTH), 0, memory.reason)
    numbers = np.stack([memory.kv_cache_gib, memory.margin_gib, memory.activation_gib, reason], axis=1)
    shares = [] if layout.pool_share is None else [layout.pool_share]
    cache = [layout.block_bytes, layout.block_tokens, layout.cap_tokens, layout.extra_blocks, *shares]
    return np.concatenate([numbers, *cache], axis=1)


def holds_at_every_length(configurations: Configurations) -> BoolArray:
    """[n] whether the pipeline stage that limits a replica is the same at every length of requests.

    It is where all layers cache alike. Of layers with a window and layers without, the latter count more the longer
    the requests are; so which stage limits depends on these, unless there is only one.
    """
    alike = len(parts_of(loaded(configurations).model).classes) <= 1
    holds: BoolArray = np.logical_or(alike, configurations.pp == 1)
    return holds
