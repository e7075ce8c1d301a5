"""Demand that may turn out in several ways: what is ordered before it is known, in numbers to be worked out by hand."""

from __future__ import annotations

import random
from typing import Any, Literal

import pytest
from measured import scenario, workload

from catalog import Catalog
from optimizer import load_scenario, optimize, verify
from optimizer.errors import InputError
from optimizer.explain import explain_plan, pareto
from optimizer.layout import Layout
from optimizer.scenario import scenario_catalog
from optimizer.topology import build_topology

YEAR_H = 12 * 730
BUY = {"price": "$8760/server", "life": "12mo"}  # all of it is lost within the year: $1/h
RENT = {"price": "$3/gpu/h"}
SERVED = {"low": [1.0, 1.0], "middle": [1.0, 3 / 4], "high": [3 / 4, 3 / 8]}
"""Parts of 1, 2 and 4/s, and of twice that in a second period, that three servers carry."""
UNSURE: dict[str, Any] = {
    "low": {"probability": "25%", "demand": "1x"},
    "middle": {"probability": "50%", "demand": "2x"},
    "high": {"probability": "25%", "demand": "4x"},
}


def given(futures: dict[str, Any], offer: dict[str, Any], *, rate: float = 1, **more: Any) -> dict[str, Any]:
    """Servers of one GPU that serve 1/s each, over a year."""
    inventory = {"node": {"gpu": "l4", "gpus_per_server": 1, **offer}}
    keys = scenario({"a": workload(rate, [("l4", 1, 1.0)])}, inventory, **{"horizon": "12mo", **more})
    return keys | ({"demand_scenarios": futures} if futures else {})


def solved(keys: dict[str, Any], catalog: Catalog, solver: Literal["scip", "highs"] = "scip", **more: Any) -> Layout:
    loaded = load_scenario(keys, catalog)
    layout = optimize(loaded, catalog, gap=0.0, solver=solver, **more)
    assert layout.status in ("optimal", "infeasible")
    assert verify(layout, loaded, catalog) == []
    return layout


def usd_per_hour(layout: Layout) -> float:
    assert layout.cost is not None
    return layout.cost.usd_per_hour


def bought(layout: Layout) -> int:
    return sum(one.count for plan in layout.periods for one in plan.purchases)


def test_a_server_is_bought_when_it_is_needed_often_enough(catalog: Catalog) -> None:
    # The n-th server costs $1/h bought, and $3/h × the probability that it is needed rented: 1, 0.75, 0.25, 0.25.
    layout = solved(given(UNSURE, {"buy": BUY, "rent": RENT}), catalog)
    assert bought(layout) == 2
    assert {future.name: future.usd_per_hour for future in layout.futures} == pytest.approx(
        {"low": 2.0, "middle": 2.0, "high": 2 + 2 * 3}
    )
    assert usd_per_hour(layout) == pytest.approx(2 + 0.25 * 2 * 3)


def test_what_is_bought_and_not_needed_stands_idle(catalog: Catalog) -> None:
    layout = solved(given(UNSURE, {"buy": BUY, "rent": RENT}), catalog)
    servers = {future.name: future.periods[0].servers for future in layout.futures}
    assert [(row.term, row.count, row.idle) for row in servers["low"]] == [("buy", 2, 1)]
    assert [(row.term, row.count, row.idle) for row in servers["high"]] == [("buy", 2, 0), ("rent", 2, 0)]


def test_the_likeliest_future_stands_on_top(catalog: Catalog) -> None:
    layout = solved(given(UNSURE, {"buy": BUY, "rent": RENT}), catalog)
    (middle,) = (future for future in layout.futures if future.name == "middle")
    assert layout.periods == middle.periods
    assert layout.workloads[0].demand_rps == pytest.approx(2.0)


def test_a_commitment_is_made_before_demand_is_known(catalog: Catalog) -> None:
    # Reserved at $2/h: worth it from a probability of 2/3 on, so for the second server too, but not for the third.
    reserve = [{"term": "12mo", "price": "$2/gpu/h"}]
    layout = solved(given(UNSURE, {"reserve": reserve, "rent": RENT}), catalog)
    assert [one.count for one in layout.commitments] == [2]
    assert usd_per_hour(layout) == pytest.approx(2 * 2 + 0.25 * 2 * 3)


def test_single_workloads_may_turn_out_otherwise(catalog: Catalog) -> None:
    keys = scenario(
        {name: workload(1, [("l4", 1, 1.0)]) for name in "ab"},
        {"node": {"gpu": "l4", "gpus_per_server": 1, "rent": {"price": "$1/gpu/h"}}},
        demand_scenarios={
            "as-is": {"probability": "50%"},
            "shift": {"probability": "50%", "demand": "0x", "workloads": {"b": "3x"}},
        },
    )
    layout = solved(keys, catalog)
    asked = {future.name: [one.demand_rps for one in future.periods[0].workloads] for future in layout.futures}
    assert asked == {"as-is": [1.0, 1.0], "shift": [0.0, 3.0]}
    assert usd_per_hour(layout) == pytest.approx(0.5 * 2 + 0.5 * 3)


