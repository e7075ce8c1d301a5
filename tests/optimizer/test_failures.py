"""Servers fail and are repaired: as many stand by as are down at a time, in numbers to be worked out by hand."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from measured import scenario, workload

from catalog import Catalog
from optimizer import load_scenario, optimize, verify
from optimizer.formulation.failures import stand_by
from optimizer.layout import Layout
from optimizer.scenario import Offer, Scenario
from optimizer.verification.machines import standing_by_needed

FAILURES = {"mtbf": "90h", "mttr": "10h", "availability": "95%"}  # each server is down 10 % of the time


def given(rate: float, offer: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Servers of one GPU that serve 1/s each."""
    return scenario(
        {"a": workload(rate, [("l4", 1, 1.0)])}, {"node": {"gpu": "l4", "gpus_per_server": 1, **offer}}, **more
    )


def solved(keys: dict[str, Any], catalog: Catalog, solver: Literal["scip", "highs"] = "scip") -> Layout:
    loaded = load_scenario(keys, catalog)
    layout = optimize(loaded, catalog, gap=0.0, solver=solver)
    assert layout.status in ("optimal", "infeasible")
    assert verify(layout, loaded, catalog) == []
    return layout


def servers(layout: Layout) -> list[tuple[str, int, int]]:
    """(term, servers, of which stand by) of each row."""
    return [(row.term, row.count, row.stand_by) for row in layout.servers]


def offer_of(failures: dict[str, Any], catalog: Catalog) -> Offer:
    loaded: Scenario = load_scenario(given(1, {"own": 1, "failures": failures}), catalog)
    return loaded.inventory["node"]


def test_as_many_stand_by_as_are_down_at_a_time_with_the_asked_probability(catalog: Catalog) -> None:
    # One in use: alone up 90 %; of two, at most one down 1 − 0.1² = 99 %. Two in use: of three, at most one down
    # 0.9³ + 3 · 0.1 · 0.9² = 97.2 %. Three: of four 0.9⁴ + 4 · 0.1 · 0.9³ = 94.77 %, of five at most two 99.14 %.
    offer = offer_of(FAILURES, catalog)
    found = stand_by([offer], np.array([4.0]))
    assert [found.needed(0, n) for n in range(5)] == [0, 1, 1, 2, 2]
    assert [standing_by_needed(offer, n) for n in range(5)] == [0, 1, 1, 2, 2]


@pytest.mark.parametrize("mttr", ["1h", "8h", "100h"])
@pytest.mark.parametrize("availability", ["50%", "99%", "99.99%"])
def test_plan_and_verification_count_the_same(mttr: str, availability: str, catalog: Catalog) -> None:
    offer = offer_of({"mtbf": "1000h", "mttr": mttr, "availability": availability}, catalog)
    found = stand_by([offer], np.array([60.0]))
    assert [found.needed(0, n) for n in range(61)] == [standing_by_needed(offer, n) for n in range(61)]


def test_a_share_of_the_servers_would_miss_how_pooling_helps(catalog: Catalog) -> None:
    offer = offer_of({"mtbf": "1000h", "mttr": "50h", "availability": "99%"}, catalog)
    share = [standing_by_needed(offer, n) / n for n in (1, 10, 100)]
    assert share == sorted(share, reverse=True)


@pytest.mark.parametrize("solver", ["scip", "highs"])
def test_servers_that_stand_by_are_paid_and_run_nothing(solver: Literal["scip", "highs"], catalog: Catalog) -> None:
    layout = solved(given(3, {"rent": {"price": "$2/gpu/h"}, "failures": FAILURES}), catalog, solver)
    assert servers(layout) == [("rent", 5, 2)]
    assert layout.servers[0].in_use == 3
    assert layout.cost is not None
    assert layout.cost.usd_per_hour == pytest.approx(5 * 2)
    assert any("95% of the time no more are down than stand by" in one for one in layout.assumptions)


