"""Predictions against published serving runs: a few points, not a second fit (`benchmarks/fit/REPORT.md` has all)."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from catalog import Catalog, load_catalog
from optimizer.performance import PerformanceEstimate, estimate_performance

FILE = Path(__file__).with_name("measured_points.csv")
"""Its first line says where the runs were published and how these were chosen."""


class Point(NamedTuple):
    """A run with a constant number of requests in flight; milliseconds are means."""

    model: str
    gpu: str
    weight_dtype: str
    engine: str
    engine_version: str
    input_tokens: int
    output_tokens: int
    tp: int
    ep: int
    concurrency: int
    ttft_ms: float
    tpot_ms: float

    def predicted(self, catalog: Catalog) -> PerformanceEstimate:
        return estimate_performance(
            catalog, model=self.model, gpu=self.gpu, weight_dtype=self.weight_dtype, engine=self.engine,
            engine_version=_numbers(self.engine_version), input_tokens=self.input_tokens,
            output_tokens=self.output_tokens, tp=self.tp, ep=self.ep, concurrency=self.concurrency,
        )  # fmt: skip


def _numbers(version: str) -> str | None:
    """A release candidate (`1.2.0rc6.post2`) counts as its release; nothing stated, as the newest."""
    return version.split("rc")[0].split(".post")[0] or None


def points() -> list[Point]:
    lines = [line for line in FILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return [
        Point(
            row["model"], row["gpu"], row["weight_dtype"], row["engine"], row["engine_version"],
            *(int(row[column]) for column in ("input_tokens", "output_tokens", "tp", "ep", "concurrency")),
            *(float(row[column]) for column in ("ttft_ms", "tpot_ms")),
        )
        for row in csv.DictReader(lines)
    ]  # fmt: skip


POINTS = points()
PREDICTED = [point.predicted(load_catalog()) for point in POINTS]


def within(interval_ms: tuple[float, float], measured_ms: float) -> bool:
    return interval_ms[0] <= measured_ms <= interval_ms[1]


def widened(interval_ms: tuple[float, float], predicted_ms: float) -> tuple[float, float]:
    """95 % from 80 %: z(97.5 %) / z(90 %) = 1.9600 / 1.2816 times as far from the prediction in the logarithm."""
    low, high = ((end_ms / predicted_ms) ** (1.9600 / 1.2816) * predicted_ms for end_ms in interval_ms)
    return low, high


def name(point: Point) -> str:
    return f"{point.engine}-{point.gpu}-{point.model.split('/')[1]}-{point.input_tokens}-c{point.concurrency}"


@pytest.mark.parametrize(
    "point",
    [
        p
        for p in POINTS
        if p.model == "meta-llama/Llama-3.1-70B-Instruct" or (p.engine, p.concurrency) == ("sglang", 352)
    ],
    ids=name,
)
def test_a_dense_model_lies_in_the_band_that_holds_nineteen_of_twenty(point: Point, catalog: Catalog) -> None:
    predicted = point.predicted(catalog)
    assert within(widened(predicted.tpot_interval_ms, predicted.tpot_ms), point.tpot_ms)
    assert within(widened(predicted.ttft_interval_ms, predicted.ttft_ms), point.ttft_ms)


@pytest.mark.parametrize("metric", ["tpot", "ttft"])
def test_eighty_percent_bands_hold_about_eighty_percent(metric: str) -> None:
    """Of 36: at least 25 (70 %), and not all of them, or the bands would be idle."""
    held = sum(
        within(getattr(predicted, f"{metric}_interval_ms"), getattr(point, f"{metric}_ms"))
        for point, predicted in zip(POINTS, PREDICTED, strict=True)
    )
    assert len(POINTS) == 36
    assert 25 <= held < 36


@pytest.mark.parametrize(("metric", "median", "factor"), [("tpot_ms", 0.15, 2.0), ("ttft_ms", 0.35, 4.0)])
def test_errors_stay_within_what_the_fit_claims(metric: str, median: float, factor: float) -> None:
    """Median error over the sample, and the farthest off in either direction."""
    ratio = np.array([getattr(p, metric) for p in PREDICTED]) / np.array([getattr(p, metric) for p in POINTS])
    assert np.median(np.abs(ratio - 1.0)) < median
    assert np.exp(np.abs(np.log(ratio))).max() < factor


def test_none_of_these_is_called_an_extrapolation() -> None:
    assert not any(predicted.extrapolated for predicted in PREDICTED)
