"""Validated plans hold their targets in the simulation, and say what that took."""

from __future__ import annotations

from typing import Any

import pytest

from catalog import Catalog
from optimizer import load_scenario, verify
from optimizer.scenario import Scenario
from optimizer.simulation import Traffic, simulate_plan
from optimizer.validation import optimize_validated

CALM = Traffic(duration_s=200.0)
LIKE_STATED = Traffic(duration_s=120.0)
BURSTS = Traffic(arrivals="bursty", cv=4.0, duration_s=200.0)


def scenario_of(catalog: Catalog, **changes: Any) -> Scenario:
    return load_scenario(
        {
            "name": "validated",
            "max_utilization": "100%",
            "workloads": {
                "chat": {
                    "model": "Qwen/Qwen3-8B", "requests": "26/s", "input_tokens": 600, "output_tokens": 120,
                    "slo": {"ttft_p95": "600ms", "tpot_p95": "40ms"}, "weight_dtypes": ["fp8"], "tp": [1], "pp": [1],
                    "max_batch_size": [32],
                    **changes,
                }
            },
            "inventory": {"node": {"gpu": "h100-sxm", "gpus_per_server": 1, "rent": {"price": "$2.40/gpu/h"}}},
        },
        catalog,
    )  # fmt: skip


def test_a_plan_that_holds_is_left_as_it_is(catalog: Catalog) -> None:
    layout = optimize_validated(scenario_of(catalog), catalog, traffic=CALM)
    assert layout.scenario_sha256 == scenario_of(catalog).sha256
    assert any("chat: holds its targets in a simulation of" in line for line in layout.assumptions)


def test_a_plan_that_misses_is_tightened_until_it_holds(catalog: Catalog) -> None:
    plain = optimize_validated(scenario_of(catalog), catalog, traffic=CALM)
    assert not all(
        target.held
        for one in simulate_plan(plain, scenario_of(catalog), catalog, BURSTS).workloads
        for kind in one.classes
        for target in kind.targets
    )
    layout = optimize_validated(scenario_of(catalog), catalog, traffic=BURSTS)
    tightened = load_scenario(layout.inputs, catalog)
    assert tightened.workloads["chat"].margin_fraction > 0
    assert verify(layout, tightened, catalog) == []
    assert plain.cost is not None
    assert layout.cost is not None
    assert layout.cost.usd_per_hour > plain.cost.usd_per_hour
    assert any("holds its targets" in line and "below them" in line for line in layout.assumptions)


def test_over_several_periods_each_workload_is_simulated_where_it_is_busiest(catalog: Catalog) -> None:
    # Ever more requests for the one replica that the first period rents: the last period is the busiest.
    given = scenario_of(catalog, requests="4/s", growth="10%/period").canonical() | {"horizon": "3mo", "periods": 3}
    loaded = load_scenario(given, catalog)
    layout = optimize_validated(loaded, catalog, traffic=CALM)
    assert [plan.workloads[0].replica_groups[0].replicas for plan in layout.periods] == [1, 1, 1]
    (outcome,) = simulate_plan(layout, loaded, catalog, CALM).workloads
    assert outcome.when == "period 3"
    assert outcome.rate_rps == pytest.approx(4 * 1.1**2, rel=0.2)
    assert any("in period 3, where it is busiest" in line for line in layout.assumptions)


def test_bursts_that_the_scenario_states_are_planned_on_and_simulated(catalog: Catalog) -> None:
    bursty = scenario_of(catalog, arrivals={"process": "bursty", "cv": 4})
    layout, plain = (optimize_validated(one, catalog, traffic=LIKE_STATED) for one in (bursty, scenario_of(catalog)))
    assert verify(layout, load_scenario(layout.inputs, catalog), catalog) == []
    assert layout.workloads[0].replica_groups[0].rate_rps["all"] < plain.workloads[0].replica_groups[0].rate_rps["all"]
    assert any("minutes of bursty arrivals (cv 4)" in line for line in layout.assumptions)
    assert any("minutes of Poisson arrivals" in line for line in plain.assumptions)
    # What a replica carries of requests at random is too much of bursts, and verification notices
    assert any("rate_rps" in fault for fault in verify(layout, scenario_of(catalog), catalog))


def test_when_no_margin_mends_it_the_last_plan_comes_with_a_warning(catalog: Catalog) -> None:
    # 95 % within 70 ms where an almost idle replica takes 47: a burst waits longer than any margin leaves room for
    layout = optimize_validated(scenario_of(catalog, slo={"ttft_p95": "70ms"}), catalog, traffic=BURSTS)
    assert layout.cost is not None
    assert any("ttft_p95 of class all is" in line for line in layout.warnings)
    assert any("chat: misses its targets in a simulation of" in line for line in layout.assumptions)


def test_without_a_plan_there_is_nothing_to_validate(catalog: Catalog) -> None:
    layout = optimize_validated(scenario_of(catalog, slo={"ttft_p95": "1ms"}), catalog, traffic=CALM)
    assert layout.status == "infeasible"
