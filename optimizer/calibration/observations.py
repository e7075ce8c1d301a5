"""Measurements as arrays: the work of every row, what its constants depend on, and what was measured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from catalog import Catalog
from catalog.schema import Calibration
from catalog.schema.calibration import Traits
from catalog.units import MS_PER_S
from optimizer.calibration.measurement import Measurement
from optimizer.memory import replica_memory
from optimizer.performance.constants import RowConstants
from optimizer.performance.mix import TokenMix
from optimizer.performance.replica import capacity_of
from optimizer.performance.serving import Capacity, closed_loop
from optimizer.performance.step import CALIBRATED, PerformanceModel
from optimizer.performance.traits import trait_rows
from optimizer.performance.work import Work, work_of
from optimizer.serving_config import BoolArray, Configurations, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Observations:
    """m measurements; figures that a row does not state are NaN."""

    measurements: tuple[Measurement, ...]
    traits: tuple[Traits, ...]  # [m]
    work: Work  # arrays [m]
    capacity: Capacity
    concurrency: FloatArray
    output_tokens: FloatArray
    ttft_ms: FloatArray
    tpot_ms: FloatArray
    output_tokens_per_s: FloatArray
    prefill_ms: FloatArray

    def __len__(self) -> int:
        return len(self.measurements)

    def take(self, rows: BoolArray) -> Observations:
        """The chosen rows."""
        index = np.flatnonzero(rows)
        arrays = {f.name: getattr(self, f.name)[index] for f in fields(self) if f.name not in _NOT_ARRAYS}
        return Observations(
            measurements=tuple(self.measurements[i] for i in index),
            traits=tuple(self.traits[i] for i in index),
            work=_taken(self.work, index),
            capacity=self.capacity.take(index),
            **arrays,
        )


FIGURES = ("tpot_ms", "ttft_ms", "output_tokens_per_s", "prefill_ms")
_NOT_ARRAYS = ("measurements", "traits", "work", "capacity")


@dataclass(frozen=True, slots=True)
class Predicted:
    """The same figures, predicted; arrays [m]."""

    ttft_ms: FloatArray
    tpot_ms: FloatArray
    output_tokens_per_s: FloatArray
    prefill_ms: FloatArray


def predict(observed: Observations, constants: RowConstants, model: PerformanceModel = CALIBRATED) -> Predicted:
    """Every figure of every row, as plans have them."""
    outputs = observed.output_tokens
    served = closed_loop(observed.work, constants, observed.concurrency, observed.capacity, outputs[:, None], model)
    ttft_ms, tpot_ms = served.ttft_ms[:, 0], served.tpot_ms
    seconds = (ttft_ms + tpot_ms * (outputs - 1.0)) / MS_PER_S
    return Predicted(
        ttft_ms=ttft_ms,
        tpot_ms=tpot_ms,
        output_tokens_per_s=observed.concurrency * outputs / seconds,
        prefill_ms=served.prefill_ms[:, 0],
    )


def log_errors(observed: Observations, constants: RowConstants) -> FloatArray:
    """[4, m] logarithms of predicted over measured, in the order of FIGURES; 0 where a row states none."""
    predicted = predict(observed, constants)
    return np.array([np.nan_to_num(np.log(getattr(predicted, f) / getattr(observed, f))) for f in FIGURES])


def observe(measurements: Sequence[Measurement], catalog: Catalog, calibration: Calibration) -> Observations:
    """The measurements with their work, at the memory that the engine's defaults leave."""
    batches: dict[tuple[object, ...], list[Measurement]] = defaultdict(list)
    for m in measurements:
        batches[m.model, m.engine, m.engine_version, m.input_tokens, m.output_tokens, m.prefix_hit_fraction].append(m)
    parts = [_observe_batch(batch, catalog, calibration) for batch in batches.values()]
    rows = [m for batch in batches.values() for m in batch]
    return Observations(
        measurements=tuple(rows),
        traits=tuple(traits for _, part_traits, _ in parts for traits in part_traits),
        work=_joined([work for work, _, _ in parts], [len(batch) for batch in batches.values()]),
        capacity=Capacity(
            np.concatenate([capacity.requests for _, _, capacity in parts]),
            np.concatenate([capacity.by_kv_cache for _, _, capacity in parts]),
            np.concatenate([capacity.step_tokens for _, _, capacity in parts]),
        ),
        concurrency=np.array([float(m.concurrency) for m in rows]),
        output_tokens=np.array([float(m.output_tokens) for m in rows]),
        ttft_ms=_stated(m.ttft_ms for m in rows),
        tpot_ms=_stated(m.tpot_ms for m in rows),
        output_tokens_per_s=_stated(m.output_tokens_per_s for m in rows),
        prefill_ms=_stated(m.prefill_ms for m in rows),
    )


def _observe_batch(
    batch: Sequence[Measurement], catalog: Catalog, calibration: Calibration
) -> tuple[Work, list[Traits], Capacity]:
    """Rows of one model, engine and request size."""
    first = batch[0]
    configurations = _configurations(batch, catalog)
    mix = TokenMix(
        ("all",),
        np.ones(1),
        np.array([float(first.input_tokens)]),
        np.array([float(first.output_tokens)]),
        first.prefix_hit_fraction,
    )
    memory = replica_memory(configurations, max_model_len=first.input_tokens + first.output_tokens)
    capacity, _ = capacity_of(configurations, memory, mix, calibration)
    rows = trait_rows(configurations, calibration)
    return work_of(configurations, mix, calibration), [rows.traits[i] for i in rows.row], capacity


def _configurations(batch: Sequence[Measurement], catalog: Catalog) -> Configurations:
    gpus = tuple(dict.fromkeys(m.gpu for m in batch))
    formats = tuple(dict.fromkeys(m.weight_dtype for m in batch))
    caches = tuple(dict.fromkeys(m.kv_cache_dtype for m in batch))
    first = batch[0]

    def column(values: list[int]) -> IntArray:
        return np.array(values, np.int64)

    return Configurations(
        model=catalog.models[first.model],
        engine=catalog.engines[first.engine],
        engine_version=first.engine_version,
        gpus=tuple(catalog.gpus[g] for g in gpus),
        weight_formats=tuple(catalog.formats[f] for f in formats),
        kv_formats=tuple(catalog.kv_formats[c] for c in caches),
        gpu=column([gpus.index(m.gpu) for m in batch]),
        weight_format=column([formats.index(m.weight_dtype) for m in batch]),
        kv_format=column([caches.index(m.kv_cache_dtype) for m in batch]),
        tp=column([m.tp for m in batch]),
        pp=column([m.pp for m in batch]),
        dp=column([m.dp for m in batch]),
        ep=column([m.ep for m in batch]),
    )


def _joined(works: list[Work], sizes: list[int]) -> Work:
    """Works of several models as one."""
    columns: dict[str, Any] = {}
    for field in fields(Work):
        values = [np.asarray(getattr(work, field.name), np.float64) for work in works]
        if field.name == "share":
            columns[field.name] = values[0]
            continue
        columns[field.name] = np.concatenate(
            [np.broadcast_to(value, (n, *value.shape[1:])) for value, n in zip(values, sizes, strict=True)]
        )
    return Work(**columns)


def _taken(work: Work, index: IntArray) -> Work:
    values: dict[str, Any] = {field.name: getattr(work, field.name) for field in fields(Work)}
    return Work(**{name: value if name == "share" else value[index] for name, value in values.items()})


def _stated(values: Iterable[float | None]) -> FloatArray:
    return np.array([np.nan if value is None else value for value in values], np.float64)