def test_budgets_hold_in_every_future(catalog: Catalog) -> None:
    # A peak needs four servers; with $1,460 a month only two may be rented ($730 each), so two are bought.
    offer = {"buy": BUY, "rent": {"price": "$1/gpu/h"}}
    unlikely = {"usual": {"probability": "90%"}, "peak": {"probability": "10%", "demand": "4x"}}
    free = given(unlikely, offer)
    assert usd_per_hour(solved(free, catalog)) == pytest.approx(0.9 * 1 + 0.1 * 4)
    layout = solved(free | {"budget": {"monthly": "$1460"}}, catalog)
    assert bought(layout) == 2
    assert usd_per_hour(layout) == pytest.approx(2 + 0.1 * 2)


OFFERS: list[dict[str, Any]] = [
    {"rent": RENT},
    {"own": 1, "rent": RENT},
    {"buy": {"price": "$9k/server", "life": "48mo", "residual": "20%", "max": 1}, "rent": RENT},
    {"reserve": [{"term": "5mo", "price": "$1.5/gpu/h", "max": 2}], "rent": RENT},
    {"spot": {"price": "$1/gpu/h", "interruption": "5%/h"}},
]


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("periods", [1, 3])
def test_demand_that_is_certain_costs_what_it_costs_without_demand_scenarios(
    offer: dict[str, Any], periods: int, catalog: Catalog
) -> None:
    more = {"rate": 3, "periods": periods, "facility": {"power_price": "$0.1/kWh", "opex": "$50/server/mo"}}
    plain = solved(given({}, offer, **more), catalog)
    certain = solved(given({"this": {"probability": "100%"}}, offer, **more), catalog)
    twice = solved(given({name: {"probability": "50%"} for name in ("one", "other")}, offer, **more), catalog)
    assert usd_per_hour(certain) == pytest.approx(usd_per_hour(plain))
    assert usd_per_hour(twice) == pytest.approx(usd_per_hour(plain))


@pytest.mark.parametrize("seed", range(12))
def test_counting_what_each_number_of_bought_servers_costs_finds_the_same(seed: int, catalog: Catalog) -> None:
    """Servers of one GPU, so that a future costs what is bought and the rent of what is then missing."""
    rng = random.Random(seed)
    weights = [rng.randint(1, 5) for _ in range(3)]
    demands = [rng.randint(0, 6) for _ in range(2)] + [3]
    rent, price = rng.choice([1.5, 2.0, 3.0]), rng.choice([0.5, 1.0, 1.4])
    total = sum(weights)
    futures = {
        f"f{i}": {"probability": f"{100 * w / total!r}%", "demand": f"{d}x"}
        for i, (w, d) in enumerate(zip(weights, demands, strict=True))
    }
    buy = {"price": f"${price * YEAR_H:.6f}/server", "life": "12mo"}
    layout = solved(given(futures, {"buy": buy, "rent": {"price": f"${rent}/gpu/h"}}), catalog)
    best = min(
        n * price + sum(w / total * max(0, d - n) * rent for w, d in zip(weights, demands, strict=True))
        for n in range(7)
    )
    assert usd_per_hour(layout) == pytest.approx(best)


@pytest.mark.parametrize("solver", ["scip", "highs"])
def test_knowing_demand_before_never_costs_more(solver: Literal["scip", "highs"], catalog: Catalog) -> None:
    offer = {"buy": BUY | {"max": 3}, "reserve": [{"term": "6mo", "price": "$1.6/gpu/h"}], "rent": RENT}
    more = {"periods": 2, "rate": 1.5}
    probability = {"low": 0.25, "middle": 0.5, "high": 0.25}
    known = {
        name: usd_per_hour(solved(given({name: UNSURE[name] | {"probability": "100%"}}, offer, **more), catalog))
        for name in UNSURE
    }
    expected = usd_per_hour(solved(given(UNSURE, offer, **more), catalog, solver))
    assert sum(probability[name] * usd for name, usd in known.items()) <= expected + 1e-9
    assert expected <= known["high"] + 1e-9


def test_an_earlier_plan_is_a_start(catalog: Catalog) -> None:
    keys = given(UNSURE, {"buy": BUY, "rent": RENT})
    earlier = solved(keys, catalog)
    assert usd_per_hour(solved(keys, catalog, start=earlier)) == pytest.approx(usd_per_hour(earlier))


