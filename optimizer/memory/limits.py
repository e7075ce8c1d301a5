"""Of the pipeline stages of a replica the one that limits it, and what all of them hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from catalog.schema.engine import Rules
from catalog.units import GIB
from optimizer.memory.job import CacheLayout, EngineMemory, Job, Sized, every_stage
from optimizer.memory.stages import StageRows, stages_of_spans
from optimizer.memory.uncertainty import margin_gib, plus_minus_gib
from optimizer.serving_config import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Limits:
    """Of n replicas the rank that holds the fewest requests of max_model_len."""

    sized: Sized
    plus_minus_gib: Mapping[str, FloatArray]
    """Part -> [n] by which it may be off."""
    margin_gib: FloatArray  # [n] by which its KV cache may be
    requests: FloatArray  # [n] of max_model_len that one attention rank holds
    requests_at_worst: FloatArray  # [n] when its KV cache, or that of another stage that may limit, is at its least
    layout: CacheLayout
    """By which as many sequences of any length fit in its KV cache as on all of the stages."""


def limits_of(job: Job, engine: EngineMemory, rules: Rules, weights_gib: FloatArray) -> Limits:
    """Every stage that may limit sized, with weights [n, S]."""
    column, row, stages = every_stage(job)
    if len(row) == len(job.pp):
        return _of_one_stage(job, engine, rules, weights_gib[:, 0], stages)
    every = _of_one_stage(job.take(row), engine, rules, weights_gib[row, column], stages)
    limiting = _limiting(every.sized, every.requests, column, row)
    sized, at_worst = every.sized.take(limiting), every.requests_at_worst[limiting]
    layout = sized.layout
    if len(job.parts.classes) > 1:  # else the stage that holds the fewest requests of one length does at every length
        layout = _on_all(every.sized, limiting, column, row)
        np.minimum.at(at_worst, row, every.requests_at_worst)
    return Limits(
        sized,
        {part: by_gib[limiting] for part, by_gib in every.plus_minus_gib.items()},
        every.margin_gib[limiting],
        every.requests[limiting],
        at_worst,
        layout,
    )


def limits_of_spans(job: Job, engine: EngineMemory, rules: Rules, weights_gib: FloatArray, spans: IntArray) -> Limits:
    """Every row by itself, as the stage of its span of layers [n, 2], with weights [n]."""
    return _of_one_stage(job, engine, rules, weights_gib, StageRows.of(*stages_of_spans(job.model, spans)))


def _of_one_stage(job: Job, engine: EngineMemory, rules: Rules, weights_gib: FloatArray, stages: StageRows) -> Limits:
    sized = engine.size(job, stages, weights_gib)
    of_parts = plus_minus_gib(rules, job.model, sized)
    margin = margin_gib(of_parts, engine.pool_parts)
    layout, used = sized.layout, sized.layout.used_bytes(job.max_model_len.astype(np.float64))
    requests, at_worst = (layout.holding(gib * GIB, used) for gib in (sized.kv_cache_gib, sized.kv_cache_gib - margin))
    return Limits(sized, of_parts, margin, requests, at_worst, layout)


def _limiting(sized: Sized, requests: FloatArray, column: IntArray, row: IntArray) -> IntArray:
    """[n] of stages sized one column of all replicas after the other, the one that limits its replica."""
    ends = np.flatnonzero(np.diff(column)) + 1
    limiting, *later = np.split(np.arange(len(column)), ends)
    for those in later:
        now = limiting[row[those]]
        smaller, runs = sized.kv_cache_gib[those] < sized.kv_cache_gib[now], sized.reason[those] == 0
        fewer = (requests[those] < requests[now]) | ((requests[those] == requests[now]) & smaller)
        worse = np.where(sized.reason[now] == 0, fewer | ~runs, smaller & ~runs)
        limiting[row[those]] = np.where(worse, those, now)
    return limiting


def _on_all(sized: Sized, limiting: IntArray, column: IntArray, row: IntArray) -> CacheLayout:
    """The layout of replicas whose stages have a pool each, in parts of that of the limiting one [n]."""
    layout, pool = sized.layout, np.maximum(sized.kv_cache_gib, 0.0)
    at = np.tile(limiting[:, None], (1, int(column.max()) + 1))  # [n, stages] the limiting one again beyond the last
    at[row, column] = np.arange(len(row))
    own = np.ones((len(pool), 1)) if layout.pool_share is None else layout.pool_share
    least = pool[limiting][:, None]
    share = np.divide(pool[at], least, out=np.ones(at.shape), where=least > 0.0)
    per_class = (layout.block_bytes, layout.block_tokens, layout.cap_tokens, layout.extra_blocks)
    block_bytes, block_tokens, cap_tokens, extra_blocks = (values[at].reshape(len(at), -1) for values in per_class)
    return replace(
        layout.take(limiting),
        block_bytes=block_bytes,
        block_tokens=block_tokens,
        cap_tokens=cap_tokens,
        extra_blocks=extra_blocks,
        pool_share=(share[..., None] * own[at]).reshape(len(at), -1),
    )
