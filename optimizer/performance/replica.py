"""Latency and throughput of n replicas of one model at a mix of request classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalog.schema import Calibration
from optimizer.memory import ReplicaMemory
from optimizer.performance.bands import Bands, bands_of
from optimizer.performance.chunks import step_tokens
from optimizer.performance.constants import row_constants
from optimizer.performance.mix import TokenMix
from optimizer.performance.models import performance_model
from optimizer.performance.serving import Capacity, Served, closed_loop
from optimizer.performance.traits import TraitRows, trait_rows
from optimizer.performance.work import output_held_fraction, work_of
from optimizer.serving_config import Configurations, FloatArray

LIMITS = ("concurrency", "memory", "max_num_seqs")
"""What keeps the batch from growing: the requests there are, the KV cache, the engine's flag."""


@dataclass(frozen=True, slots=True)
class ReplicaPerformance:
    """n replicas, R request classes; milliseconds are means over the requests of a class."""

    batch: FloatArray  # [n] requests that run at once
    rate_rps: (
        FloatArray  # [n, R] of one class alone, at the step times of the mix: Σ_r share_r / rate_r = 1 / total rate
    )
    ttft_ms: FloatArray  # [n, R]
    tpot_ms: FloatArray  # [n, R]
    e2e_ms: FloatArray  # [n, R]
    parts: Mapping[str, FloatArray]
    """Name -> [n] ms; they sum to the TPOT."""
    ttft_parts: Mapping[str, FloatArray]
    """Name -> [n] ms, of the mean request; they sum to its TTFT."""
    limit: NDArray[np.int8]  # [n] index into LIMITS
    traits: TraitRows
    calibration: Calibration

    @property
    def bands(self) -> Bands:
        """80 % intervals as multiples of the means; found when asked for, as few callers do."""
        return bands_of(self.traits, self.batch, self.calibration)

    @property
    def ttft_interval_ms(self) -> FloatArray:
        """[2, n, R] low and high of the 80 % interval of the mean."""
        return self.bands.ttft[:, :, None] * self.ttft_ms

    @property
    def tpot_interval_ms(self) -> FloatArray:
        """[2, n, R] low and high of the 80 % interval of the mean."""
        return self.bands.tpot[:, :, None] * self.tpot_ms


def replica_performance(
    configurations: Configurations,
    memory: ReplicaMemory,
    mix: TokenMix,
    concurrency: FloatArray | None,
    calibration: Calibration,
) -> ReplicaPerformance:
    """n replicas with `concurrency` [n] requests always in flight; None = as many as the replica holds.

    Rows whose memory does not fit are computed as if one request did; `memory.fits` says which they are.
    """
    work = work_of(configurations, mix, calibration)
    rows = trait_rows(configurations, calibration)
    capacity, limit = capacity_of(configurations, memory, mix, calibration)
    in_flight = capacity.requests if concurrency is None else np.broadcast_to(concurrency, capacity.requests.shape)
    model, constants = performance_model(configurations, calibration), row_constants(rows, calibration)
    served = closed_loop(work, constants, in_flight, capacity, mix.output_tokens, model)
    tpot_ms = np.broadcast_to(served.tpot_ms[:, None], served.ttft_ms.shape)
    return ReplicaPerformance(
        batch=served.running,
        rate_rps=served.rate_rps,
        ttft_ms=served.ttft_ms,
        tpot_ms=tpot_ms,
        e2e_ms=served.ttft_ms + tpot_ms * np.maximum(mix.output_tokens - 1.0, 0.0),
        parts=_tpot_parts(served),
        ttft_parts=_ttft_parts(served, mix),
        limit=np.where(in_flight <= capacity.requests, 0, limit).astype(np.int8) if concurrency is not None else limit,
        traits=rows,
        calibration=calibration,
    )


def capacity_of(
    configurations: Configurations, memory: ReplicaMemory, mix: TokenMix, calibration: Calibration
) -> tuple[Capacity, NDArray[np.int8]]:
    """Requests that the replica holds at once, and what sets that number."""
    held = mix.resident_tokens(output_held_fraction(configurations, calibration))
    by_kv_cache = memory.concurrency(held)
    by_flag = memory.max_num_seqs * configurations.dp
    kv_binds = by_kv_cache < by_flag
    limit = np.where(kv_binds, LIMITS.index("memory"), LIMITS.index("max_num_seqs")).astype(np.int8)
    requests = np.maximum(np.minimum(by_kv_cache, by_flag), 1.0)
    return Capacity(requests, kv_binds, step_tokens(configurations, memory.max_num_batched_tokens)), limit


def _tpot_parts(served: Served) -> dict[str, FloatArray]:
    shape = served.running.shape
    parts = served.step._asdict() | {"prefill": served.interleaved_ms, "preempted": served.preempted_ms}
    return {name: np.broadcast_to(part, shape) for name, part in parts.items()}


def _ttft_parts(served: Served, mix: TokenMix) -> dict[str, FloatArray]:
    parts = {
        "request": served.request_ms,
        "steps": served.steps_ms,
        "prefill": served.prefill_ms @ mix.share,
        "waiting": served.waiting_ms,
    }
    return {name: np.broadcast_to(part, served.running.shape) for name, part in parts.items()}
