"""What a server costs on each term, and how many spares spot servers need."""

from __future__ import annotations

from typing import Any

import pytest
from measured import scenario, workload

from catalog import Catalog
from optimizer import load_scenario, optimize, verify
from optimizer.candidates import build_candidates
from optimizer.errors import InputError
from optimizer.formulation import Instance, build_instance
from optimizer.layout import Layout
from optimizer.scenario import Scenario

ONE_A_SERVER = {"a": workload(3, [("l4", 1, 1.0)])}  # three servers of one GPU


def load(offer: dict[str, Any], catalog: Catalog, **more: Any) -> Scenario:
    return load_scenario(
        scenario(ONE_A_SERVER, {"node": {"gpu": "l4", "gpus_per_server": 1, **offer}}, **more), catalog
    )


def instance(loaded: Scenario, catalog: Catalog) -> Instance:
    return build_instance(loaded, catalog, build_candidates(loaded, catalog))


def solved(loaded: Scenario, catalog: Catalog) -> Layout:
    layout = optimize(loaded, catalog, gap=0.0)
    assert layout.status == "optimal"
    assert verify(layout, loaded, catalog) == []
    return layout


def usd_over_horizon(layout: Layout) -> float:
    assert layout.cost is not None
    return layout.cost.usd_over_horizon


def test_a_reservation_is_paid_in_whole_terms(catalog: Catalog) -> None:
    # 18 months need two terms of 12: 24 months × 730 h × $1 × 3 servers = $52,560, less than 18 × 730 × $1.50 × 3.
    offer = {"rent": {"price": "$1.5/gpu/h"}, "reserve": [{"term": "12mo", "price": "$1/gpu/h"}]}
    layout = solved(load(offer, catalog, horizon="18mo"), catalog)
    assert [(row.term, row.term_months, row.count) for row in layout.servers] == [("reserve", 12, 3)]
    assert usd_over_horizon(layout) == pytest.approx(52_560)


def test_of_several_reserved_terms_the_cheapest_over_the_horizon_is_taken(catalog: Catalog) -> None:
    # 18 months: two terms of 12 at $1 are 24 $·months, three of 6 at $1.20 are 21.6, one of 18 at $1.30 is 23.4.
    terms = [(12, "1"), (6, "1.2"), (18, "1.3")]
    offer = {"reserve": [{"term": f"{months}mo", "price": f"${usd}/gpu/h"} for months, usd in terms]}
    layout = solved(load(offer, catalog, horizon="18mo"), catalog)
    assert [(row.term, row.term_months, row.count) for row in layout.servers] == [("reserve", 6, 3)]


def test_a_limited_reservation_is_filled_up_by_rent(catalog: Catalog) -> None:
    offer = {"rent": {"price": "$1.5/gpu/h"}, "reserve": [{"term": "12mo", "price": "$1/gpu/h", "max": 2}]}
    layout = solved(load(offer, catalog, horizon="12mo"), catalog)
    assert [(row.term, row.count) for row in layout.servers] == [("rent", 1), ("reserve", 2)]


def test_the_same_term_cannot_be_listed_twice(catalog: Catalog) -> None:
    offer = {"reserve": [{"term": "12mo", "price": "$1/gpu/h"}, {"term": "1yr", "price": "$2/gpu/h"}]}
    with pytest.raises(InputError, match="a term of 12mo is listed twice"):
        load(offer, catalog, horizon="12mo")


def test_spot_servers_get_the_spares_of_a_poisson_number_of_missing_ones(catalog: Catalog) -> None:
    # Each of n servers is missing 5 %/h × 15 min = 1.25 % of the time. 99 % availability allows a mean of
    # -ln 0.99 = 0.01005 without a spare (0.8 servers), 0.14855 with one (11.9) and 0.43605 with two (34.9):
    # e^-m (1 + m) = 0.99 at m = 0.14855; e^-m (1 + m + m²/2) = 0.99 at m = 0.43605.
    spot = instance(load({"spot": {"price": "$1/gpu/h", "interruption": "5%/h"}}, catalog), catalog).spot
    assert [spot.needed(0, n) for n in (0, 1, 3)] == [0, 1, 1]
    many = scenario({"a": workload(40, [("l4", 1, 1.0)])}, {"node": {"gpu": "l4", "gpus_per_server": 1, "spot": {
        "price": "$1/gpu/h", "interruption": "5%/h"}}})  # fmt: skip
    spot = instance(load_scenario(many, catalog), catalog).spot
    assert [spot.needed(0, n) for n in (11, 12, 34, 35)] == [1, 2, 2, 3]


def test_spares_are_paid_and_run_nothing(catalog: Catalog) -> None:
    offer = {"spot": {"price": "$1/gpu/h", "interruption": "5%/h"}}
    layout = solved(load(offer, catalog), catalog)
    assert [(row.term, row.count, row.idle, row.in_use) for row in layout.servers] == [("spot", 4, 1, 3)]
    assert usd_over_horizon(layout) == pytest.approx(4 * 730)


@pytest.mark.parametrize(
    ("spot", "spares"),
    [
        ({}, 0),  # not known how often: as if never
        ({"interruption": "0%/h"}, 0),
        ({"interruption": "5%/h", "recovery": "1min"}, 0),  # 3 × 0.05 / 60 = 0.0025: P(none) = 99.75 %
        ({"interruption": "5%/h", "recovery": "2h"}, 2),  # 0.3: e^-0.3 × 1.3 = 96.3 %, with 0.3²/2 more 99.6 %
        ({"interruption": "5%/h", "availability": "95%"}, 0),  # 0.0375: 96.3 %
    ],
)
def test_spares_follow_interruption_recovery_and_availability(
    spot: dict[str, str], spares: int, catalog: Catalog
) -> None:
    layout = solved(load({"spot": {"price": "$1/gpu/h", **spot}}, catalog), catalog)
    assert layout.servers[0].idle == spares


def test_spares_count_against_the_limit_of_the_offer_and_the_budget(catalog: Catalog) -> None:
    spot = {"price": "$1/gpu/h", "interruption": "5%/h"}
    # Four are needed, spare included.
    assert optimize(load({"spot": spot | {"max": 3}}, catalog), catalog).status == "infeasible"
    solved(load({"spot": spot | {"max": 4}}, catalog), catalog)
    assert optimize(load({"spot": spot}, catalog, budget={"monthly": "$2900"}), catalog).status == "infeasible"
    solved(load({"spot": spot}, catalog, budget={"monthly": "$2920"}), catalog)


def test_a_plan_with_other_spares_does_not_verify(catalog: Catalog) -> None:
    loaded = load({"spot": {"price": "$1/gpu/h", "interruption": "5%/h"}}, catalog)
    layout = solved(loaded, catalog)
    bare = layout.model_copy(update={"servers": (layout.servers[0].model_copy(update={"count": 3, "idle": 0}),)})
    assert "node (spot): 0 servers are idle, 1 spares are needed" in verify(bare, loaded, catalog)
