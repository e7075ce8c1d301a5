"""Bursts: whom a request meets beyond the mean, and what that takes from a replica."""

from __future__ import annotations

import numpy as np
import pytest

from optimizer.performance.bursts import excess, overlap


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
