"""Which configurations an engine accepts at all, before any memory is counted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catalog.schema import Model, WeightFormat
from catalog.schema.drafted import DraftedModel
from catalog.schema.engine import EngineRules
from catalog.schema.model import GatedDeltaNet, Mamba1
from optimizer.memory.identity import ByIdentity
from optimizer.memory.job import Job
from optimizer.memory.reasons import INDEX
from optimizer.memory.weights import effective_format, padded_vocabulary
from optimizer.serving_config import BoolArray, Configurations, IntArray, of_cards


def law_reason(configurations: Configurations, job: Job, rules: EngineRules) -> NDArray[np.int8]:
    """[n] index into REASONS of the first law a configuration breaks, whatever the flags; 0 = none."""
    checks = (
        ("format", _format_unsupported(configurations)),
        ("kv_format", _kv_format_unsupported(configurations)),
        ("layers", job.pp > len(job.parts.architecture.layers)),
        ("heads", _query_heads_do_not_divide(job)),
        ("vocabulary", padded_vocabulary(job.model, rules) % job.tp != 0),
        ("heads", _cached_heads_do_not_divide(job)),  # found when layers are built, which is after the embedding
        ("width", (job.parts.dense_width % job.tp != 0) & (job.tp > 1)),
        ("experts", _experts_do_not_divide(job)),
        ("alignment", _breaks_alignment(job, rules)),
        ("adapters", _spreads_adapters(job, rules)),
    )
    reason = np.zeros(len(job.tp), np.int8)
    for key, broken in reversed(checks):
        reason[broken] = INDEX[key]
    return reason


_FORMATS, _KV_FORMATS = ByIdentity[BoolArray](), ByIdentity[BoolArray]()


def _format_unsupported(configurations: Configurations) -> BoolArray:
    c, engine = configurations, configurations.engine.id
    table = _FORMATS.get(
        (c.engine, *c.weight_formats, *c.gpus),
        lambda: np.array(of_cards(c.gpus, lambda g: [f.compute_dtype(engine, g) is None for f in c.weight_formats])),
    )
    return table[c.gpu, c.weight_format]


def _kv_format_unsupported(configurations: Configurations) -> BoolArray:
    c, engine = configurations, configurations.engine.id
    table = _KV_FORMATS.get(
        (c.engine, *c.kv_formats, *c.gpus),
        lambda: np.array(of_cards(c.gpus, lambda g: [not f.supported_on(engine, g) for f in c.kv_formats])),
    )
    return table[c.gpu, c.kv_format]


def _query_heads_do_not_divide(job: Job) -> BoolArray:
    broken: BoolArray = job.parts.architecture.n_heads % job.tp != 0
    return broken | (job.model.drafter.heads % job.tp != 0) if isinstance(job.model, DraftedModel) else broken


def _cached_heads_do_not_divide(job: Job) -> BoolArray:
    broken = np.zeros(len(job.tp), np.bool_)
    for kv_heads in _kv_head_counts(job):
        broken |= (kv_heads % job.tp != 0) & (job.tp % kv_heads != 0)
    for heads in _recurrent_heads(job):
        broken |= heads % job.tp != 0
    return broken


def _kv_head_counts(job: Job) -> set[int]:
    return {layer.cache.kv_heads for layer in set(job.parts.architecture.layers) if layer.cache.kv_heads}


def _recurrent_heads(job: Job) -> tuple[int, ...]:
    part = job.model.recurrent
    if part is None or isinstance(part, Mamba1):
        return ()
    return (part.key_heads, part.value_heads) if isinstance(part, GatedDeltaNet) else (part.heads,)


def _slices_per_expert(job: Job) -> IntArray:
    return job.tp * job.dp // np.maximum(job.ep, 1)


def _experts_do_not_divide(job: Job) -> BoolArray:
    moe, ranks = job.model.moe, job.tp * job.dp
    if moe is None:
        return job.ep > 1
    slices = np.maximum(_slices_per_expert(job), 1)
    uneven = (moe.experts % job.ep != 0) | (ranks % job.ep != 0)
    broken: BoolArray = (job.ep > ranks) | uneven | (moe.intermediate_size % slices != 0)
    return broken


def _spreads_adapters(job: Job, rules: EngineRules) -> BoolArray:
    """Whatever an adapter changes: the slots on experts are made with the layers."""
    if not job.max_loras or job.model.moe is None or rules.adapters_on_spread_experts == "yes":
        return np.zeros(len(job.tp), np.bool_)
    refused: BoolArray = job.ep > 1
    return refused if rules.adapters_on_spread_experts == "no" else refused & (job.tp > 1) & (job.dp > 1)


def alignment_multiples(model: Model, weight_formats: tuple[WeightFormat, ...], rules: EngineRules) -> IntArray:
    """[formats] of what the width of a shard must be a multiple; 0 = of nothing."""
    return np.array([rules.law.alignment.get(effective_format(model, fmt), 0) for fmt in weight_formats], np.int64)


def _breaks_alignment(job: Job, rules: EngineRules) -> BoolArray:
    multiple = alignment_multiples(job.model, job.weight_formats, rules)[job.weight_format]
    whole = np.maximum(multiple, 1)
    misfit = np.zeros(len(job.tp), np.bool_)
    if job.model.mlp is not None:
        misfit |= (job.model.mlp.intermediate_size / job.tp) % whole != 0
    if job.model.moe is not None:
        misfit |= (job.model.moe.intermediate_size / np.maximum(_slices_per_expert(job), 1)) % whole != 0
    broken: BoolArray = misfit & (multiple > 0) & (job.tp * job.dp > 1)
    return broken
