"""Bursts: whom a request meets beyond the mean, and what that takes from a replica."""

from __future__ import annotations

import numpy as np
import pytest

from optimizer.performance.bursts import excess, found_ahead, overlap


def test_one_who_arrives_at_random_meets_the_mean() -> None:
    assert excess(np.array([0.1, 5.0]), 1.0).tolist() == [0.0, 0.0]


def test_a_burst_brings_others_along() -> None:
    # cv² = 2 and 2/3 expected: φ = (1 + 2 / (2/3))^(−1/2) = 4^(−1/2) = 1/2, and φ / (1 − φ) = 1 come instead of 2/3
    assert float(excess(np.array([2 / 3]), np.sqrt(2.0))[0]) == pytest.approx(1 / 3)


def test_over_a_long_time_half_of_what_the_variance_is_beyond_one() -> None:
    # cv 3: (9 − 1) / 2 = 4
    assert float(excess(np.array([1e5]), 3.0)[0]) == pytest.approx(4.0, rel=0.001)


def test_as_many_follow_as_in_drawn_arrivals() -> None:
    # a renewal process of gamma gaps with cv 2 (shape 1/4, mean 1), seen over exponential spans of mean 3
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.gamma(0.25, 4.0, 400_000))
    starts = np.arange(0, 300_000)
    ends = times[starts] + rng.exponential(3.0, len(starts))
    followers = np.searchsorted(times, ends, side="right") - starts - 1
    assert float(excess(np.array([3.0]), 2.0)[0]) + 3.0 == pytest.approx(followers.mean(), rel=0.02)


@pytest.mark.parametrize("sigma", [0.0, 0.5, 1.2])
def test_the_shorter_of_two_lives_is_what_they_share(sigma: float) -> None:
    lives = np.exp(sigma * np.random.default_rng(0).standard_normal((200_000, 2)))
    assert overlap(sigma) == pytest.approx(lives.min(axis=1).mean() / lives.mean(), rel=0.02)


def test_one_who_comes_in_a_burst_finds_more_in_line() -> None:
    # cv² = 2 and a load of 1/3: with u = 1/2, (1 + 2 · (1/2) / (1/3))^(−1/2) = 4^(−1/2) = 1 − u, so (1 − u) / u = 1 are
    # found before it; where arrivals are random it is (1/3) / (2/3) = 1/2
    assert float(found_ahead(np.array([1 / 3]), np.sqrt(2.0))[0]) == pytest.approx(1 / 2)
    assert found_ahead(np.array([1 / 3]), 1.0).tolist() == [0.0]


def test_as_many_are_in_line_as_in_a_queue_of_drawn_arrivals() -> None:
    # waits at one server by Lindley's recursion: gaps with cv 4 and mean 2, exponential service of mean 1, load 1/2
    rng = np.random.default_rng(0)
    gaps, service = rng.gamma(1 / 16, 32.0, 1_000_000), rng.exponential(1.0, 1_000_000)
    ahead = np.cumsum(service[:-1] - gaps[1:])
    waits = ahead - np.minimum.accumulate(np.minimum(ahead, 0.0))
    assert float(found_ahead(np.array([0.5]), 4.0)[0]) + 1.0 == pytest.approx(waits.mean(), rel=0.02)


@pytest.mark.parametrize("cv", [1.2, 2.0, 4.0, 10.0])
def test_the_busier_a_server_the_more_are_in_line(cv: float) -> None:
    ahead = found_ahead(np.linspace(0.0, 0.98, 99), cv)
    assert np.all(np.diff(ahead) > 0.0)
