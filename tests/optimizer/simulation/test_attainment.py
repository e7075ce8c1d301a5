"""Targets are judged by the requests seen, and missed only when chance does not explain it."""

from __future__ import annotations

import numpy as np
import pytest

from optimizer.scenario import Target
from optimizer.simulation.attainment import attainment

TIMES = np.arange(1000.0)


def test_all_in_time_holds() -> None:
    found = attainment(Target("ttft", "p90", 100.0), np.full(1000, 50.0), TIMES)
    assert found is not None
    assert (found.target, found.seen_ms, found.within_fraction) == ("ttft_p90", 50.0, 1.0)
    assert found.held
    assert not found.missed


def test_a_clear_miss_is_one() -> None:
    # 20 % late in every stretch, 10 % would do
    latency = np.where(np.arange(1000) % 5 == 0, 200.0, 50.0)
    found = attainment(Target("ttft", "p90", 100.0), latency, TIMES)
    assert found is not None
    assert found.within_fraction == 0.8
    assert found.missed
    assert not found.held


def test_a_single_bad_stretch_is_not_enough_to_say_missed() -> None:
    # 12 % late, all of them in two of the ten stretches: it may have been bad luck
    latency = np.where(np.arange(1000) < 120, 200.0, 50.0)
    found = attainment(Target("ttft", "p90", 100.0), latency, TIMES)
    assert found is not None
    assert not found.held
    assert not found.missed
    low, high = found.within_interval
    assert low < 0.88 < 0.9 < high


@pytest.mark.parametrize(("n", "low"), [(4, 0.398), (36, 0.903), (1000, 0.9963)])
def test_that_all_are_in_time_says_the_less_the_fewer_they_are(n: int, low: float) -> None:
    # 0.025 ^ (1 / n): of four requests all are in time in one run of forty where 39.8 % of all are
    found = attainment(Target("ttft", "p95", 100.0), np.full(n, 50.0), TIMES[:n])
    assert found is not None
    assert found.within_interval == pytest.approx((low, 1.0), abs=5e-4)


def test_a_single_late_request_is_no_miss_and_a_few_are() -> None:
    # 1 − 0.025 ^ (1 / n) is 97.5 % of one request and 84.2 % of two
    for n, missed in ((1, False), (2, True)):
        found = attainment(Target("ttft", "p95", 100.0), np.full(n, 200.0), TIMES[:n])
        assert found is not None
        assert found.missed is missed


def test_a_mean_is_judged_by_its_own_interval() -> None:
    rng = np.random.default_rng(0)
    latency = 105.0 + rng.standard_normal(1000)
    found = attainment(Target("e2e", "mean", 100.0), latency, TIMES)
    assert found is not None
    assert found.missed
    assert found.seen_ms == pytest.approx(105.0, abs=0.2)


def test_without_requests_there_is_nothing_to_judge() -> None:
    assert attainment(Target("tpot", "p95", 1.0), np.full(3, np.nan), TIMES[:3]) is None


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    # 95 % intervals of a share of 90 %, over 400 runs of 1,000 independent requests
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(400):
        latency = np.where(rng.random(1000) < 0.9, 50.0, 200.0)
        found = attainment(Target("ttft", "p90", 100.0), latency, TIMES)
        assert found is not None
        inside += found.within_interval[0] <= 0.9 <= found.within_interval[1]
    assert inside / 400 == pytest.approx(0.95, abs=0.03)
