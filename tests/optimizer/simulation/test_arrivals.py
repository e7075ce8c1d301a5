"""Arrivals and sizes are drawn as promised, and never longer than a replica accepts."""

from __future__ import annotations

import numpy as np
import pytest

from optimizer.simulation import Requests, TokenSizes, arrival_times_ms
from optimizer.simulation.arrivals import scaled_to


@pytest.mark.parametrize("cv", [1.0, 2.0, 0.5])
def test_gaps_have_the_mean_and_variation_asked_for(cv: float) -> None:
    times = arrival_times_ms(10.0, 10_000.0, np.random.default_rng(0), cv=cv)
    gaps = np.diff(times)
    assert (gaps >= 0).all()
    assert times[-1] < 10_000_000
    assert len(times) == pytest.approx(100_000, rel=0.02)
    assert gaps.mean() == pytest.approx(100.0, rel=0.02)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.03)


def test_the_same_seed_draws_the_same_times() -> None:
    one, two = (arrival_times_ms(3.0, 100.0, np.random.default_rng(5)) for _ in range(2))
    assert one.tolist() == two.tolist()


def test_a_recording_is_squeezed_to_a_rate() -> None:
    # 0, 1 and 4 s are 2 gaps in 4 s: 0.5/s; at 1/s they take half the time, from zero
    assert scaled_to(1.0, np.array([7000.0, 8000.0, 11000.0])).tolist() == [0.0, 500.0, 2000.0]


def test_classes_come_in_their_shares_with_their_sizes() -> None:
    sizes = [TokenSizes(100.0, 0.0, 10.0, 0.0), TokenSizes(1000.0, 0.5, 50.0, 0.0)]
    rng = np.random.default_rng(0)
    drawn = Requests.drawn(np.arange(20_000.0), np.array([3.0, 1.0]), sizes, 10**6, rng)
    short = drawn.of_class == 0
    assert short.mean() == pytest.approx(0.75, abs=0.01)
    assert set(drawn.input_tokens[short].tolist()) == {100}
    assert np.median(drawn.input_tokens[~short]) == pytest.approx(1000, rel=0.03)
    assert np.log(drawn.input_tokens[~short]).std() == pytest.approx(0.5, rel=0.05)


def test_no_request_is_longer_than_the_replica_accepts() -> None:
    sizes = TokenSizes(1000.0, 2.0, 500.0, 2.0)
    inputs, outputs = sizes.draw(5000, 2048, np.random.default_rng(0))
    assert (inputs + outputs).max() <= 2048
    assert inputs.min() >= 1
    assert outputs.min() >= 1
