"""Own runs move predictions towards themselves: most for their model, less for others there, not at all elsewhere."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from catalog import load_catalog
from catalog.overlay import lay_over
from optimizer.calibration import Calibrated, calibrate
from optimizer.calibration.measurement import Measurement
from optimizer.performance import PerformanceEstimate, estimate_performance

CATALOG = load_catalog()
TODAY = date(2026, 11, 23)


def estimate(of: Measurement, done: Calibrated | None = None) -> PerformanceEstimate:
    """The prediction for a run, by the shipped constants or by calibrated ones."""
    catalog = CATALOG if done is None else lay_over(CATALOG, [done.calibration])
    return estimate_performance(
        catalog, model=of.model, gpu=of.gpu, weight_dtype=of.weight_dtype, engine=of.engine, tp=of.tp,
        input_tokens=of.input_tokens, output_tokens=of.output_tokens, concurrency=int(of.concurrency),
    )  # fmt: skip


def run(factor: float, *, model: str = "Qwen/Qwen3-8B", gpu: str = "l40s", concurrency: int = 16) -> Measurement:
    """A run `factor` times as slow as predicted."""
    asked = Measurement(
        "own.json", model, gpu, "bf16", "vllm", None, tp=1, pp=1, dp=1, ep=1, input_tokens=1000, output_tokens=250,
        concurrency=concurrency,
    )  # fmt: skip
    predicted = estimate(asked)
    return replace(asked, ttft_ms=factor * predicted.ttft_ms, tpot_ms=factor * predicted.tpot_ms)


SLOW = tuple(run(1.3, concurrency=n) for n in (1, 4, 16, 64))


def slower(done: Calibrated, of: Measurement) -> float:
    return estimate(of, done).tpot_ms / estimate(of).tpot_ms


def test_runs_as_predicted_change_nothing() -> None:
    done = calibrate([run(1.0), run(1.0, concurrency=64)], CATALOG, TODAY)
    assert slower(done, SLOW[0]) == pytest.approx(1.0, abs=2e-3)
    assert np.nanmax(np.abs(done.after)) < 2e-3


def test_predictions_of_the_model_measured_come_to_the_runs() -> None:
    done = calibrate(SLOW, CATALOG, TODAY)
    for one in SLOW:
        assert estimate(one, done).tpot_ms == pytest.approx(one.tpot_ms, rel=0.05)
    assert np.nanmedian(np.abs(done.after[0])) < np.nanmedian(np.abs(done.before[0])) / 3
    assert np.nanmedian(np.abs(done.left_out[0])) < np.nanmedian(np.abs(done.before[0])) / 2


def test_another_model_on_the_card_moves_less_and_another_card_or_engine_not_at_all() -> None:
    done = calibrate(SLOW, CATALOG, TODAY)
    assert 1.0 < slower(done, run(1.0, model="Qwen/Qwen3-14B")) < slower(done, run(1.0)) < 1.35
    assert slower(done, run(1.0, gpu="h100-sxm")) == 1.0
    assert slower(done, replace(run(1.0), engine="sglang")) == 1.0


def test_more_runs_are_believed_more() -> None:
    one, four = (slower(calibrate(runs, CATALOG, TODAY), run(1.0)) for runs in (SLOW[2:3], SLOW))
    assert 1.1 < one < four < 1.35


def test_bands_become_narrower_where_it_was_measured_and_more_so_for_the_model_measured() -> None:
    done = calibrate(SLOW, CATALOG, TODAY)

    def width(of: Measurement, by: Calibrated | None) -> float:
        low, high = estimate(of, by).tpot_interval_ms
        return high / low

    other = run(1.0, model="Qwen/Qwen3-14B")
    assert width(SLOW[2], done) < width(other, done) < width(other, None) == pytest.approx(width(SLOW[2], None))
    elsewhere = run(1.0, gpu="l4")
    assert width(elsewhere, done) == width(elsewhere, None)


def test_what_was_measured_is_no_longer_beyond_it() -> None:
    asked = run(1.2, gpu="t4", model="Qwen/Qwen3-0.6B")
    asked = replace(asked, weight_dtype="fp16")
    assert "generation" in estimate(asked).extrapolated
    assert estimate(asked, calibrate([asked], CATALOG, TODAY)).extrapolated == ()


def test_the_same_runs_in_any_order_give_the_same_constants_and_id() -> None:
    one, other = (calibrate(runs, CATALOG, TODAY) for runs in (SLOW, SLOW[::-1]))
    assert one.calibration.id == other.calibration.id
    assert slower(one, SLOW[0]) == pytest.approx(slower(other, SLOW[0]), rel=1e-3)


def test_a_single_run_cannot_be_left_out() -> None:
    assert np.isnan(calibrate(SLOW[:1], CATALOG, TODAY).left_out).all()


@pytest.mark.parametrize("factor", [0.02, 50.0])
def test_a_wild_run_moves_predictions_by_a_bounded_amount(factor: float) -> None:
    done = calibrate([run(factor)], CATALOG, TODAY)
    assert 0.1 < slower(done, run(1.0)) < 10.0
