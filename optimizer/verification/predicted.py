"""Do predicted replicas fit their memory, sustain their rates and hold their latency targets?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from optimizer.layout import GroupMemory, PipelineStage, ReplicaGroup
from optimizer.memory import REASONS, SENTENCES, ReplicaMemory, may_draft, replica_memory
from optimizer.performance import (
    RatedReplicas,
    TokenMix,
    bands_at,
    largest_load,
    rated_replicas,
    row_targets,
    source_of,
    times_known,
)
from optimizer.performance.bands import Bands
from optimizer.performance.pipeline import pipeline_replicas
from optimizer.performance.words import bounded
from optimizer.scenario import Speculation, Workload
from optimizer.scenario.targets import METRICS, STATISTICS, Metric, Statistic
from optimizer.serving_config import Configurations, FloatArray, Links, drafter_of, links_on, links_over
from optimizer.verification.claims import Claims, agree, exceeds, number
from optimizer.verification.lawful import unknown

OTHER_LIMITS = ("memory", "max_batch_size")
"""What may keep a batch from growing, beside a latency target."""


@dataclass(frozen=True, slots=True)
class Named:
    """A replica group with its workload and a name for messages."""

    name: str
    workload: Workload
    group: ReplicaGroup


@dataclass(frozen=True, slots=True)
class Truth:
    """A batch of replica groups computed again."""

    memory: ReplicaMemory
    typical_concurrency: FloatArray  # [n]
    rate_rps: FloatArray  # [n, R]
    bands: Bands
    latencies_ms: Mapping[tuple[Metric, Statistic], FloatArray]  # [n, R]
    rows: tuple[tuple[int, ...], ...]
    """Of each group: one, or one a stage where they differ."""


@dataclass(frozen=True, slots=True)
class Row:
    """One replica group beside its row of the truth."""

    name: str
    group: ReplicaGroup
    workload: Workload
    truth: Truth
    row: int
    """At whose pace it runs."""
    fullest: int
    """Of the rank that holds the fewest requests."""
    of_stages: tuple[int, ...]
    """Of each stage where they differ, else one."""

    @property
    def classes(self) -> list[str]:
        """[R]"""
        return [one.name for one in self.workload.request_classes]

    def latency_ms(self, metric: Metric, statistic: Statistic) -> list[float]:
        """[R] predicted for each class."""
        of_row: list[float] = self.truth.latencies_ms[metric, statistic][self.row].tolist()
        return of_row


def predicted(claims: Claims) -> Iterator[str]:
    """Memory, rates, latencies and their intervals, computed again from scenario and catalog."""
    for key, batch in _batches(claims).items():
        timed = _timed(batch, claims)
        yield from (f"{named.name}: the silicon tables do not hold it" for named in batch if named not in timed)
        for row in _computed(key, timed, claims) if timed else ():
            yield from _memory(row)
            yield from _memory_of_stages(row)
            yield from _rates(row)
            yield from _latencies(row)
            yield from _words(row, source_of(claims.catalog.calibration))


def true_rates_rps(group: ReplicaGroup, workload: Workload, claims: Claims) -> list[float]:
    """[R] what one replica sustains of each class that it serves in the plan, were its workload this one.

    A class whose target is missed has rate 0, and so has a replica that names what the catalog does not have.
    """
    if unknown(group, claims.catalog):
        return [0.0 for _ in workload.request_classes]
    named = [Named(group.offer, workload, group)]
    (row,) = _rows(named, _truth(named, claims))
    targets = [(target, row.latency_ms(target.metric, target.statistic)) for target in workload.planned_targets]
    return [
        0.0 if any(exceeds(by_class[r], target.limit_ms) for target, by_class in targets) else rate_rps
        for r, rate_rps in enumerate(row.truth.rate_rps[row.row].tolist())
    ]


def _batches(claims: Claims) -> dict[tuple[object, ...], list[Named]]:
    """Predicted groups that name only what the catalog has; those of one model and engine go together.

    Their workloads have equally many classes and targets of the same names, and send and draft alike.
    """
    batches: dict[tuple[object, ...], list[Named]] = {}
    for name, workload, group in claims.groups():
        if workload.measured is None and not unknown(group, claims.catalog):
            targets = tuple(target.name for target in workload.planned_targets)
            asked = (targets, len(workload.request_classes), workload.arrival_cv, _drafts(group, workload, claims))
            key = (*asked, group.model, group.engine, group.engine_version, group.stages is not None)
            batches.setdefault(key, []).append(Named(name, workload, group))
    return batches


def _timed(batch: list[Named], claims: Claims) -> list[Named]:
    """Those that the performance model knows."""
    if claims.catalog.calibration.performance == "calibrated":
        return batch
    configurations = _configurations(batch, [(number, None) for number in range(len(batch))], claims)
    known = times_known(configurations, claims.catalog.calibration).tolist()
    return [named for named, one in zip(batch, known, strict=True) if one]


def _computed(key: tuple[object, ...], batch: list[Named], claims: Claims) -> Iterator[Row]:
    """The rows of a batch; computed from what its key names and what is named here, and from nothing else."""
    of_groups = tuple(
        (_requests(named.workload), _replica(named.group), _all_links(named.group, claims), _served(named))
        for named in batch
    )
    yield from _rows(batch, claims.truths.get((claims.catalog.version, key, of_groups), lambda: _truth(batch, claims)))


def _rows(batch: list[Named], truth: Truth) -> Iterator[Row]:
    """Every group of a batch beside its row: of its slowest stage, where they differ."""
    for named, rows in zip(batch, truth.rows, strict=True):
        slowest = max(rows, key=lambda row: _busy(truth.rate_rps[row], named.workload))
        fullest = min(rows, key=lambda row: (not truth.memory.reason[row], float(truth.typical_concurrency[row])))
        yield Row(named.name, named.group, named.workload, truth, slowest, fullest, rows)


def _busy(rate_rps: FloatArray, workload: Workload) -> float:
    """Of a replica with these rates [R], by one request a second."""
    shares = [one.share_fraction for one in workload.request_classes]
    return sum(share / rate if rate > 0 else inf for share, rate in zip(shares, rate_rps.tolist(), strict=True))


def _replica(group: ReplicaGroup) -> tuple[object, ...]:
    """What of a group decides its figures, beside what its batch shares."""
    stages = tuple((one.gpu, one.weight_dtype, one.layers) for one in group.stages or ())
    degrees = (group.tp, group.pp, group.dp, group.ep, stages)
    start = (group.max_model_len, group.max_num_batched_tokens, group.gpu_memory_utilization)
    return group.gpu, group.weight_dtype, group.kv_cache_dtype, *degrees, group.max_batch_size, *start


def _requests(workload: Workload) -> tuple[object, ...]:
    """What of a workload decides the figures of its replicas."""
    return workload.request_classes, workload.prefix_hit_fraction, workload.planned_targets


def _served(named: Named) -> tuple[bool, ...]:
    """[R] whether the group serves a class."""
    return tuple(named.group.rate_rps.get(one.name, 0.0) > 0 for one in named.workload.request_classes)


def _truth(batch: list[Named], claims: Claims) -> Truth:
    """The truth of groups that all have stages that differ, or none."""
    rows = [(number, stage) for number, named in enumerate(batch) for stage in named.group.stages or (None,)]
    row = np.array([number for number, _ in rows])
    groups = [batch[number].group for number in row.tolist()]
    configurations = _configurations(batch, rows, claims)
    spans = np.array([stage.layers for _, stage in rows if stage is not None], np.int64)
    sequences = np.array([group.max_batch_size for group in groups], np.int64)
    tokens = np.array([group.max_num_batched_tokens for group in groups], np.int64)
    memory = replica_memory(
        configurations,
        max_model_len=np.array([group.max_model_len for group in groups], np.int64),
        max_num_seqs=-(-sequences // configurations.dp),
        max_num_batched_tokens=tokens,
        gpu_memory_utilization=np.array([group.gpu_memory_utilization for group in groups], np.float64),
        with_margin=True,
        spans=spans if len(spans) else None,
    )
    mix = TokenMix.of_rows([_mix(named.workload) for named in batch], row)
    targets = row_targets([named.workload.planned_targets for named in batch], row)
    served = np.array([_served(named) for named in batch])[row]
    places, calibration = sequences.astype(float), claims.catalog.calibration
    if len(spans):
        replicas = pipeline_replicas(configurations, spans, row, tokens, mix, places, calibration)
        performance = RatedReplicas.at(replicas, largest_load(replicas, targets, served))
    else:
        performance = rated_replicas(configurations, memory, mix, places, targets, served, calibration)
    latencies_ms = {(metric, one): performance.statistic(metric, one) for metric in METRICS for one in STATISTICS}
    return Truth(
        memory,
        memory.concurrency(mix.mean_tokens),
        performance.rate_rps,
        bands_at(configurations, places, calibration),
        latencies_ms,
        tuple(tuple(np.flatnonzero(row == number).tolist()) for number in range(len(batch))),
    )


def _configurations(
    batch: list[Named], rows: Sequence[tuple[int, PipelineStage | None]], claims: Claims
) -> Configurations:
    """One for each row: a group of the batch, or a stage of it."""
    catalog, first = claims.catalog, batch[0].group
    groups = [batch[number].group for number, _ in rows]
    kinds = [stage or group for group, (_, stage) in zip(groups, rows, strict=True)]
    places = [(kind.gpu, _links(group, kind.offer, claims)) for kind, group in zip(kinds, groups, strict=True)]
    gpus = list(dict.fromkeys(places))
    weights = list(dict.fromkeys(str(kind.weight_dtype) for kind in kinds))
    caches = list(dict.fromkeys(str(group.kv_cache_dtype) for group in groups))
    columns = (
        [gpus.index(place) for place in places],
        [weights.index(str(kind.weight_dtype)) for kind in kinds],
        [caches.index(str(group.kv_cache_dtype)) for group in groups],
        *([getattr(group, degree) for group in groups] for degree in ("tp", "pp", "dp", "ep")),
    )
    return Configurations(
        catalog.models[str(first.model)],
        catalog.engines[str(first.engine)],
        first.engine_version,
        tuple(catalog.gpus[gpu] for gpu, _ in gpus),
        tuple(catalog.formats[name] for name in weights),
        tuple(catalog.kv_formats[name] for name in caches),
        *(np.array(column, np.int64) for column in columns),
        links=tuple(links for _, links in gpus),
        speculation=_drafts(first, batch[0].workload, claims),
        drafter=drafter_of(_drafts(first, batch[0].workload, claims), catalog.models),
    )


def _drafts(group: ReplicaGroup, workload: Workload, claims: Claims) -> Speculation | None:
    """How the group drafts tokens; None where the model cannot, which is reported elsewhere."""
    asked = workload.speculative if group.speculative else None
    models = claims.catalog.models
    model, drafter = models[str(group.model)], drafter_of(asked, models)
    return asked if asked is not None and may_draft(model, asked.method, drafter) else None


def _all_links(group: ReplicaGroup, claims: Claims) -> tuple[Links | None, ...]:
    offers = [stage.offer for stage in group.stages] if group.stages is not None else [group.offer]
    return tuple(_links(group, offer, claims) for offer in offers)


def _links(group: ReplicaGroup, offer_name: str, claims: Claims) -> Links | None:
    """What joins the cards of a group on one of its offers; an offer that is not there is reported elsewhere."""
    inventory = claims.scenario.inventory
    offer = inventory.get(offer_name)
    if offer is None:
        return None
    if group.stages is not None:
        among = [inventory[stage.offer] for stage in group.stages if stage.offer in inventory]
        return links_over(offer, among, claims.catalog.calibration.network_gb_per_s)
    return links_on(offer, between_servers=group.gpus_per_replica > offer.gpus_per_server)


def _mix(workload: Workload) -> TokenMix:
    classes = workload.request_classes
    return TokenMix(
        names=tuple(one.name for one in classes),
        share=np.array([one.share_fraction for one in classes]),
        input_tokens=np.array([one.input_tokens for one in classes]),
        output_tokens=np.array([one.output_tokens for one in classes]),
        prefix_hit_fraction=workload.prefix_hit_fraction,
        input_sigma=np.array([one.input_sigma for one in classes]),
        output_sigma=np.array([one.output_sigma for one in classes]),
        arrival_cv=workload.arrival_cv,
    )


def _memory(row: Row) -> Iterator[str]:
    reason = REASONS[int(row.truth.memory.reason[row.fullest])]
    if reason:
        yield f"{row.name}: does not run: {SENTENCES[reason]}"
    if row.group.memory is None:
        yield f"{row.name}: memory is missing, and the workload is not a measured one"
        return
    yield from (f"{row.name}: memory.{what}" for what in _differences(row.group.memory, row.truth, row.fullest))


def _memory_of_stages(row: Row) -> Iterator[str]:
    for stage, at in zip(row.group.stages or (), row.of_stages, strict=False):
        where = f"{row.name}: memory of the stage on {stage.offer}"
        yield from (f"{where}: {what}" for what in _differences(stage.memory, row.truth, at))


def _differences(memory: GroupMemory, truth: Truth, row: int) -> Iterator[str]:
    """What is claimed of memory and is not so."""
    for key in GroupMemory.model_fields:
        true = (
            float(truth.typical_concurrency[row])
            if key == "typical_concurrency"
            else float(getattr(truth.memory, key)[row])
        )
        claimed = getattr(memory, key)
        if claimed != true if isinstance(claimed, int) else not agree(claimed, true):
            yield f"{key} is {number(claimed)}, computed {number(true)}"


def _rates(row: Row) -> Iterator[str]:
    """A class whose own target is missed has rate 0; every other what the performance model gives."""
    targets = [(target, row.latency_ms(target.metric, target.statistic)) for target in row.workload.planned_targets]
    rates = row.truth.rate_rps[row.row].tolist()
    for position, one in enumerate(row.classes):
        claimed = row.group.rate_rps.get(one, 0.0)
        missed = [(t, by_class[position]) for t, by_class in targets if exceeds(by_class[position], t.limit_ms)]
        if missed and claimed > 0:
            target, latency = missed[0]
            yield (
                f"{row.name}: class {one} is served with {target.name} of {number(latency)} ms, "
                f"the target is {number(target.limit_ms)} ms"
            )
        true = 0.0 if missed else rates[position]
        if not agree(claimed, true):
            yield f"{row.name}: rate_rps of class {one} is {number(claimed)}, computed {number(true)}"


def _latencies(row: Row) -> Iterator[str]:
    """Of the class that fares worst among those the replica serves."""
    served = [position for position, one in enumerate(row.classes) if row.group.rate_rps.get(one, 0.0) > 0]
    if not served:
        yield f"{row.name}: rate_rps is 0 for every class, the replica serves nothing"
        return
    for metric in METRICS:
        claimed = getattr(row.group, f"{metric}_ms")
        if claimed is None or set(claimed) != set(STATISTICS):
            yield f"{row.name}: {metric}_ms is {claimed}, expected {', '.join(STATISTICS)}"
            continue
        for statistic in STATISTICS:
            latency = row.latency_ms(metric, statistic)
            true = bounded(max(latency[position] for position in served))
            if not _agree(claimed[statistic], true):
                yield f"{row.name}: {metric}_ms {statistic} is {_said(claimed[statistic])}, computed {_said(true)}"
    for metric, band in (("ttft", row.truth.bands.ttft), ("tpot", row.truth.bands.tpot)):
        interval = getattr(row.group, f"{metric}_interval_ms")
        mean_ms = max(latency for i, latency in enumerate(row.latency_ms(metric, "mean")) if i in served)
        if bounded(mean_ms) is None:
            if interval is not None:
                yield f"{row.name}: {metric}_interval_ms is {interval}, computed unbounded"
            continue
        low, high = (mean_ms * band[:, row.row]).tolist()
        if interval is None or not (agree(interval[0], low) and agree(interval[1], high)):
            yield f"{row.name}: {metric}_interval_ms is {interval}, computed {number(low)} to {number(high)}"


def _agree(claimed: float | None, true: float | None) -> bool:
    """None = unbounded."""
    return claimed is true if claimed is None or true is None else agree(claimed, true)


def _said(latency_ms: float | None) -> str:
    return "unbounded" if latency_ms is None else number(latency_ms)


def _words(row: Row, source: str) -> Iterator[str]:
    targets = [target.name for target in row.workload.targets]
    if row.group.limit not in (*targets, *OTHER_LIMITS):
        yield f"{row.name}: limit is {row.group.limit}, expected one of {', '.join((*targets, *OTHER_LIMITS))}"
    departures = (name for at in row.of_stages for name in row.truth.bands.extrapolated(at))
    beyond = tuple(dict.fromkeys(departures))
    if row.group.extrapolated != beyond:
        told, true = (", ".join(names) or "nothing" for names in (row.group.extrapolated, beyond))
        yield f"{row.name}: extrapolated says {told}, beyond what was measured is {true}"
    if row.group.source != source:
        yield f"{row.name}: source is {row.group.source}, the rates are those of {source}"
