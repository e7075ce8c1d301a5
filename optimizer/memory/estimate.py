"""Memory of replicas: laws first, then every stage by the engine's arithmetic, then the rank that limits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from catalog.errors import InputError
from catalog.schema.engine import Rules
from catalog.units import GIB
from optimizer.memory.engines import engine_memory
from optimizer.memory.extras import loaded
from optimizer.memory.job import (
    ROCM_VENDOR,
    EngineMemory,
    Job,
    Request,
    Settings,
    Sized,
    stages_at,
)
from optimizer.memory.lawful import law_reason
from optimizer.memory.limits import Limits, limits_of, limits_of_spans
from optimizer.memory.reasons import INDEX
from optimizer.memory.result import ReplicaMemory
from optimizer.memory.stages import Stage, parts_of, stages_of_spans
from optimizer.memory.weights import bits_by_role, card_kinds
from optimizer.serving_config import BoolArray, Configurations, FloatArray, IntArray

ROUNDING = 1e-9


def replica_memory(
    configurations: Configurations,
    *,
    max_model_len: IntArray | int | None,
    max_num_seqs: IntArray | int | None = None,
    max_num_batched_tokens: IntArray | int | None = None,
    gpu_memory_utilization: FloatArray | float | None = None,
    gpu_memory_gib: float | None = None,
    enforce_eager: bool = False,
    max_loras: int = 0,
    lora_rank: int = 16,
    with_margin: bool = False,
    basis: Basis | None = None,
    spans: IntArray | None = None,
) -> ReplicaMemory:
    """Memory of n replicas of one model on one engine; None = the engine version's own default.

    `max_model_len` None is the model's maximum. `gpu_memory_utilization` is the engine's own fraction whatever it calls
    it (mem_fraction_static, free_gpu_memory_fraction) and never carries over between engines. `gpu_memory_gib`
    overrides the visible memory of every card. `max_loras` adapters of `lora_rank` are held at once. `with_margin` lets
    only that fit which fits even where the prediction is off by its margin, as a plan must (the reason: "margin"), and
    asks for no more memory than the engine's default or what leaves a reserve free ("reserve"). `basis` saves time
    where the same configurations are asked about again; it knows of no adapters. With `spans` [n, 2] each row is but
    one pipeline stage, of these layers, both included.
    """
    configurations = loaded(configurations)
    rules = rules_of(configurations)
    engine = engine_memory(rules)
    request = _request(
        configurations, max_model_len, max_num_seqs, max_num_batched_tokens, gpu_memory_utilization, gpu_memory_gib
    )
    settings = engine.settings(request)
    job = _job(request, settings, enforce_eager, max_loras, lora_rank)
    basis = _basis(configurations, job, engine, rules, spans) if basis is None else basis
    if spans is None:
        limits = limits_of(job, engine, rules, basis.weights_gib)
    else:
        limits = limits_of_spans(job, engine, rules, basis.weights_gib[:, 0], spans)
    most = None
    if with_margin:
        asked = request.utilization_fraction is not None
        default = engine.settings(replace(request, utilization_fraction=None)) if asked else settings
        most = engine.most_fraction(replace(job, utilization_fraction=default.utilization_fraction))
    n = len(configurations)
    least = job.max_num_seqs.astype(np.float64) if engine.takes_whole_contexts else np.ones(n)
    return _answer(job, limits, basis.law, least, most)


@dataclass(frozen=True, slots=True)
class Basis:
    """What no flag changes of the memory of n configurations."""

    law: NDArray[np.int8]  # [n] index into REASONS of the first law broken; 0 = none
    weights_gib: FloatArray  # [n, S] on a rank of each stage that may limit the replica; 0 beyond the last

    def take(self, rows: IntArray) -> Basis:
        """The chosen rows, in that order."""
        return Basis(self.law[rows], self.weights_gib[rows])


def memory_basis(configurations: Configurations, spans: IntArray | None = None) -> Basis:
    """What `replica_memory` finds of n configurations, or stages of `spans` [n, 2], at any flags, without adapters."""
    configurations = loaded(configurations)
    rules = rules_of(configurations)
    return _basis(configurations, job_of(configurations), engine_memory(rules), rules, spans)


def job_of(configurations: Configurations) -> Job:
    """The job of configurations that are loaded already, at default flags."""
    request = _request(configurations, None, None, None, None, None)
    return _job(request, engine_memory(rules_of(configurations)).settings(request), False, 0, 0)


def _basis(
    configurations: Configurations, job: Job, engine: EngineMemory, rules: Rules, spans: IntArray | None
) -> Basis:
    law = law_reason(configurations, job, rules)
    if spans is None:
        _, first, alike = np.unique(_weight_kinds(configurations, rules), return_index=True, return_inverse=True)
        return Basis(law, weights_gib(job.take(first), engine)[alike])
    held = np.zeros((len(job.pp), 1))
    for stage, rows in _rows_of_stages(job, spans):
        held[rows, 0] = engine.weights_gib(job.take(rows), stage)
    return Basis(law, held)


def weights_gib(job: Job, engine: EngineMemory) -> FloatArray:
    """[n, S] on a rank of each stage that may limit the replica; 0 beyond the last."""
    stages = {int(depth): stages_at(job, int(depth)) for depth in np.unique(job.pp)}
    held = np.zeros((len(job.pp), max(map(len, stages.values()), default=1)))
    for depth, of_depth in stages.items():
        rows = np.flatnonzero(job.pp == depth)
        some = job.take(rows)
        for column, stage in enumerate(of_depth):
            held[rows, column] = engine.weights_gib(some, stage)
    return held


def _weight_kinds(c: Configurations, rules: Rules) -> IntArray:
    """[n] numbers that are the same where ranks hold the same weights."""
    card = card_kinds(c.gpus, c.model, rules)[c.gpu]
    columns = (card, c.weight_format, c.tp, c.pp, c.dp, c.ep)
    kinds: IntArray = np.ravel_multi_index(columns, [1 + int(column.max(initial=0)) for column in columns])
    return kinds


@dataclass(frozen=True, slots=True)
class FlagDefaults:
    """What an engine does when nothing is said, and how much memory it may be told to use; arrays [n]."""

    max_num_batched_tokens: IntArray
    utilization_fraction: FloatArray
    most_fraction: FloatArray
    """Below the default where that does not start."""

    def take(self, rows: IntArray) -> FlagDefaults:
        """The chosen rows, in that order."""
        return FlagDefaults(
            self.max_num_batched_tokens[rows], self.utilization_fraction[rows], self.most_fraction[rows]
        )


def flag_defaults(configurations: Configurations, *, max_num_seqs: IntArray) -> FlagDefaults:
    """The defaults of n replicas of at most `max_num_seqs` [n] sequences a rank, at the model's longest context."""
    configurations = loaded(configurations)
    engine = engine_memory(rules_of(configurations))
    request = _request(configurations, None, max_num_seqs, None, None, None)
    settings = engine.settings(request)
    most = engine.most_fraction(_job(request, settings, False, 0, 0))
    return FlagDefaults(settings.max_num_batched_tokens, settings.utilization_fraction, most)


