"""Everything a plan shows of one replica, from the same functions that rated it as a candidate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from catalog import Catalog
from catalog.schema import Calibration, Engine
from catalog.schema.engine import version_key
from optimizer.candidates.batch import token_mix
from optimizer.candidates.enumerate import quality_fraction
from optimizer.candidates.spec import ReplicaSpec
from optimizer.layout import GroupMemory
from optimizer.memory import ReplicaMemory, flag_defaults, replica_memory
from optimizer.performance import Latency, RatedReplicas, Statistic, TokenMix, bands_at, capacity_of, rated_replicas
from optimizer.performance.words import bounded
from optimizer.scenario import Workload
from optimizer.serving_config import BoolArray, Configurations, FloatArray, one_configuration, sequences_per_rank

STATISTICS: tuple[Statistic, ...] = ("mean", "p50", "p90", "p95", "p99")
ROUNDING = 1e-9
"""Relative; of a latency that is just its target."""


@dataclass(frozen=True, slots=True)
class ReplicaFigures:
    """Predicted figures of one replica at its capacity; latencies are those of the worst class it serves."""

    ttft_ms: dict[str, float | None]
    """None, here and below, where nothing bounds it."""
    tpot_ms: dict[str, float | None]
    e2e_ms: dict[str, float | None]
    ttft_interval_ms: tuple[float, float] | None
    tpot_interval_ms: tuple[float, float] | None
    quality_fraction: float
    memory: GroupMemory
    max_num_batched_tokens: int
    gpu_memory_utilization: float
    engine_version: str
    source: str
    extrapolated: tuple[str, ...]


def replica_figures(spec: ReplicaSpec, workload: Workload, catalog: Catalog) -> ReplicaFigures:
    """The figures of a predicted replica serving a workload."""
    one, memory, performance, served = _rated(spec, workload, catalog)
    model, engine = one.model, one.engine
    weights, kv = one.weight_formats[0], one.kv_formats[0]
    mix, batch = token_mix(workload), np.array([spec.max_batch_size], float)
    bands = bands_at(one, batch, catalog.calibration)
    mean_tokens = float(mix.share @ (mix.input_tokens + mix.output_tokens))
    return ReplicaFigures(
        ttft_ms=_worst(performance, "ttft", served),
        tpot_ms=_worst(performance, "tpot", served),
        e2e_ms=_worst(performance, "e2e", served),
        ttft_interval_ms=_interval(bands.ttft, performance.statistic("ttft", "mean"), served),
        tpot_interval_ms=_interval(bands.tpot, performance.statistic("tpot", "mean"), served),
        quality_fraction=quality_fraction(weights, kv, model),
        memory=_group_memory(memory, mean_tokens),
        max_num_batched_tokens=int(memory.max_num_batched_tokens[0]),
        gpu_memory_utilization=float(memory.utilization_fraction[0]),
        engine_version=_version(engine, catalog.calibration),
        source=catalog.calibration.id,
        extrapolated=bands.extrapolated(0),
    )


def replica_rates_rps(spec: ReplicaSpec, workload: Workload, catalog: Catalog) -> FloatArray:
    """[R] what one predicted replica sustains of each class within the targets; 0 where one cannot be held at all."""
    _, _, performance, served = _rated(spec, workload, catalog)
    held = np.array(served)
    for target in workload.planned_targets:
        held &= performance.statistic(target.metric, target.statistic)[0] <= target.limit_ms * (1 + ROUNDING)
    return np.where(held, performance.rate_rps[0], 0.0)


def _rated(
    spec: ReplicaSpec, workload: Workload, catalog: Catalog
) -> tuple[Configurations, ReplicaMemory, RatedReplicas, BoolArray]:
    """The replica with its memory, at the largest rate at which the classes that it serves [R] hold their targets."""
    model, engine = catalog.models[str(spec.model)], catalog.engines[str(spec.engine)]
    weights, kv = catalog.formats[str(spec.weight_dtype)], catalog.kv_formats[str(spec.kv_cache_dtype)]
    degrees = {name: int(getattr(spec, name)) for name in ("tp", "pp", "dp", "ep")}
    one = one_configuration(
        model, engine, None, catalog.gpus[spec.gpu], weights, kv,
        **degrees, links=spec.links, speculation=spec.speculation,
    )  # fmt: skip
    mix = token_mix(workload)
    memory = _memory(one, spec, workload, mix, catalog.calibration)
    batch = np.array([spec.max_batch_size], float)
    served = np.array([not spec.serves or name in spec.serves for name in mix.names])
    performance = rated_replicas(
        one, memory, mix, batch, workload.planned_targets, served[None, :], catalog.calibration
    )
    return one, memory, performance, served


def _memory(
    one: Configurations, spec: ReplicaSpec, workload: Workload, mix: TokenMix, calibration: Calibration
) -> ReplicaMemory:
    """With the engine's own fraction of memory where the batch runs with it, else the most that a plan asks for."""
    sequences = sequences_per_rank(np.array([spec.max_batch_size], np.int64), one.dp)

    def at(fraction: FloatArray | float | None) -> ReplicaMemory:
        return replica_memory(
            one,
            max_model_len=spec.max_model_len,
            max_num_seqs=sequences,
            max_num_batched_tokens=spec.max_num_batched_tokens,
            gpu_memory_utilization=fraction,
            with_margin=True,
        )

    usual = at(workload.gpu_memory_utilization)
    held, _ = capacity_of(one, usual, mix, calibration)
    if workload.gpu_memory_utilization is not None or (usual.fits[0] and held.requests[0] >= spec.max_batch_size):
        return usual
    return at(flag_defaults(one, max_num_seqs=sequences).most_fraction)


def _version(engine: Engine, calibration: Calibration) -> str:
    """First version from which on both memory rules and speed constants are the newest, which the figures are of."""
    changes = [era.before for era in calibration.eras if era.engine == engine.id]
    return max((engine.versions[-1].since, *changes), key=version_key)


def _worst(performance: RatedReplicas, metric: Latency, served: BoolArray) -> dict[str, float | None]:
    """Every statistic of a latency in ms, of the class that fares worst among those served."""
    return {name: bounded(float(performance.statistic(metric, name)[0, served].max())) for name in STATISTICS}


def _interval(band: FloatArray, mean_ms: FloatArray, served: BoolArray) -> tuple[float, float] | None:
    """The 80 % interval of the mean [1, R], from a band [2, 1], of the class that fares worst."""
    worst_ms = bounded(float(mean_ms[0, served].max()))
    if worst_ms is None:
        return None
    low, high = (band[:, 0] * worst_ms).tolist()
    return low, high


def _group_memory(memory: ReplicaMemory, mean_tokens: float) -> GroupMemory:
    return GroupMemory(
        budget_gib=float(memory.budget_gib[0]),
        weights_gib=float(memory.weights_gib[0]),
        activation_gib=float(memory.activation_gib[0]),
        non_torch_gib=float(memory.non_torch_gib[0]),
        cuda_graph_gib=float(memory.cuda_graph_gib[0]),
        kv_cache_gib=float(memory.kv_cache_gib[0]),
        margin_gib=float(memory.margin_gib[0]),
        kv_cache_tokens=int(memory.kv_cache_tokens[0]),
        kv_bytes_per_token=float(memory.kv_bytes_per_token[0]),
        max_concurrency=float(memory.max_concurrency[0]),
        typical_concurrency=float(memory.concurrency(mean_tokens)[0]),
    )
