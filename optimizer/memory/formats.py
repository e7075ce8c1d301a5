"""Which formats take no more memory than others, wherever both run: known before any batch, length or flag is.

What an engine takes depends on the format of the weights by these and by what it says is beside them, and on the type
of the cache by its blocks alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from optimizer.memory.cache import cache_layout
from optimizer.memory.engines import engine_memory
from optimizer.memory.estimate import job_of, rules_of, weights_gib
from optimizer.memory.extras import loaded
from optimizer.memory.job import every_stage
from optimizer.memory.lawful import alignment_multiples
from optimizer.memory.weights import card_kinds
from optimizer.serving_config import BoolArray, Configurations, FloatArray, IntArray

ROUNDING = 1e-12


def weights_no_larger(degrees: Configurations) -> BoolArray:
    """[cards, W, W'] whether a replica in format W' leaves no less room than in W, and starts where that does.

    `degrees` are configurations of which only tp, pp, dp and ep count; it is true for each of them.
    """
    rules, n = rules_of(degrees), len(degrees.weight_formats)
    engine, (card, kind) = engine_memory(rules), _kinds_of_cards(degrees)
    job = job_of(loaded(_crossed(degrees, card, "weight_format", n)))
    multiple = alignment_multiples(job.model, job.weight_formats, rules)
    aligned = (multiple == 0) | ((multiple > 0)[:, None] & (multiple[:, None] % np.maximum(multiple, 1) == 0))
    no_larger = _no_more(weights_gib(job, engine).reshape(len(card), n, -1)) & _no_more(engine.beside_weights(job))
    return np.asarray(no_larger & aligned, bool)[kind]


def caches_no_larger(degrees: Configurations) -> BoolArray:
    """[cards, K, K'] whether a cache of type K' is laid out as one of K with blocks that are no larger; likewise."""
    rules, n = rules_of(degrees), len(degrees.kv_formats)
    card, kind = _kinds_of_cards(degrees)
    job = job_of(loaded(_crossed(degrees, card, "kv_format", n)))
    column, row, stages = every_stage(job)
    layout = cache_layout(job.take(row), stages, rules.cache).take(np.lexsort((column, row)))
    shape = [layout.block_tokens, layout.cap_tokens, layout.extra_blocks]
    shape += [] if layout.pool_share is None else [layout.pool_share]
    sizes = [layout.block_bytes, layout.unit_bytes[:, None]]
    same, less = (_no_more(np.hstack(columns).reshape(len(card), n, -1)) for columns in (shape, sizes))
    return (less & same & same.swapaxes(1, 2))[kind]


def _kinds_of_cards(c: Configurations) -> tuple[IntArray, IntArray]:
    """[kinds] a card of each kind that stores alike, and [cards] the kind of each."""
    kinds = card_kinds(c.gpus, loaded(c).model, rules_of(c))
    _, first, kind = np.unique(kinds, return_index=True, return_inverse=True)
    return first, kind


def _crossed(degrees: Configurations, card: IntArray, column: str, n: int) -> Configurations:
    """Every degree with each of `n` values of a column on each card, cards slowest."""
    g, value, d = (index.ravel() for index in np.indices((len(card), n, len(degrees))))
    zero = np.zeros_like(d)
    rows = replace(degrees.take(d), gpu=card[g], weight_format=zero, kv_format=zero)
    return replace(rows, **{column: value})


def _no_more(values: FloatArray) -> BoolArray:
    """[…, n, n'] whether no value [n', m] is larger than that of n; infinite ones are equal."""
    mine, others = values[..., :, None, :], values[..., None, :, :]
    no_more = others <= mine + ROUNDING * np.abs(np.where(np.isfinite(mine), mine, 0.0))
    return np.asarray(no_more.all(axis=-1), bool)
