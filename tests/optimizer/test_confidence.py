"""Planning at a confidence: half is the point estimate, more never costs less, and a plan alone verifies."""

from __future__ import annotations

from typing import Any

import pytest

from catalog import load_catalog
from optimizer import load_plan, load_scenario, optimize, verify
from optimizer.layout import Layout
from optimizer.plans import dump_plan, parse_plan

CATALOG = load_catalog()
WORKLOAD = {
    "model": "Qwen/Qwen3-14B", "requests": "80/s", "input_tokens": 900, "output_tokens": 250,
    "weight_dtypes": ["fp8"], "tp": [1, 2], "pp": [1], "slo": {"ttft_p95": "2s", "tpot_p95": "60ms"},
}  # fmt: skip
OFFERS = {
    "l40s": {"gpu": "l40s", "gpus_per_server": 4, "rent": {"price": "$1/gpu/h"}},
    "h100": {"gpu": "h100-sxm", "gpus_per_server": 8, "rent": {"price": "$2.40/gpu/h"}},
}


def plan(**changes: Any) -> Layout:
    scenario = load_scenario({"name": "sure", "workloads": {"chat": WORKLOAD}, "inventory": OFFERS, **changes}, CATALOG)
    layout = optimize(scenario, CATALOG)
    assert verify(layout, scenario, CATALOG) == []
    return layout


def usd_per_hour(layout: Layout) -> float:
    assert layout.cost is not None
    return layout.cost.usd_per_hour


@pytest.fixture(scope="module")
def plans() -> dict[str, Layout]:
    return {asked: plan(confidence=asked) for asked in ("50%", "70%", "90%", "99%")}


def test_half_is_the_point_estimate(plans: dict[str, Layout]) -> None:
    point = plan()
    assert plans["50%"].workloads == point.workloads
    assert plans["50%"].cost == point.cost


def test_more_confidence_never_costs_less(plans: dict[str, Layout]) -> None:
    costs = [usd_per_hour(layout) for layout in plans.values()]
    assert costs == sorted(costs)
    assert costs[-1] > costs[0]


def test_the_plan_says_what_it_is_planned_on(plans: dict[str, Layout]) -> None:
    assert any("that 90.0% of measurements were better than" in said for said in plans["90%"].assumptions)
    assert not any("of measurements" in said for said in plans["50%"].assumptions)


def test_latencies_stand_at_the_quantile_within_the_band_of_the_prediction(plans: dict[str, Layout]) -> None:
    (group,) = plans["90%"].workloads[0].replica_groups
    assert group.tpot_ms is not None
    assert group.tpot_interval_ms is not None
    assert group.tpot_ms["mean"] == pytest.approx(group.tpot_interval_ms[1], rel=0.02)  # 90 % = the band's upper end


def test_a_plan_file_alone_verifies_and_one_of_another_confidence_does_not(plans: dict[str, Layout]) -> None:
    text = dump_plan(plans["90%"])
    again = parse_plan(text, "plan.json")
    assert verify(again, load_scenario(again.inputs, CATALOG), CATALOG) == []
    bolder = load_plan({**again.model_dump(mode="json"), "inputs": {**again.inputs, "confidence": "50%"}})
    problems = verify(bolder, load_scenario(bolder.inputs, CATALOG), CATALOG)
    assert any("rate_rps" in problem for problem in problems)
