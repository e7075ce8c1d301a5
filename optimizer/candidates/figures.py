"""Everything a plan shows of one replica, from the same functions that rated it as a candidate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalog import Catalog
from catalog.schema import Calibration, Engine, Model
from catalog.schema.versions import version_key
from optimizer.candidates.asked import token_mix
from optimizer.candidates.enumerate import quality_fraction
from optimizer.candidates.pipelines.rows import least_fractions, stage_rows
from optimizer.candidates.spec import ReplicaSpec
from optimizer.layout import GroupMemory
from optimizer.memory import ReplicaMemory, flag_defaults, replica_memory
from optimizer.performance import (
    Latency,
    RatedReplicas,
    Statistic,
    TokenMix,
    bands_at,
    capacity_of,
    largest_load,
    rated_replicas,
    row_targets,
    source_of,
)
from optimizer.performance.pipeline import pipeline_replicas, slowest_stages
from optimizer.performance.words import bounded
from optimizer.scenario import Workload
from optimizer.serving_config import BoolArray, Configurations, FloatArray, IntArray, drafter_of, sequences_per_rank

METRICS: tuple[Latency, ...] = ("ttft", "tpot", "e2e")
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
    of_stages: tuple[GroupMemory, ...] = ()
    """Memory of each stage, where they differ; `memory` is then of the one that holds the fewest requests."""


def replica_figures(asked: Sequence[tuple[ReplicaSpec, Workload]], catalog: Catalog) -> list[ReplicaFigures]:
    """The figures of predicted replicas, each serving a workload; those of one model and engine are found together."""
    alike: dict[tuple[object, ...], list[int]] = {}
    for i, (spec, workload) in enumerate(asked):
        targets = tuple(target.name for target in workload.planned_targets)
        said = (spec.max_num_batched_tokens is not None, workload.gpu_memory_utilization is not None)
        asks = (targets, len(workload.request_classes), workload.arrival_cv)
        key = (spec.model, spec.engine, spec.speculation, bool(spec.stages), *asks, *said)
        alike.setdefault(key, []).append(i)
    figures: dict[int, ReplicaFigures] = {}
    for here in alike.values():
        figures |= zip(here, _figures([asked[i] for i in here], catalog), strict=True)
    return [figures[i] for i in range(len(asked))]


def replica_rates_rps(spec: ReplicaSpec, workload: Workload, catalog: Catalog) -> FloatArray:
    """[R] what one predicted replica sustains of each class within the targets; 0 where one cannot be held at all."""
    rated = _Rated.of([(spec, workload)], catalog)
    row = int(rated.slowest[0])
    held = rated.served[row]
    for target in workload.planned_targets:
        latency_ms = rated.performance.statistic(target.metric, target.statistic)[row]
        held = held & (latency_ms <= target.limit_ms * (1 + ROUNDING))
    return np.where(held, rated.performance.rate_rps[row], 0.0)


@dataclass(frozen=True, slots=True)
class _Rated:
    """Replicas of one model on one engine, at the largest rate at which the classes served hold their targets.

    Each has a row, or where its stages differ one for each of them: it runs at the pace of the slowest, and holds as
    many requests as the fullest.
    """

    configurations: Configurations  # [n]
    mix: TokenMix
    batch: FloatArray  # [n]
    memory: ReplicaMemory
    performance: RatedReplicas
    served: BoolArray  # [n, R]
    slowest: IntArray  # [replicas] a row of each
    fullest: IntArray  # [replicas] likewise
    replica: IntArray  # [n]

    @classmethod
    def of(cls, asked: Sequence[tuple[ReplicaSpec, Workload]], catalog: Catalog) -> _Rated:
        """All say the same flags and draft alike; their workloads have as many classes, like targets and arrivals."""
        if asked[0][0].stages:
            return cls._of_stages(asked, catalog)
        specs, workloads, rows = [spec for spec, _ in asked], [workload for _, workload in asked], np.arange(len(asked))
        configurations = _configurations(specs, catalog)
        mix = TokenMix.of_rows([token_mix(workload) for workload in workloads], rows)
        memory = _memory(configurations, asked, mix, catalog)
        served = np.array([_served(*one) for one in asked])
        batch = np.array([spec.max_batch_size for spec in specs], float)
        targets = row_targets([workload.planned_targets for workload in workloads], rows)
        performance = rated_replicas(configurations, memory, mix, batch, targets, served, catalog.calibration)
        return cls(configurations, mix, batch, memory, performance, served, rows, rows, rows)

    @classmethod
    def _of_stages(cls, asked: Sequence[tuple[ReplicaSpec, Workload]], catalog: Catalog) -> _Rated:
        specs, workloads = [spec for spec, _ in asked], [workload for _, workload in asked]
        rows = stage_rows(specs, catalog)
        configurations, spans, replica = rows
        mix = TokenMix.of_rows([token_mix(workload) for workload in workloads], replica)
        served = np.array([_served(*one) for one in asked])[replica]
        batch = np.array([spec.max_batch_size for spec in specs], np.int64)[replica]
        tokens = np.array([spec.max_num_batched_tokens for spec in specs], np.int64)[replica]
        said = _said([workload.gpu_memory_utilization for workload in workloads])
        memory = replica_memory(
            configurations,
            max_model_len=np.array([spec.max_model_len for spec in specs], np.int64)[replica],
            max_num_seqs=batch,
            max_num_batched_tokens=tokens,
            gpu_memory_utilization=least_fractions(rows, batch) if said is None else said[replica],
            with_margin=True,
            spans=spans,
        )
        places, calibration = batch.astype(np.float64), catalog.calibration
        targets = row_targets([workload.planned_targets for workload in workloads], replica)
        replicas = pipeline_replicas(*rows, tokens, mix, places, calibration)
        performance = RatedReplicas.at(replicas, largest_load(replicas, targets, served))
        slowest = slowest_stages(performance.rate_rps, mix.share, replica)
        fullest = np.lexsort((memory.concurrency(mix.mean_tokens), replica))
        fullest = fullest[np.searchsorted(replica, np.arange(len(asked)))]
        return cls(configurations, mix, places, memory, performance, served, slowest, fullest, replica)


def _served(spec: ReplicaSpec, workload: Workload) -> list[bool]:
    """[R] the classes that a replica serves."""
    return [not spec.serves or one.name in spec.serves for one in workload.request_classes]


def _figures(asked: Sequence[tuple[ReplicaSpec, Workload]], catalog: Catalog) -> Iterator[ReplicaFigures]:
    """Of replicas that are rated together."""
    rated, calibration = _Rated.of(asked, catalog), catalog.calibration
    configurations, memory, performance, served = rated.configurations, rated.memory, rated.performance, rated.served
    bands = bands_at(configurations, rated.batch, calibration)
    worst: dict[Latency, dict[str, list[float | None]]] = {
        metric: {name: _worst(performance.statistic(metric, name), served) for name in STATISTICS} for metric in METRICS
    }
    typical = memory.concurrency(rated.mix.mean_tokens).tolist()
    version = _version(configurations.engine, calibration)
    rows = zip(asked, rated.slowest.tolist(), rated.fullest.tolist(), strict=True)
    for number, ((spec, _), i, fullest) in enumerate(rows):
        ttft_ms, tpot_ms, e2e_ms = ({name: values[i] for name, values in worst[m].items()} for m in METRICS)
        stages = np.flatnonzero(rated.replica == number).tolist() if spec.stages else []
        departures = (name for row in stages or [i] for name in bands.extrapolated(row))
        yield ReplicaFigures(
            ttft_ms=ttft_ms,
            tpot_ms=tpot_ms,
            e2e_ms=e2e_ms,
            ttft_interval_ms=_interval(bands.ttft[:, i], ttft_ms["mean"]),
            tpot_interval_ms=_interval(bands.tpot[:, i], tpot_ms["mean"]),
            quality_fraction=_quality(spec, configurations.model, catalog),
            memory=_group_memory(memory, fullest, typical[fullest]),
            max_num_batched_tokens=int(memory.max_num_batched_tokens[i]),
            gpu_memory_utilization=float(memory.utilization_fraction[i]),
            engine_version=version,
            source=source_of(calibration),
            extrapolated=tuple(dict.fromkeys(departures)),
            of_stages=tuple(_group_memory(memory, row, typical[row]) for row in stages),
        )


def _quality(spec: ReplicaSpec, model: Model, catalog: Catalog) -> float:
    """Of layers in several formats their mean: an estimate, for not every layer loses alike."""
    kv = catalog.kv_formats[str(spec.kv_cache_dtype)]
    if not spec.stages:
        return quality_fraction(catalog.formats[str(spec.weight_dtype)], kv, model)
    layers = [stage.last_layer - stage.first_layer + 1 for stage in spec.stages]
    qualities = [quality_fraction(catalog.formats[stage.weight_dtype], kv, model) for stage in spec.stages]
    return sum(n * quality for n, quality in zip(layers, qualities, strict=True)) / sum(layers)


def _said(flags: Sequence[float | None]) -> NDArray[Any] | None:
    """[n] a flag of each; None where it is left to the engine."""
    return None if None in flags else np.array(flags)


def _configurations(specs: Sequence[ReplicaSpec], catalog: Catalog) -> Configurations:
    places = list(dict.fromkeys((spec.gpu, spec.links) for spec in specs))
    weights = list(dict.fromkeys(str(spec.weight_dtype) for spec in specs))
    caches = list(dict.fromkeys(str(spec.kv_cache_dtype) for spec in specs))
    columns = (
        [places.index((spec.gpu, spec.links)) for spec in specs],
        [weights.index(str(spec.weight_dtype)) for spec in specs],
        [caches.index(str(spec.kv_cache_dtype)) for spec in specs],
        *([getattr(spec, degree) for spec in specs] for degree in ("tp", "pp", "dp", "ep")),
    )
    return Configurations(
        catalog.models[str(specs[0].model)],
        catalog.engines[str(specs[0].engine)],
        None,
        tuple(catalog.gpus[gpu] for gpu, _ in places),
        tuple(catalog.formats[name] for name in weights),
        tuple(catalog.kv_formats[name] for name in caches),
        *(np.array(column, np.int64) for column in columns),
        links=tuple(links for _, links in places),
        speculation=specs[0].speculation,
        drafter=drafter_of(specs[0].speculation, catalog.models),
    )


def _memory(
    configurations: Configurations, asked: Sequence[tuple[ReplicaSpec, Workload]], mix: TokenMix, catalog: Catalog
) -> ReplicaMemory:
    """With the engine's own fraction of memory where the batch runs with it, else the most that a plan asks for."""
    specs = [spec for spec, _ in asked]
    batch = np.array([spec.max_batch_size for spec in specs], np.int64)
    sequences = sequences_per_rank(batch, configurations.dp)

    def at(fraction: FloatArray | None) -> ReplicaMemory:
        return replica_memory(
            configurations,
            max_model_len=np.array([spec.max_model_len for spec in specs], np.int64),
            max_num_seqs=sequences,
            max_num_batched_tokens=_said([spec.max_num_batched_tokens for spec in specs]),
            gpu_memory_utilization=fraction,
            with_margin=True,
        )

    said = _said([workload.gpu_memory_utilization for _, workload in asked])
    usual = at(said)
    held, _ = capacity_of(configurations, usual, mix, catalog.calibration)
    runs = usual.fits & (held.requests >= batch)
    if said is not None or runs.all():
        return usual
    most = flag_defaults(configurations, max_num_seqs=sequences).most_fraction
    return at(np.where(runs, usual.utilization_fraction, most))