def _request(
    configurations: Configurations,
    max_model_len: IntArray | int | None,
    max_num_seqs: IntArray | int | None,
    max_num_batched_tokens: IntArray | int | None,
    utilization_fraction: FloatArray | float | None,
    gpu_memory_gib: float | None,
) -> Request:
    n = len(configurations)
    asked = configurations.model.max_context_tokens if max_model_len is None else max_model_len
    length = np.broadcast_to(np.asarray(asked, np.int64), (n,))
    visible = [gpu.visible_memory_gib if gpu_memory_gib is None else gpu_memory_gib for gpu in configurations.gpus]
    sequences, tokens = _spread(max_num_seqs, n), _spread(max_num_batched_tokens, n)
    return Request(configurations, visible, length, sequences, tokens, utilization_fraction)


def _job(request: Request, settings: Settings, enforce_eager: bool, max_loras: int, lora_rank: int) -> Job:
    configurations, visible = request.configurations, request.visible_gib
    return Job(
        model=configurations.model,
        parts=parts_of(configurations.model),
        weight_formats=configurations.weight_formats,
        kv_formats=configurations.kv_formats,
        bits=bits_by_role(configurations.model, configurations.weight_formats),
        weight_format=configurations.weight_format,
        kv_format=configurations.kv_format,
        tp=configurations.tp,
        pp=configurations.pp,
        dp=configurations.dp,
        ep=configurations.ep,
        visible_gib=np.array(visible)[configurations.gpu],
        fast_link=_fast_link(configurations),
        max_model_len=request.max_model_len,
        max_num_seqs=settings.max_num_seqs,
        max_num_batched_tokens=settings.max_num_batched_tokens,
        utilization_fraction=settings.utilization_fraction,
        enforce_eager=enforce_eager,
        unified=np.array([gpu.unified_memory for gpu in configurations.gpus])[configurations.gpu],
        rocm=np.array([gpu.vendor == ROCM_VENDOR for gpu in configurations.gpus])[configurations.gpu],
        cuda_capability=np.array([gpu.cuda_capability or np.inf for gpu in configurations.gpus])[configurations.gpu],
        max_loras=max_loras,
        lora_rank=lora_rank,
    )