def test_the_topology_of_each_future_can_be_had(catalog: Catalog) -> None:
    layout = solved(given(UNSURE, {"buy": BUY, "rent": RENT}), catalog)
    servers = {name: len(build_topology(layout, catalog, future=name).document.servers) for name in UNSURE}
    assert servers == {"low": 2, "middle": 2, "high": 4}  # in low demand one stands idle
    with pytest.raises(InputError, match="knows no future none; it has low, middle, high"):
        build_topology(layout, catalog, future="none")


def test_demand_that_cannot_be_met_in_one_future_is_infeasible(catalog: Catalog) -> None:
    layout = solved(given(UNSURE, {"rent": RENT | {"max": 3}}), catalog)
    assert layout.status == "infeasible"
    assert layout.infeasible is not None
    assert any("up to 4 requests/s" in one.message for one in layout.infeasible.conflict)


@pytest.mark.parametrize(
    ("futures", "words"),
    [
        ({"a": {"probability": "60%"}, "b": {"probability": "30%"}}, "must sum to 100%; these sum to 90%"),
        ({"a": {"probability": "100%", "workloads": {"aa": "2x"}}}, "unknown workload 'aa'; did you mean 'a'"),
        ({"a": {"demand": "2x"}}, "probability"),
        ({"a": {"probability": "100%", "demand": ["1x", "2x"]}}, "one factor for each of the 1 periods is expected"),
        ({"a": {"probability": "100%", "workloads": {"a": []}}}, "one value or a list of factors is expected"),
        ({"a": {"probability": "100%", "demand": ["2x", "fast"]}}, "is not a ratio"),
    ],
)
def test_demand_scenarios_that_make_no_sense_are_refused(futures: dict[str, Any], words: str, catalog: Catalog) -> None:
    with pytest.raises(InputError) as refused:
        load_scenario(given(futures, {"rent": RENT}), catalog)
    assert words in str(refused.value)


def test_what_is_served_is_what_is_expected_of_all_futures(catalog: Catalog) -> None:
    # Three servers carry 1/s and 2/s whole and 3 of 4/s: 0.25 · 1 + 0.5 · 2 + 0.25 · 3 of 2.25/s.
    layout = solved(given(UNSURE, {"rent": RENT | {"max": 3}}, objective="served"), catalog)
    assert {future.name: future.periods[0].workloads[0].served_fraction for future in layout.futures} == pytest.approx(
        {"low": 1.0, "middle": 1.0, "high": 0.75}
    )
    (level,) = layout.served
    assert (level.demand_rps, level.served_rps, level.bound_rps) == pytest.approx((2.25, 2.0, 2.0))


def test_alternatives_are_others_in_whatever_future(catalog: Catalog) -> None:
    # Without the kind of replica of the plan there is the one of the dearer card, in all three futures.
    keys = given(UNSURE, {"rent": RENT})
    keys["inventory"]["dear"] = {"gpu": "a10", "gpus_per_server": 1, "rent": {"price": "$5/gpu/h"}}
    keys["workloads"]["a"]["measured"].append({"gpu": "a10", "gpus": 1, "requests_per_s": {"all": 1.0}})
    layout = solved(keys, catalog, alternatives=1)
    (other,) = layout.alternatives
    assert [future.name for future in other.futures] == list(UNSURE)
    assert other.cost.usd_per_hour == pytest.approx(5 * 2.25)
    assert other.gives_up == ("a: measured x1 on node",)


def test_stress_names_the_future_in_which_the_least_is_served(catalog: Catalog) -> None:
    # Two own servers and a third to rent: 4/s of high demand cannot be had, so that demand is 1, 2 or 3/s.
    futures = UNSURE | {"high": {"probability": "25%", "demand": "3x"}}
    layout = solved(given(futures, {"own": 2, "rent": RENT | {"max": 1}}), catalog, stressed=True)
    half = next(one for one in layout.stress if one.demand_factor == 1.5)
    (worst,) = half.workloads
    # 1.5 of one server in use, 3 of two, 4.5 of three: each serves two thirds where it is busy as planned.
    assert worst.served_fraction == pytest.approx(2 / 3)
    assert worst.future in UNSURE
    # Of 2/s expected: 0.25 · 1 + 0.5 · 2 + 0.25 · 3.
    assert half.served_fraction == pytest.approx(2 / 3)
    assert half.repaired is None


def test_a_plan_for_several_futures_is_explained_for_all_of_them(catalog: Catalog) -> None:
    keys = given(UNSURE, {"own": 1, "rent": RENT})
    scenario, layout = load_scenario(keys, catalog), solved(keys, catalog)
    found = explain_plan(layout, scenario, scenario_catalog(scenario, catalog))
    assert found.usd_per_hour == pytest.approx(usd_per_hour(layout))
    # One more own server saves the rent of one where demand is 2/s or 4/s: 75 % of $3.
    worth = {one.change: one.saves_usd_per_hour for one in found.margins}
    assert worth["one more node (own)"] == pytest.approx(0.75 * 3)