def _version(engine: Engine, calibration: Calibration) -> str:
    """First version from which on both memory rules and speed constants are the newest, which the figures are of."""
    changes = [era.before for era in calibration.eras if era.engine == engine.id]
    return max((engine.versions[-1].since, *changes), key=version_key)


def _worst(latency_ms: FloatArray, served: BoolArray) -> list[float | None]:
    """Of each replica the latency [n, R] of the class that fares worst among those served."""
    return [bounded(worst) for worst in np.where(served, latency_ms, -np.inf).max(axis=1).tolist()]


def _interval(band: FloatArray, mean_ms: float | None) -> tuple[float, float] | None:
    """The 80 % interval of a mean, from a band [2]."""
    if mean_ms is None:
        return None
    low, high = (band * mean_ms).tolist()
    return low, high


def _group_memory(memory: ReplicaMemory, row: int, typical_concurrency: float) -> GroupMemory:
    return GroupMemory(
        budget_gib=float(memory.budget_gib[row]),
        weights_gib=float(memory.weights_gib[row]),
        activation_gib=float(memory.activation_gib[row]),
        non_torch_gib=float(memory.non_torch_gib[row]),
        cuda_graph_gib=float(memory.cuda_graph_gib[row]),
        kv_cache_gib=float(memory.kv_cache_gib[row]),
        margin_gib=float(memory.margin_gib[row]),
        kv_cache_tokens=int(memory.kv_cache_tokens[row]),
        kv_bytes_per_token=float(memory.kv_bytes_per_token[row]),
        max_concurrency=float(memory.max_concurrency[row]),
        typical_concurrency=typical_concurrency,
    )
