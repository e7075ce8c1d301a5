"""Latency and throughput of a single replica: ids in, plain numbers out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from catalog import Catalog
from catalog.errors import Fault, InputError
from catalog.schema.calibration import PerformanceName
from optimizer.memory import replica_memory
from optimizer.performance.mix import TokenMix
from optimizer.performance.models import source_of
from optimizer.performance.replica import LIMITS, replica_performance
from optimizer.scenario import Speculation
from optimizer.scenario.speculation import ENGINES_THAT_DRAFT, DraftMethod
from optimizer.serving_config import drafter_of, one_configuration


@dataclass(frozen=True, slots=True)
class PerformanceEstimate:
    """One replica with a constant number of requests in flight; latencies are means."""

    ttft_ms: float
    tpot_ms: float
    output_tokens_per_s: float
    """Whole replica."""
    requests_per_s: float
    """Whole replica."""
    ttft_interval_ms: tuple[float, float]
    """80 %."""
    tpot_interval_ms: tuple[float, float]
    """80 %."""
    parts: Mapping[str, float]
    """Milliseconds that sum to the TPOT."""
    ttft_parts: Mapping[str, float]
    """Milliseconds that sum to the TTFT."""
    batch: float
    """Requests that run at once."""
    limit: str
    """What keeps the batch from growing: `concurrency`, `memory` or `max_num_seqs`."""
    fits: bool
    """The replica loads and holds at least one such request."""
    extrapolated: tuple[str, ...]
    """In what this departs from what the calibration was fitted on, which makes the intervals wider; see DEPARTURES."""
    source: str
    """The calibration."""


def estimate_performance(
    catalog: Catalog,
    *,
    model: str,
    gpu: str,
    weight_dtype: str,
    kv_cache_dtype: str = "auto",
    tp: int = 1,
    pp: int = 1,
    dp: int = 1,
    ep: int = 1,
    engine: str = "vllm",
    engine_version: str | None = None,
    input_tokens: int = 1024,
    output_tokens: int = 512,
    concurrency: int | None = 32,
    prefix_hit_fraction: float = 0.0,
    max_num_seqs: int | None = None,
    max_num_batched_tokens: int | None = None,
    gpu_memory_utilization: float | None = None,
    speculative: DraftMethod | None = None,
    draft_tokens: int = 1,
    acceptance_fraction: float | None = None,
    draft: str | None = None,
    performance: PerformanceName = "calibrated",
) -> PerformanceEstimate:
    """One replica serving requests of one size, `concurrency` of them always in flight; None = an unlimited queue.

    Of the engine's flags, per attention rank, None is its own default; see `replica_memory`. With `speculative`, each
    step drafts `draft_tokens` and accepts that fraction, one by one; None = as published. `draft` is the model that
    drafts, by draft_model. `performance` silicon takes steps and prefills from the tables of aiconfigurator-core.
    InputError for an unknown id and for a number that cannot be; what does not fit is answered with `fits=False`.
    """
    _check(
        tp=tp, pp=pp, dp=dp, ep=ep, input_tokens=input_tokens, output_tokens=output_tokens,
        concurrency=1 if concurrency is None else concurrency, draft_tokens=draft_tokens,
        prefix_hit_fraction=prefix_hit_fraction,
    )  # fmt: skip
    speculation = _speculation(speculative, draft_tokens, acceptance_fraction, draft, engine, pp)
    configuration = one_configuration(
        catalog.find("model", model),
        catalog.find("engine", engine),
        engine_version,
        catalog.find("gpu", gpu),
        catalog.find("weight_format", weight_dtype),
        catalog.find("kv_format", kv_cache_dtype),
        tp=tp,
        pp=pp,
        dp=dp,
        ep=ep,
        speculation=speculation,
        drafter=drafter_of(speculation, catalog.models),
    )
    memory = replica_memory(
        configuration,
        max_model_len=input_tokens + output_tokens,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        gpu_memory_utilization=gpu_memory_utilization,
    )
    mix = TokenMix(
        ("all",), np.ones(1), np.array([float(input_tokens)]), np.array([float(output_tokens)]), prefix_hit_fraction
    )
    in_flight = None if concurrency is None else np.array([float(concurrency)])
    calibration = catalog.calibration.model_copy(update={"performance": performance})
    predicted = replica_performance(configuration, memory, mix, in_flight, calibration)
    requests_per_s = float(predicted.rate_rps[0, 0])
    ttft_low, ttft_high = predicted.ttft_interval_ms[:, 0, 0].tolist()
    tpot_low, tpot_high = predicted.tpot_interval_ms[:, 0, 0].tolist()
    return PerformanceEstimate(
        ttft_ms=float(predicted.ttft_ms[0, 0]),
        tpot_ms=float(predicted.tpot_ms[0, 0]),
        output_tokens_per_s=requests_per_s * output_tokens,
        requests_per_s=requests_per_s,
        ttft_interval_ms=(ttft_low, ttft_high),
        tpot_interval_ms=(tpot_low, tpot_high),
        parts={name: float(part[0]) for name, part in predicted.parts.items()},
        ttft_parts={name: float(part[0]) for name, part in predicted.ttft_parts.items()},
        batch=float(predicted.batch[0]),
        limit=LIMITS[int(predicted.limit[0])],
        fits=bool(memory.fits[0]),
        extrapolated=predicted.bands.extrapolated(0),
        source=source_of(calibration),
    )


def _speculation(
    method: DraftMethod | None,
    tokens: int,
    acceptance_fraction: float | None,
    draft: str | None,
    engine: str,
    pp: int,
) -> Speculation | None:
    if method is None:
        return None
    faults = []
    if acceptance_fraction is None and method != "mtp":
        faults.append(f"the part of drafted tokens that is accepted is missing; measure it with {method} on")
    if acceptance_fraction is not None and not 0.0 <= acceptance_fraction <= 1.0:
        faults.append(f"acceptance_fraction is {acceptance_fraction}; it must lie between 0 and 1")
    if (draft is not None) != (method == "draft_model"):
        faults.append("a small model that drafts goes with draft_model, and with nothing else; name it by its id")
    if engine not in ENGINES_THAT_DRAFT or pp > 1:
        faults.append(f"drafts are predicted on {' and '.join(ENGINES_THAT_DRAFT)} without pipeline stages only")
    if faults:
        raise InputError([Fault(fault) for fault in faults])
    return Speculation.model_construct(
        method=method, tokens=tokens, acceptance_fraction=acceptance_fraction, draft=draft
    )


def _check(*, prefix_hit_fraction: float, **counts: int) -> None:
    faults = [
        Fault(f"{name} is {value}; it must be a whole number of at least 1", key=name)
        for name, value in counts.items()
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1
    ]
    if not 0.0 <= prefix_hit_fraction <= 1.0:
        faults.append(
            Fault(
                f"prefix_hit_fraction is {prefix_hit_fraction}; it must lie between 0 and 1", key="prefix_hit_fraction"
            )
        )
    if faults:
        raise InputError(faults)
