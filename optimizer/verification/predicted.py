"""Do predicted replicas fit their memory, sustain their rates and hold their latency targets?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from optimizer.layout import GroupMemory, ReplicaGroup
from optimizer.memory import REASONS, SENTENCES, ReplicaMemory, replica_memory
from optimizer.performance import ReplicaPerformance, TokenMix, replica_performance
from optimizer.scenario import Target, Workload
from optimizer.serving_config import Configurations
from optimizer.verification.claims import Claims, agree, exceeds, number
from optimizer.verification.lawful import unknown

LATENCIES = ("ttft", "tpot", "e2e")
STATISTICS = ("mean", "p50", "p90", "p95", "p99")
OTHER_LIMITS = ("memory", "max_batch_size")
"""What may keep a batch from growing, beside a latency target."""


@dataclass(frozen=True, slots=True)
class Row:
    """One replica group computed again: a row of the arrays of its batch."""

    name: str
    group: ReplicaGroup
    workload: Workload
    mix: TokenMix
    memory: ReplicaMemory
    performance: ReplicaPerformance
    row: int


def predicted(claims: Claims) -> Iterator[str]:
    """Memory, rates, latencies and their intervals, computed again from scenario and catalog."""
    for workload, groups in _batches(claims):
        for row in _computed(workload, groups, claims):
            yield from _memory(row)
            yield from _rates(row)
            yield from _latencies(row)
            yield from _words(row, claims.catalog.calibration.id)


def _batches(claims: Claims) -> Iterator[tuple[Workload, list[tuple[str, ReplicaGroup]]]]:
    """Predicted groups that name only what the catalog has; those computed together share workload, model and start."""
    batches: dict[tuple[object, ...], tuple[Workload, list[tuple[str, ReplicaGroup]]]] = {}
    for name, workload, group in claims.groups():
        if workload.measured is None and not unknown(group, claims.catalog):
            key = (id(workload), group.model, group.engine, group.engine_version, group.max_model_len)
            batches.setdefault(key, (workload, []))[1].append((name, group))
    yield from batches.values()


def _computed(workload: Workload, groups: list[tuple[str, ReplicaGroup]], claims: Claims) -> Iterator[Row]:
    """The groups of one model, engine and context of a workload, computed together."""
    first = groups[0][1]
    configurations = _configurations([group for _, group in groups], claims)
    batch = np.array([group.max_batch_size for _, group in groups], np.int64)
    memory = replica_memory(configurations, max_model_len=first.max_model_len, max_num_seqs=batch)
    mix = _mix(workload)
    performance = replica_performance(configurations, memory, mix, batch.astype(float), claims.catalog.calibration)
    for row, (name, group) in enumerate(groups):
        yield Row(name, group, workload, mix, memory, performance, row)


def _configurations(groups: list[ReplicaGroup], claims: Claims) -> Configurations:
    catalog, first = claims.catalog, groups[0]
    gpus = list(dict.fromkeys(group.gpu for group in groups))
    weights = list(dict.fromkeys(str(group.weight_dtype) for group in groups))
    caches = list(dict.fromkeys(str(group.kv_cache_dtype) for group in groups))
    columns = (
        [gpus.index(group.gpu) for group in groups],
        [weights.index(str(group.weight_dtype)) for group in groups],
        [caches.index(str(group.kv_cache_dtype)) for group in groups],
        *([getattr(group, degree) for group in groups] for degree in ("tp", "pp", "dp", "ep")),
    )
    return Configurations(
        catalog.models[str(first.model)],
        catalog.engines[str(first.engine)],
        first.engine_version,
        tuple(catalog.gpus[gpu] for gpu in gpus),
        tuple(catalog.formats[name] for name in weights),
        tuple(catalog.kv_formats[name] for name in caches),
        *(np.array(column, np.int64) for column in columns),
    )


def _mix(workload: Workload) -> TokenMix:
    classes = workload.request_classes
    return TokenMix(
        names=tuple(one.name for one in classes),
        share=np.array([one.share_fraction for one in classes]),
        input_tokens=np.array([one.input_tokens for one in classes]),
        output_tokens=np.array([one.output_tokens for one in classes]),
        prefix_hit_fraction=workload.prefix_hit_fraction,
    )


def _memory(row: Row) -> Iterator[str]:
    reason = REASONS[int(row.memory.reason[row.row])]
    if reason:
        yield f"{row.name}: does not run: {SENTENCES[reason]}"
    if row.group.memory is None:
        yield f"{row.name}: memory is missing, and the workload is not a measured one"
        return
    mean_tokens = float(row.mix.share @ (row.mix.input_tokens + row.mix.output_tokens))
    for key in GroupMemory.model_fields:
        if key == "typical_concurrency":
            true = float(row.memory.concurrency(mean_tokens)[row.row])
        else:
            true = float(getattr(row.memory, key)[row.row])
        claimed = getattr(row.group.memory, key)
        if claimed != true if isinstance(claimed, int) else not agree(claimed, true):
            yield f"{row.name}: memory.{key} is {number(claimed)}, computed {number(true)}"


def _rates(row: Row) -> Iterator[str]:
    """A class whose own target is missed has rate 0; every other what the performance model gives."""
    for position, one in enumerate(row.mix.names):
        claimed = row.group.rate_rps.get(one, 0.0)
        missed = [target for target in row.workload.targets if not _holds(row, target, position)]
        if missed and claimed > 0:
            target = missed[0]
            latency = row.performance.statistic(target.metric, target.statistic)[row.row, position]
            yield (
                f"{row.name}: class {one} is served with {target.metric}_{target.statistic} of {number(latency)} ms, "
                f"the target is {number(target.limit_ms)} ms"
            )
        true = 0.0 if missed else float(row.performance.rate_rps[row.row, position])
        if not agree(claimed, true):
            yield f"{row.name}: rate_rps of class {one} is {number(claimed)}, computed {number(true)}"


def _holds(row: Row, target: Target, position: int) -> bool:
    latency = float(row.performance.statistic(target.metric, target.statistic)[row.row, position])
    return not exceeds(latency, target.limit_ms)


def _latencies(row: Row) -> Iterator[str]:
    """Of the class that fares worst among those the replica serves."""
    served = [position for position, one in enumerate(row.mix.names) if row.group.rate_rps.get(one, 0.0) > 0]
    if not served:
        yield f"{row.name}: rate_rps is 0 for every class, the replica serves nothing"
        return
    for metric in LATENCIES:
        claimed = getattr(row.group, f"{metric}_ms")
        if claimed is None or set(claimed) != set(STATISTICS):
            yield f"{row.name}: {metric}_ms is {claimed}, expected {', '.join(STATISTICS)}"
            continue
        for statistic in STATISTICS:
            true = float(row.performance.statistic(metric, statistic)[row.row, served].max())  # type: ignore[arg-type]
            if not agree(claimed[statistic], true):
                yield (f"{row.name}: {metric}_ms {statistic} is {number(claimed[statistic])}, computed {number(true)}")
    for metric, bounds in (("ttft", row.performance.ttft_interval_ms), ("tpot", row.performance.tpot_interval_ms)):
        interval = getattr(row.group, f"{metric}_interval_ms")
        expected = [float(bounds[end][row.row, served].max()) for end in (0, 1)]
        if interval is None or not all(agree(a, b) for a, b in zip(interval, expected, strict=True)):
            yield f"{row.name}: {metric}_interval_ms is {interval}, computed {', '.join(map(number, expected))}"


def _words(row: Row, calibration: str) -> Iterator[str]:
    targets = [f"{target.metric}_{target.statistic}" for target in row.workload.targets]
    if row.group.limit not in (*targets, *OTHER_LIMITS):
        yield f"{row.name}: limit is {row.group.limit}, expected one of {', '.join((*targets, *OTHER_LIMITS))}"
    if row.group.source != calibration:
        yield f"{row.name}: source is {row.group.source}, the rates are those of calibration {calibration}"
