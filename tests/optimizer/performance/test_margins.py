"""Planning on the safe side: latencies longer by a quantile of their error, rates lower, bands as before."""

from __future__ import annotations

import numpy as np
import pytest

from catalog import Catalog, load_catalog
from catalog.overlay import lay_over
from optimizer.performance import PerformanceEstimate, estimate_performance
from optimizer.performance.bands import closest_residual
from optimizer.performance.traits import trait_rows
from optimizer.serving_config import one_configuration

CATALOG = load_catalog()


def at(confidence_fraction: float) -> Catalog:
    return lay_over(CATALOG, [CATALOG.calibration.model_copy(update={"confidence_fraction": confidence_fraction})])


def estimate(confidence_fraction: float, **changes: object) -> PerformanceEstimate:
    asked: dict[str, object] = {"model": "Qwen/Qwen3-32B", "gpu": "h100-sxm", "weight_dtype": "fp8", "tp": 2}
    return estimate_performance(at(confidence_fraction), **(asked | changes))  # type: ignore[arg-type]


def upper_ends() -> tuple[float, float]:
    """90 % of measured TPOT (TTFT) over predicted lie below, of vLLM on Hopper cards."""
    h100, vllm = CATALOG.gpus["h100-sxm"], CATALOG.engines["vllm"]
    formats = CATALOG.formats["fp8"], CATALOG.kv_formats["auto"]
    (traits,) = trait_rows(
        one_configuration(CATALOG.models["Qwen/Qwen3-32B"], vllm, None, h100, *formats), CATALOG.calibration
    ).traits
    tpot, ttft = (closest_residual(metric, traits, CATALOG.calibration) for metric in ("tpot", "ttft"))
    return tpot.high, ttft.high


def test_half_of_measurements_are_better_than_the_point_estimate() -> None:
    assert estimate(0.5) == estimate_performance(
        CATALOG, model="Qwen/Qwen3-32B", gpu="h100-sxm", weight_dtype="fp8", tp=2
    )


def test_at_ninety_percent_latencies_are_at_the_upper_end_of_their_bands() -> None:
    tpot, ttft = upper_ends()
    point, safe = estimate(0.5), estimate(0.9)
    assert safe.tpot_ms / point.tpot_ms == pytest.approx(tpot, rel=0.01)
    # Launching prefill kernels and their collectives is part of steps as well, and grows by TPOT's margin alone.
    assert tpot * 0.999 < safe.ttft_ms / point.ttft_ms <= max(ttft, tpot) * 1.001
    assert safe.ttft_ms / point.ttft_ms == pytest.approx(max(ttft, tpot), rel=0.1)


def test_at_eighty_percent_they_are_at_the_power_of_the_normal_quantiles() -> None:
    # z(80 %) / z(90 %) = 0.8416 / 1.2816
    tpot, _ = upper_ends()
    assert estimate(0.8).tpot_ms / estimate(0.5).tpot_ms == pytest.approx(tpot ** (0.8416 / 1.2816), rel=0.01)


def test_rates_fall_as_much_as_requests_become_longer() -> None:
    point, safe = estimate(0.5), estimate(0.9)
    longer = (safe.ttft_ms + 511 * safe.tpot_ms) / (point.ttft_ms + 511 * point.tpot_ms)
    assert point.requests_per_s / safe.requests_per_s == pytest.approx(longer, rel=1e-3)


def test_bands_stay_those_of_the_prediction() -> None:
    point, safe = estimate(0.5), estimate(0.9)
    assert safe.tpot_interval_ms == pytest.approx(point.tpot_interval_ms, rel=0.01)
    assert safe.tpot_ms == pytest.approx(safe.tpot_interval_ms[1], rel=0.01)


@pytest.mark.parametrize("changes", [{}, {"gpu": "t4", "weight_dtype": "awq-int4"}, {"pp": 2}, {"engine": "sglang"}])
def test_more_confidence_is_never_faster(changes: dict[str, object]) -> None:
    estimates = [estimate(c, **changes) for c in (0.5, 0.6, 0.8, 0.9, 0.99)]
    for figure in ("ttft_ms", "tpot_ms"):
        assert (np.diff([getattr(one, figure) for one in estimates]) > 0).all()
    assert (np.diff([one.requests_per_s for one in estimates]) < 0).all()


def test_beyond_what_was_measured_the_margin_is_larger() -> None:
    here, there = (estimate(0.9, **c).tpot_ms / estimate(0.5, **c).tpot_ms for c in ({}, {"pp": 2}))
    assert there > here


def test_the_batch_changes_no_margin() -> None:
    # SGLang was measured up to 512 requests in flight.
    crowd = {"engine": "sglang", "model": "Qwen/Qwen3-0.6B", "tp": 1, "input_tokens": 64, "output_tokens": 64}
    few, many = (
        estimate(0.9, concurrency=n, **crowd).tpot_ms / estimate(0.5, concurrency=n, **crowd).tpot_ms
        for n in (400, 600)
    )
    assert estimate(0.9, concurrency=600, **crowd).extrapolated == ("concurrency",)
    assert many == pytest.approx(few, rel=0.02)