def test_power_of_a_front_is_what_is_expected_of_all_futures(catalog: Catalog) -> None:
    scenario = load_scenario(given(UNSURE, {"rent": RENT}), catalog)
    (point,) = pareto(scenario, scenario_catalog(scenario, catalog), "power").points
    one = load_scenario(given({"sure": {"probability": "100%"}}, {"rent": RENT}), catalog)
    (single,) = pareto(one, scenario_catalog(one, catalog), "power").points
    assert point.value == pytest.approx(2.25 * single.value)


def test_a_conflict_names_the_future_it_is_in(catalog: Catalog) -> None:
    layout = solved(given(UNSURE, {"rent": RENT | {"max": 3}}), catalog)
    assert layout.infeasible is not None
    (needs,) = (one.message for one in layout.infeasible.conflict if one.family == "serve_demand")
    assert needs.startswith("in demand scenario high needs up to 4 requests/s")
    # Three of 4/s where demand is high: 2 of 2.25/s expected, 88.9 %; what is dropped is rounded up, to be enough.
    assert "serve 88% of expected demand, by priority: drop 12% of a" in layout.infeasible.changes


def test_what_is_served_by_period_and_future_is_what_is_asked_for_again(catalog: Catalog) -> None:
    keys = given(UNSURE, {"rent": RENT | {"max": 3}}, objective="served", periods=2, rate=1.0)
    keys["workloads"]["a"]["growth"] = "100%/period"
    layout = solved(keys, catalog, stressed=True, alternatives=1)
    found = {future.name: [one.workloads[0].served_fraction for one in future.periods] for future in layout.futures}
    assert found == {name: pytest.approx(parts) for name, parts in SERVED.items()}
    half = next(one for one in layout.stress if one.demand_factor == 1.5)
    assert half.workloads[0].served_fraction == pytest.approx(2 / 3)
    scenario = load_scenario(keys, catalog)
    why = explain_plan(layout, scenario, scenario_catalog(scenario, catalog))
    assert why.usd_per_hour == pytest.approx(usd_per_hour(layout))
    assert {one.change: one.saves_usd_per_hour for one in why.margins}["10% more demand of all"] is None
    upwards = next(one for one in why.flips if one.what == "demand")
    assert (upwards.holds_at, upwards.instead) == (pytest.approx(1.0), ("no plan",))


def test_a_plan_that_serves_nothing_is_nothing_to_explain(catalog: Catalog) -> None:
    # Where one server may be lost, one alone carries nothing.
    keys = given({}, {"rent": RENT | {"max": 1}}, objective="served")
    keys["workloads"]["a"]["spare"] = "n+1"
    layout = solved(keys, catalog, stressed=True, alternatives=1)
    assert (layout.workloads_served, layout.stress, layout.alternatives) == (frozenset(), (), ())
    scenario = load_scenario(keys, catalog)
    with pytest.raises(InputError, match="the plan serves nothing; solved with objective: cost, it says why"):
        explain_plan(layout, scenario, scenario_catalog(scenario, catalog))


def test_a_future_may_have_a_factor_of_its_own_in_each_period(catalog: Catalog) -> None:
    # 1/s, then 3/s where it grows; rented at $3/h: half of the time 1, half of it 2 in the mean of 1 and 3.
    futures = {
        "flat": {"probability": "50%"},
        "grown": {"probability": "50%", "demand": "7x", "workloads": {"a": ["1x", "3x"]}},
    }
    layout = solved(given(futures, {"rent": RENT}, periods=2), catalog)
    asked = {future.name: [one.workloads[0].demand_rps for one in future.periods] for future in layout.futures}
    assert asked == {"flat": pytest.approx([1.0, 1.0]), "grown": pytest.approx([1.0, 3.0])}
    assert usd_per_hour(layout) == pytest.approx((3 * 1 + 3 * (1 + 3) / 2) / 2)


@pytest.mark.parametrize("solver", ["scip", "highs"])
def test_factors_of_periods_are_those_of_a_scenario_with_these_rates(
    solver: Literal["scip", "highs"], catalog: Catalog
) -> None:
    offer = {"buy": BUY | {"max": 2}, "reserve": [{"term": "6mo", "price": "$1.6/gpu/h"}], "rent": RENT}
    by_factors = given({"sure": {"probability": "100%", "demand": ["0.5x", "2x"]}}, offer, rate=1.5, periods=2)
    by_rates = given({}, offer, periods=2)
    del by_rates["workloads"]["a"]["requests"]
    by_rates["workloads"]["a"]["requests_per_period"] = ["0.75/s", "3/s"]
    costs = [usd_per_hour(solved(keys, catalog, solver)) for keys in (by_factors, by_rates)]
    assert costs[0] == pytest.approx(costs[1])
