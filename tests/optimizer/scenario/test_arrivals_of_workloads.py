"""How evenly requests arrive: stated, recorded in a trace, or at random."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from base_scenario import BASE, scenario_with

from catalog import Catalog
from optimizer.scenario import Workload, load_scenario
from optimizer.scenario.traces import arrival_cv

SIZES = {"mean": 20, "p50": 20, "p95": 29, "p99": 30}
TRACE = {"requests": 2, "rate": "0.1/s", "input_tokens": SIZES, "output_tokens": SIZES, "cv": 3}
TRACED = {"requests": None, "input_tokens": None, "output_tokens": None, "trace": TRACE}


def workload_with(catalog: Catalog, **keys: Any) -> Workload:
    return load_scenario(scenario_with(workload=keys), catalog).workloads["chat"]


@pytest.mark.parametrize(
    ("keys", "process", "cv"),
    [
        ({}, "poisson", 1.0),
        ({"arrivals": "poisson"}, "poisson", 1.0),
        ({"arrivals": "bursty"}, "bursty", 2.0),
        ({"arrivals": {"process": "bursty", "cv": 4}}, "bursty", 4.0),
        (TRACED, "trace", 3.0),
        ({**TRACED, "arrivals": "poisson"}, "poisson", 1.0),
        ({**TRACED, "arrivals": {"process": "bursty", "cv": 1.5}}, "bursty", 1.5),
    ],
)
def test_the_process_is_as_stated_or_as_recorded(
    keys: dict[str, Any], process: str, cv: float, catalog: Catalog
) -> None:
    workload = workload_with(catalog, **keys)
    assert (workload.arrival_process, workload.arrival_cv) == (process, cv)


def test_the_normalised_form_keeps_it_and_its_hash_tells(catalog: Catalog) -> None:
    bursty = load_scenario(scenario_with(workload={"arrivals": {"process": "bursty", "cv": 3}}), catalog)
    again = load_scenario(bursty.canonical(), catalog)
    assert bursty.canonical()["workloads"]["chat"]["arrivals"] == {"process": "bursty", "cv": 3.0}
    assert again.sha256 == bursty.sha256 != load_scenario(BASE, catalog).sha256


def test_even_gaps_and_random_ones_are_no_bursts() -> None:
    rng = np.random.default_rng(0)
    assert arrival_cv(np.arange(1000.0)) == 1.0
    assert arrival_cv(np.cumsum(rng.exponential(1.0, 20_000))) == pytest.approx(1.0, abs=0.03)


def test_recorded_bursts_are_found_whatever_the_hour() -> None:
    # Gamma gaps with cv 2, at a rate that rises tenfold over the day: that is no burst
    rng = np.random.default_rng(0)
    gaps = rng.gamma(0.25, 4.0, 20_000) * np.linspace(10.0, 1.0, 20_000)
    assert arrival_cv(np.cumsum(gaps)) == pytest.approx(2.0, rel=0.05)


def test_a_clock_of_seconds_makes_no_bursts() -> None:
    times = np.cumsum(np.random.default_rng(0).exponential(0.2, 20_000))
    assert arrival_cv(np.floor(times)) == pytest.approx(1.0, abs=0.05)


def test_two_requests_tell_nothing(tmp_path: Path, catalog: Catalog) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n0,10,20\n10,30,40\n")
    assert workload_with(catalog, **{**TRACED, "trace": str(file)}).arrival_cv == 1.0