def takes_whole_contexts(configurations: Configurations) -> bool:
    """Whether the engine takes the cache of max_num_seqs requests of max_model_len at start."""
    return engine_memory(rules_of(configurations)).takes_whole_contexts


def rules_of(configurations: Configurations) -> Rules:
    """The engine's rules in that version; InputError where there is no such version."""
    engine = configurations.engine
    try:
        return engine.at(configurations.engine_version).memory
    except ValueError:
        first, last = engine.versions[0].since, engine.versions[-1].since
        raise InputError(
            f"engine version {configurations.engine_version!r} is not a release such as 0.19.0; {engine.name} is "
            f"described from {first} on; leave it out for the newest rules, those since {last}"
        ) from None


def _rows_of_stages(job: Job, spans: IntArray) -> Iterator[tuple[Stage, IntArray]]:
    """The distinct stages among spans of layers [n, 2], and the rows of each."""
    stages, which = stages_of_spans(job.model, spans)
    order = np.argsort(which, kind="stable")
    return zip(stages, np.split(order, np.flatnonzero(np.diff(which[order])) + 1), strict=True)


def _answer(
    job: Job, limits: Limits, law: NDArray[np.int8], least: FloatArray, most_of_memory: FloatArray | None
) -> ReplicaMemory:
    """Of a sized job.

    `least` [n] requests of max_model_len must fit for the engine to start; `most_of_memory` [n] is the largest fraction
    that a plan asks for, None where none is made.
    """
    sized, requests = limits.sized, limits.requests
    too_long = np.where(job.max_model_len > job.model.max_context_tokens, INDEX["context_limit"], sized.reason)
    reason = np.where(law != 0, law, too_long)
    reason = np.where((reason == 0) & (sized.kv_cache_gib <= 0), INDEX["memory"], reason)
    reason = np.where((reason == 0) & (requests < 1.0), INDEX["context"], reason)
    reason = np.where((reason == 0) & (requests < least), INDEX["slots"], reason).astype(np.int8)
    fits_with_margin = (reason == 0) & (limits.requests_at_worst >= least)
    if most_of_memory is not None:
        reason[(reason == 0) & ~fits_with_margin] = INDEX["margin"]
        reason[(reason == 0) & (job.utilization_fraction > most_of_memory + ROUNDING)] = INDEX["reserve"]
    layout, in_pieces = sized.layout, _in_whole_pieces(sized)
    requests = np.where((reason != 0) & np.isinf(requests), 0.0, requests)  # a stage may have no layer that caches
    with np.errstate(divide="ignore", invalid="ignore"):
        tokens = np.maximum(sized.kv_cache_gib, 0.0) * in_pieces * GIB / layout.token_bytes
    tokens = np.where(layout.token_bytes > 0, tokens, requests * job.max_model_len)
    tokens = np.where(np.isfinite(tokens), tokens, 0.0)
    return ReplicaMemory(
        budget_gib=sized.budget_gib,
        weights_gib=sized.weights_gib,
        activation_gib=sized.activation_gib,
        non_torch_gib=sized.non_torch_gib,
        cuda_graph_gib=sized.cuda_graph_gib,
        kv_cache_gib=sized.kv_cache_gib,
        margin_gib=limits.margin_gib,
        plus_minus_gib=limits.plus_minus_gib,
        kv_bytes_per_token=layout.token_bytes,
        kv_cache_tokens=(np.floor(tokens / layout.token_step) * layout.token_step * job.dp).astype(np.int64),
        state_bytes_per_sequence=layout.state_bytes,
        max_num_seqs=job.max_num_seqs,
        max_num_batched_tokens=job.max_num_batched_tokens,
        utilization_fraction=job.utilization_fraction,
        max_concurrency=requests * in_pieces * job.dp,
        fits=reason == 0,
        reason=reason,
        fits_with_margin=fits_with_margin,
        dp=job.dp,
        layout=limits.layout,
    )


def _in_whole_pieces(sized: Sized) -> FloatArray:
    """[n] part of one pool that is whole pieces, which large pages of states leave a rest of."""
    pool, unit = np.maximum(sized.kv_cache_gib, 0.0) * GIB, sized.layout.unit_bytes
    if sized.layout.pool_share is not None:
        return np.ones(len(pool))
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.floor(pool / unit + ROUNDING) * unit / pool
    return np.where((unit > 0.0) & (pool > 0.0), part, 1.0)


def _fast_link(configurations: Configurations) -> BoolArray:
    """[n] the card has a link of its own, and it joins all tensor-parallel ranks."""
    linked: BoolArray = configurations.tp <= configurations.fast_link_gpus
    return linked


def _spread(value: IntArray | int | None, n: int) -> IntArray | None:
    return None if value is None else np.broadcast_to(np.asarray(value, np.int64), (n,))
