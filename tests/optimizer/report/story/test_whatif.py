"""Solving again: swings, runners-up and thresholds of a scenario small enough to do by hand."""

from __future__ import annotations

from typing import Any

import pytest
from measured import scenario as measured_scenario
from measured import workload

from catalog import Catalog
from optimizer import optimize
from optimizer.layout import Layout
from optimizer.report.story.whatif import WhatIf, decision, explore, within_budget
from optimizer.scenario import Scenario, load_scenario

# One replica a server, 10 requests/s: 25/s need three servers. Over ten months a bought one loses all of its $1,000, a
# rented one costs 730 × 10 × $0.15 = $1,095.
OFFERS: dict[str, Any] = {
    "bought": {"gpu": "h100-sxm", "gpus_per_server": 1, "buy": {"price": "$1000/server", "life": "10mo"}},
    "rented": {"gpu": "h100-sxm", "gpus_per_server": 1, "rent": {"price": "$0.15/server/h"}},
}


@pytest.fixture(scope="module")
def scenario(catalog: Catalog) -> Scenario:
    keys = measured_scenario({"a": workload(25, [("h100-sxm", 1, 10)])}, OFFERS, horizon="10mo")
    return load_scenario(keys, catalog)


@pytest.fixture(scope="module")
def layout(scenario: Scenario, catalog: Catalog) -> Layout:
    return optimize(scenario, catalog)


@pytest.fixture(scope="module")
def found(layout: Layout, scenario: Scenario, catalog: Catalog) -> WhatIf:
    return explore(layout, scenario, catalog, time_limit_s=60)


def test_swings_change_one_thing_and_solve_again(layout: Layout, found: WhatIf) -> None:
    assert decision(layout) == (("buy", "bought", 3),)
    costs = {
        swing.name: (round(swing.low.cost.usd_over_horizon), round(swing.high.cost.usd_over_horizon))
        for swing in found.swings
        if swing.low.cost and swing.high.cost
    }
    # rent −20 %: 3 × 876; purchase +20 %: rented ones at 1,095 are cheaper than 1,200; demand −20 %: 20/s, two servers
    assert costs["rent"] == (2628, 3000)
    assert costs["purchase prices"] == (2400, 3285)
    assert costs["demand"] == (2000, 3000)
    assert "electricity price" not in costs  # there is none to change
    assert found.complete


def test_runners_up_are_other_purchases_at_the_prices_of_today(found: WhatIf) -> None:
    ((other, usd),) = found.runners_up
    assert decision(other) == (("rent", "rented", 3),)
    assert usd == pytest.approx(3285)


def test_thresholds_are_where_two_plans_cost_the_same(found: WhatIf) -> None:
    # rent: 3,285 × f = 3,000; purchase: 3,000 × f = 3,285
    assert [(one.name, pytest.approx(one.factor)) for one in found.thresholds] == [
        ("rent", 3000 / 3285),
        ("purchase prices", 3285 / 3000),
    ]


def test_without_time_nothing_is_answered_and_that_is_said(
    layout: Layout, scenario: Scenario, catalog: Catalog
) -> None:
    found = explore(layout, scenario, catalog, time_limit_s=0.0)
    assert not found.complete
    assert (found.swings, found.frontier, found.runners_up, found.thresholds) == ((), (), (), ())


def test_asking_twice_gives_the_same_answers(
    layout: Layout, scenario: Scenario, catalog: Catalog, found: WhatIf
) -> None:
    again = explore(layout, scenario, catalog, time_limit_s=60)
    assert again.thresholds == found.thresholds or [(t.name, t.factor) for t in again.thresholds] == [
        (t.name, t.factor) for t in found.thresholds
    ]


def test_a_runner_up_keeps_to_the_budget_of_each_period(catalog: Catalog) -> None:
    # Three servers at $1,000 are bought at the start: $3,000 in the first period, nothing later.
    keys = measured_scenario({"a": workload(25, [("h100-sxm", 1, 10)])}, OFFERS, horizon="10mo", periods=2)
    free = load_scenario(keys, catalog)
    buys = optimize(free, catalog)
    assert sum(one.count for one in buys.purchases) == 3
    for amounts, is_affordable in ((["$3000", "$0"], True), (["$2000", "$9000"], False)):
        asked = load_scenario(keys | {"budget": {"capex_per_period": amounts}}, catalog)
        assert within_budget(buys, asked, catalog) is is_affordable
