"""Formats that another of the same speed beats whatever is sent: fewer bytes to read and to hold, the same arithmetic.

Between two formats that an engine computes alike, with the same constants, a step takes no longer and the cache holds
no less in the one with fewer bytes; so its rate is at least as high and its latencies as low at every batch and every
mix of requests. That is true before a request is known, and most formats go by it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optimizer.candidates.physics import Physics
from optimizer.memory import REASONS, ReplicaMemory, replica_memory
from optimizer.serving_config import BoolArray, Configurations, FloatArray, IntArray, sequences_per_rank

OF_LENGTH = tuple(REASONS.index(key) for key in ("", "context_limit", "context", "slots", "margin"))
"""Reasons, or none, that depend on the length of requests."""
ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Facts:
    """Of n configurations what must be equal and what must not be more for one to beat another."""

    equal: FloatArray  # [n, …]
    no_more: FloatArray  # [n, …]

    def take(self, rows: IntArray) -> Facts:
        """The chosen rows, in that order."""
        return Facts(self.equal[rows], self.no_more[rows])


def worth_rating(c: Configurations, facts: Facts, *, mix: bool) -> IntArray:
    """The configurations [rows] that remain, in their order.

    Where formats may mix, one goes when another on the same card and degrees beats it. Else it must be beaten by one of
    its own weight format (and another type of cache), or its whole format by configurations of one other format.
    """
    cell = np.stack([c.gpu, c.tp, c.pp, c.dp, c.ep])
    _, of = np.unique(cell, axis=1, return_inverse=True)
    order = np.argsort(of.ravel(), kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(of.ravel()[order])) + 1)
    keep = np.zeros(len(c), bool)
    replaced = np.ones((len(c.weight_formats),) * 2, bool)  # [format, by other]
    for here in groups:
        beats = _beats(facts, here)  # [k, j] j beats k
        own = np.equal.outer(c.weight_format[here], c.weight_format[here])
        counted: BoolArray = np.logical_and(beats, np.logical_or(own, mix))
        keep[here] = ~counted.any(axis=1)
        by = np.zeros((len(here), len(c.weight_formats)), bool)  # [k, other]
        np.logical_or.at(by.T, c.weight_format[here], (beats | np.eye(len(here), dtype=bool)).T)
        np.logical_and.at(replaced, c.weight_format[here], by)
    if not mix:
        present = np.bincount(c.weight_format, minlength=len(replaced)) > 0
        earlier = np.arange(len(replaced))[None, :] < np.arange(len(replaced))[:, None]
        others = ~np.eye(len(replaced), dtype=bool) & present[None, :]
        gone = np.asarray((replaced & others & (~replaced.T | earlier)).any(axis=1), bool)
        keep &= ~gone[c.weight_format]
    return np.flatnonzero(keep)


def facts_of(physics: Physics, max_model_len: int) -> Facts:
    """What decides between configurations, at about that length of requests.

    Between the smallest and the largest batch the memory of two formats differs by no more than at one of these: what
    depends on the batch is the same for both, or a maximum with it. Which pipeline stage limits may change with the
    length; so the weights of each must not be more.
    """
    bench, constants, c = physics.bench, physics.constants, physics.configurations
    ends = [
        replica_memory(
            c,
            max_model_len=max_model_len,
            max_num_seqs=sequences_per_rank(np.full(len(c), int(size)), c.dp),
            gpu_memory_utilization=physics.defaults.most_fraction,
            with_margin=True,
            basis=physics.basis,
        )
        for size in (physics.sizes[0], physics.sizes[-1])
    ]
    n = len(c)
    same = [bench.dense_compute_ms, bench.expert_compute_ms]
    same += [np.broadcast_to(value, n) for value in constants.columns()]
    less = [bench.dense_read_ms, bench.expert_read_ms, bench.kv_bytes_per_value, *physics.basis.weights_gib.T]
    less += physics.model.columns()
    for memory in ends:
        same += _columns(memory)
        less += list(memory.layout.block_bytes.T)
        less += [-memory.kv_cache_gib, memory.margin_gib - memory.kv_cache_gib]
        less.append(np.where(np.isin(memory.reason, OF_LENGTH), 0.0, 1.0))
    return Facts(np.stack(same, axis=1), np.stack(less, axis=1))


def _columns(memory: ReplicaMemory) -> list[FloatArray]:
    layout = memory.layout
    columns = [*layout.block_tokens.T, *layout.cap_tokens.T, *layout.extra_blocks.T]
    return columns if layout.pool_share is None else [*columns, *layout.pool_share.T]


def _beats(facts: Facts, here: IntArray) -> BoolArray:
    """[k, j] whether j beats k; of equals the first does."""
    same, less = (
        columns[:, (columns != columns[0]).any(axis=0)] for columns in (facts.equal[here], facts.no_more[here])
    )
    # Written so that two infinities are equal.
    low, high = np.minimum(same[:, None], same[None, :]), np.maximum(same[:, None], same[None, :])
    equal = high <= low + ROUNDING * np.abs(low)
    no_more = less[None, :] <= less[:, None] + ROUNDING * np.abs(less[:, None])
    covers: BoolArray = np.logical_and(equal.all(axis=2), no_more.all(axis=2))
    n = len(here)
    first = np.arange(n)[None, :] < np.arange(n)[:, None]
    beats: BoolArray = np.logical_and(covers & ~np.eye(n, dtype=bool), ~covers.T | first)
    return beats