def test_they_are_shared_by_all_terms_of_an_offer(catalog: Catalog) -> None:
    layout = solved(given(3, {"own": 2, "rent": {"price": "$2/gpu/h"}, "failures": FAILURES}), catalog)
    assert sum(row.count for row in layout.servers) == 5
    assert sum(row.stand_by for row in layout.servers) == 2


def test_spot_servers_are_spared_apart(catalog: Catalog) -> None:
    # Spot is cheap, but only one is to be had; of the other servers two are in use, so one stands by.
    offer = {"spot": {"price": "$1/gpu/h", "max": 1}, "rent": {"price": "$2/gpu/h"}, "failures": FAILURES}
    assert servers(solved(given(3, offer), catalog)) == [("rent", 3, 1), ("spot", 1, 0)]


def test_what_would_need_fewer_to_stand_by_can_be_cheaper(catalog: Catalog) -> None:
    # Two small servers need a third; one large server that never fails is cheaper than three, not than two.
    keys = given(2, {"rent": {"price": "$1/gpu/h"}})
    keys["inventory"]["sure"] = {"gpu": "l4", "gpus_per_server": 2, "rent": {"price": "$1.25/gpu/h"}}
    assert [row.offer for row in solved(keys, catalog).servers] == ["node"]
    keys["inventory"]["node"]["failures"] = FAILURES
    assert [row.offer for row in solved(keys, catalog).servers] == ["sure"]


def test_bought_servers_that_stand_by_run_too_in_every_period(catalog: Catalog) -> None:
    # $876 a year each, and $100 a month for each that is on: in year one 2 + 1, in year two 3 + 2.
    keys = given(
        2,
        {"buy": {"price": "$876/server", "life": "24mo"}, "failures": FAILURES},
        horizon="24mo",
        periods=2,
        facility={"opex": "$100/server/mo"},
    )
    keys["workloads"]["a"] |= {"requests_per_period": ["2/s", "3/s"]}
    del keys["workloads"]["a"]["requests"]
    layout = solved(keys, catalog)
    assert [sum(row.stand_by for row in plan.servers) for plan in layout.periods] == [1, 2]
    assert layout.cost is not None
    running = 12 * 100 * (3 + 5)
    lost = 876 * 3 + 876 * 2 / 2  # those that come in year two have lost half of their value
    assert layout.cost.usd_over_horizon == pytest.approx(running + lost)


def test_with_n_plus_one_both_hold(catalog: Catalog) -> None:
    keys = given(2, {"rent": {"price": "$1/gpu/h"}, "failures": FAILURES})
    keys["workloads"]["a"]["spare"] = "n+1"
    assert servers(solved(keys, catalog)) == [("rent", 5, 2)]  # three carry two of load whichever is lost, two stand by


def test_groups_that_do_not_divide_a_server_keep_the_room(catalog: Catalog) -> None:
    keys = scenario(
        {"a": workload(2, [("l4", 3, 1.0)]), "b": workload(1, [("l4", 4, 1.0)])},
        {"node": {"gpu": "l4", "gpus_per_server": 8, "rent": {"price": "$1/gpu/h"}, "failures": FAILURES}},
    )
    # 3 + 3 and 4 take two servers, and one stands by.
    assert servers(solved(keys, catalog)) == [("rent", 3, 1)]


def test_a_plan_that_keeps_fewer_is_not_sound(catalog: Catalog) -> None:
    loaded = load_scenario(given(3, {"rent": {"price": "$2/gpu/h"}, "failures": FAILURES}), catalog)
    layout = optimize(loaded, catalog, gap=0.0)
    (row,) = layout.servers
    fewer = layout.model_copy(update={"servers": (row.model_copy(update={"count": 4, "idle": 1, "stand_by": 1}),)})
    assert "node: 1 servers stand by for those that fail, 2 are needed" in verify(fewer, loaded, catalog)


def test_too_few_servers_are_explained(catalog: Catalog) -> None:
    layout = solved(given(3, {"own": 4, "failures": FAILURES}), catalog)
    assert layout.infeasible is not None
    assert {one.family for one in layout.infeasible.conflict} == {"serve_demand", "failure_spares", "offer_limits"}
