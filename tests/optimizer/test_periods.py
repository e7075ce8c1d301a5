"""Decisions over several periods, from scenario to verified plan, in numbers that can be worked out by hand."""

from __future__ import annotations

import itertools
import json
import math
import random
import re
from typing import Any

import pytest
from measured import scenario, workload

from catalog import Catalog
from optimizer import load_scenario, optimize, verify
from optimizer.errors import InputError
from optimizer.layout import Layout
from optimizer.topology import build_topology

YEAR_H = 12 * 730


def given(rates: list[float], offer: dict[str, Any], *, months: int = 12, **more: Any) -> dict[str, Any]:
    """Servers of one GPU that serve 1/s each; `rates` is the demand of each period of `months`."""
    asked = workload(1, [("l4", 1, 1.0)])
    if len(rates) > 1:
        asked["requests_per_period"] = [f"{rate}/s" for rate in rates]
        del asked["requests"]
    else:
        asked["requests"] = f"{rates[0]}/s"
    inventory = {"node": {"gpu": "l4", "gpus_per_server": 1, **offer}}
    return scenario({"a": asked}, inventory, horizon=f"{months * len(rates)}mo", periods=len(rates), **more)


def solved(keys: dict[str, Any], catalog: Catalog) -> Layout:
    loaded = load_scenario(keys, catalog)
    layout = optimize(loaded, catalog, gap=0.0)
    assert layout.status in ("optimal", "infeasible")
    assert verify(layout, loaded, catalog) == []
    return layout


def usd(layout: Layout) -> float:
    return math.inf if layout.cost is None else layout.cost.usd_over_horizon


def in_service(layout: Layout) -> list[dict[str, tuple[int, int]]]:
    """Of each period: term -> servers in service, and how many of them run something."""
    return [{row.term: (row.count, row.in_use) for row in plan.servers} for plan in layout.periods]


def test_demand_grows_by_compound_interest(catalog: Catalog) -> None:
    keys = scenario(
        {"a": workload(4, [("l4", 1, 1.0)], growth="50%/period", peak="2x")},
        {"node": {"gpu": "l4", "gpus_per_server": 1, "rent": {"price": "$1/gpu/h"}}},
        horizon="3mo",
        periods=3,
    )
    layout = solved(keys, catalog)
    assert [plan.workloads[0].demand_rps for plan in layout.periods] == [8.0, 12.0, 18.0]
    assert usd(layout) == pytest.approx((8 + 12 + 18) * 730)


def test_the_top_of_the_plan_is_the_first_period(catalog: Catalog) -> None:
    layout = solved(given([1, 3], {"buy": {"price": "$876/server", "life": "36mo"}, "own": 1}), catalog)
    first = layout.periods[0]
    assert (layout.servers, layout.workloads, layout.purchases) == (first.servers, first.workloads, first.purchases)
    assert [plan.starts_month for plan in layout.periods] == [0, 12]


@pytest.mark.parametrize(
    "offer",
    [
        {"rent": {"price": "$2/gpu/h"}},
        {"own": 2, "rent": {"price": "$2/gpu/h"}},
        {"buy": {"price": "$9k/server", "life": "48mo", "residual": "20%", "max": 1}, "rent": {"price": "$2/gpu/h"}},
        {"reserve": [{"term": "36mo", "price": "$1.5/gpu/h", "max": 2}], "rent": {"price": "$2/gpu/h"}},
        {"reserve": [{"term": "5mo", "price": "$1.5/gpu/h", "max": 2}], "rent": {"price": "$2/gpu/h"}},
        {"spot": {"price": "$1/gpu/h", "interruption": "5%/h"}},
    ],
)
def test_equal_periods_cost_what_one_long_period_costs(offer: dict[str, Any], catalog: Catalog) -> None:
    facility = {"facility": {"power_price": "$0.1/kWh", "opex": "$50/server/mo"}}
    one = given([3], offer, months=36, **facility)
    assert usd(solved(given([3, 3, 3], offer, **facility), catalog)) == pytest.approx(usd(solved(one, catalog)))


def test_a_bought_server_serves_after_its_lead_time_and_rent_bridges_it(catalog: Catalog) -> None:
    # 13 months of lead time are two periods of a year: what is bought at once serves the third year.
    buy = {"price": "$8760/server", "life": "36mo", "lead_time": "13mo"}
    layout = solved(given([1, 1, 1], {"buy": buy, "rent": {"price": "$3/gpu/h"}}), catalog)
    assert [(one.count, one.usd, one.arrives) for one in layout.purchases] == [(1, 8760.0, 3)]
    assert in_service(layout) == [{"rent": (1, 1)}, {"rent": (1, 1)}, {"buy": (1, 1)}]
    assert usd(layout) == pytest.approx(8760 + 2 * 3 * YEAR_H)


def test_what_is_bought_is_kept_when_demand_falls_and_costs_nothing_to_run(catalog: Catalog) -> None:
    # Two years at $100 a month for use; the second server stands idle in the second year.
    buy = {"price": "$2400/server", "life": "24mo"}
    keys = given([2, 1], {"buy": buy, "rent": {"price": "$3/gpu/h"}}, facility={"opex": "$100/server/mo"})
    layout = solved(keys, catalog)
    assert in_service(layout) == [{"buy": (2, 2)}, {"buy": (2, 1)}]
    assert usd(layout) == pytest.approx(2 * 2400 + 3 * 1200)


def test_a_server_is_sold_when_its_life_covers_no_further_period_and_replaced(catalog: Catalog) -> None:
    # A life of 30 months covers two years whole; by then 24/30 of the fall from 3,000 to 1,500 is over: 1,800 are left.
    buy = {"price": "$3k/server", "life": "30mo", "residual": "50%"}
    layout = solved(given([1, 1, 1, 1], {"buy": buy}), catalog)
    assert [sum(one.count for one in plan.purchases) for plan in layout.periods] == [1, 0, 1, 0]
    assert usd(layout) == pytest.approx(2 * (3000 - 1800))
    assert layout.cost is not None
    assert layout.cost.capex_usd == pytest.approx(6000)


def test_payments_are_discounted_to_the_start(catalog: Catalog) -> None:
    # 10 % a year. Rent falls in the middle of a year: 8,760 · (1.1^-0.5 + 1.1^-1.5). A purchase is paid at once, sold
    # for half its price after two years: 10,000 − 5,000 / 1.21.
    rate = {"discount_rate": "10%/yr"}
    rented = solved(given([1, 1], {"rent": {"price": "$1/gpu/h"}}, **rate), catalog)
    assert usd(rented) == pytest.approx(YEAR_H * (1.1**-0.5 + 1.1**-1.5))
    buy = {"buy": {"price": "$10k/server", "life": "24mo", "residual": "50%"}}
    assert usd(solved(given([1, 1], buy, **rate), catalog)) == pytest.approx(10_000 - 5000 / 1.21)
    assert usd(solved(given([1], buy, months=24, **rate), catalog)) == pytest.approx(10_000 - 5000 / 1.21)
    # With one period of two years rent falls in its middle, after one year.
    single = solved(given([1], {"rent": {"price": "$1/gpu/h"}}, months=24, **rate), catalog)
    assert usd(single) == pytest.approx(2 * YEAR_H / 1.1)


def test_a_commitment_is_paid_for_whole_terms_used_or_not(catalog: Catalog) -> None:
    # Needed in the first of two years only: two years at $1 are dearer than one at $1.90, two at $0.90 cheaper.
    def plan(usd_per_hour: float) -> Layout:
        terms = {"rent": {"price": "$1.9/gpu/h"}, "reserve": [{"term": "24mo", "price": f"${usd_per_hour}/gpu/h"}]}
        return solved(given([2, 1], terms), catalog)

    assert in_service(plan(1.0)) == [{"rent": (1, 1), "reserve": (1, 1)}, {"reserve": (1, 1)}]
    cheap = plan(0.9)
    assert in_service(cheap) == [{"reserve": (2, 2)}, {"reserve": (2, 1)}]
    assert [(one.count, one.terms, one.usd) for one in cheap.commitments] == [(2, 1, pytest.approx(4 * 0.9 * YEAR_H))]


def test_terms_follow_each_other_where_they_do_not_end_with_a_period(catalog: Catalog) -> None:
    # 9 months for half-years: one term covers one, two in a row (18 months) cover three.
    terms = {"reserve": [{"term": "9mo", "price": "$1/gpu/h"}], "rent": {"price": "$9/gpu/h"}}
    layout = solved(given([1, 1, 1], terms, months=6), catalog)
    assert [(one.count, one.terms) for one in layout.commitments] == [(1, 2)]
    assert usd(layout) == pytest.approx(18 * 730)


def test_nobody_asks_in_a_period_and_nothing_runs(catalog: Catalog) -> None:
    layout = solved(given([1, 0, 2], {"rent": {"price": "$1/gpu/h"}}), catalog)
    assert in_service(layout) == [{"rent": (1, 1)}, {}, {"rent": (2, 2)}]
    assert layout.periods[1].workloads[0].replica_groups == ()


def test_budgets_hold_in_each_period_and_over_all(catalog: Catalog) -> None:
    offer = {"buy": {"price": "$1k/server", "life": "36mo"}, "rent": {"price": "$1/gpu/h"}}
    # $2k buy two; the third server of the second year is rented for $730 a month.
    layout = solved(given([1, 3], offer, budget={"capex": "$2k"}), catalog)
    assert layout.cost is not None
    assert layout.cost.capex_usd == pytest.approx(2000)
    assert in_service(layout)[1] == {"buy": (2, 2), "rent": (1, 1)}
    short = given([1, 3], offer, budget={"capex": "$2k", "monthly": "$729"})
    assert solved(short, catalog).status == "infeasible"
    reserved = {"reserve": [{"term": "24mo", "price": "$1/gpu/h"}], "own": 1}
    assert solved(given([1, 2], reserved, budget={"monthly": "$729"}), catalog).status == "infeasible"
    assert solved(given([1, 2], reserved, budget={"monthly": "$730"}), catalog).status == "optimal"


def test_a_budget_of_a_period_holds_what_is_bought_at_its_start(catalog: Catalog) -> None:
    # Three servers are needed in both years. $2k buy two at once; the third is rented for a year, and then bought.
    offer = {"buy": {"price": "$1k/server", "life": "36mo"}, "rent": {"price": "$1/gpu/h"}}
    layout = solved(given([3, 3], offer, budget={"capex_per_period": ["$2k", "$1k"]}), catalog)
    assert [[(one.count, one.usd) for one in plan.purchases] for plan in layout.periods] == [[(2, 2000)], [(1, 1000)]]
    assert in_service(layout) == [{"buy": (2, 2), "rent": (1, 1)}, {"buy": (3, 3)}]
    # What is not spent in the first year is not there in the second.
    later = solved(given([0, 3], offer, budget={"capex_per_period": ["$5k", "$1k"]}), catalog)
    assert [sum(one.count for one in plan.purchases) for plan in later.periods] == [2, 1]


def test_a_plan_that_spends_more_in_a_period_than_there_is_does_not_verify(catalog: Catalog) -> None:
    offer = {"buy": {"price": "$1k/server", "life": "36mo"}}
    layout = solved(given([3, 3], offer), catalog)
    tight = load_scenario(given([3, 3], offer, budget={"capex_per_period": ["$2k", "$9k"]}), catalog)
    poorer = layout.model_copy(update={"inputs": tight.canonical(), "scenario_sha256": tight.sha256})
    assert verify(poorer, tight, catalog) == ["budget.capex_per_period has $2000 for period 1, its servers cost $3000"]


def test_every_period_can_be_placed_on_its_servers(catalog: Catalog) -> None:
    layout = solved(given([1, 2], {"rent": {"price": "$1/gpu/h"}}), catalog)
    both = [build_topology(layout, catalog, period).document for period in (1, 2)]
    assert [len(document.servers) for document in both] == [1, 2]
    assert both[0].plan_sha256 == both[1].plan_sha256
    with pytest.raises(InputError, match="has 2 periods; there is no period 3"):
        build_topology(layout, catalog, 3)


def test_a_workload_survives_in_every_period(catalog: Catalog) -> None:
    keys = given([1, 3], {"rent": {"price": "$1/gpu/h"}})
    keys["workloads"]["a"]["spare"] = "n+1"
    assert in_service(solved(keys, catalog)) == [{"rent": (2, 2)}, {"rent": (4, 4)}]


def draw(rng: random.Random) -> dict[str, Any]:
    """Two to four periods; servers can be bought (with lead time and a short life), reserved and rented."""
    rates = [float(rng.randint(0, 3)) for _ in range(rng.choice((2, 3, 4)))]
    offer = {
        "buy": {
            "price": f"${rng.randint(2, 20)}k/server",
            "life": f"{rng.choice((12, 24, 48))}mo",
            "residual": rng.choice(("0%", "30%")),
            "lead_time": rng.choice(("0mo", "1mo", "12mo")),
        },
        "reserve": [{"term": f"{rng.choice((6, 12, 18, 24))}mo", "price": f"${rng.uniform(0.5, 2):.2f}/gpu/h"}],
        "rent": {"price": f"${rng.uniform(1, 3):.2f}/gpu/h", "max": 2},
        "own": rng.choice((0, 1)),
    }
    return given(rates, offer, discount_rate=rng.choice(("0%/yr", "9%/yr")))


def enumerated(keys: dict[str, Any]) -> float:
    """The least cost over all purchases and commitments of up to three servers in each period, month by month."""
    offer = keys["inventory"]["node"]
    rates = [float(rate.removesuffix("/s")) for rate in keys["workloads"]["a"]["requests_per_period"]]
    n, yearly = len(rates), 1 + float(keys["discount_rate"].removesuffix("%/yr")) / 100
    price = float(offer["buy"]["price"][1:].removesuffix("k/server")) * 1000
    life, lead, term = (
        float(text.removesuffix("mo"))
        for text in (offer["buy"]["life"], offer["buy"]["lead_time"], offer["reserve"][0]["term"])
    )
    residual = float(offer["buy"]["residual"].removesuffix("%")) / 100
    reserved, rented = (
        float(one["price"][1:].removesuffix("/gpu/h")) * 730 for one in (offer["reserve"][0], offer["rent"])
    )
    middle = [yearly ** -(t + 0.5) for t in range(n)]
    orders: list[tuple[float, set[int]]] = []  # present value, periods served
    for t in range(n):
        sold = min(n, t + int(life // 12))
        served = set(range(t + math.ceil(lead / 12), sold))
        left = price * (1 - (1 - residual) * (sold - t) * 12 / life)
        if served:
            orders.append((price * yearly**-t - left * yearly**-sold, served))
        for terms in range(1, 9):
            months = [min(12.0, max(0.0, terms * term - 12 * i)) for i in range(n - t)]
            months[-1] += max(0.0, terms * term - 12 * (n - t))
            served = {t + i for i in range(n - t) if terms * term >= 12 * (i + 1)}
            usd_now = sum(m * reserved * middle[t + i] for i, m in enumerate(months))
            if served:
                orders.append((usd_now, served))
    best = math.inf
    for chosen in itertools.chain.from_iterable(
        itertools.combinations_with_replacement(range(len(orders)), k) for k in range(5)
    ):
        there = [sum(t in orders[o][1] for o in chosen) + offer["own"] for t in range(n)]
        short = [max(0.0, rate - count) for rate, count in zip(rates, there, strict=True)]
        if max(short) <= 2:
            paid = sum(orders[o][0] for o in chosen)
            best = min(best, paid + sum(s * rented * 12 * m for s, m in zip(short, middle, strict=True)))
    return best


@pytest.mark.parametrize("seed", range(30))
def test_the_cheapest_orders_are_those_that_enumeration_finds(seed: int, catalog: Catalog) -> None:
    keys = draw(random.Random(seed))
    layout = solved(keys, catalog)
    if sum(one.count for plan in layout.periods for one in (*plan.purchases, *plan.commitments)) <= 4:
        assert usd(layout) == pytest.approx(enumerated(keys))
    else:  # enumeration looks at four orders
        assert usd(layout) <= enumerated(keys)


@pytest.mark.parametrize("seed", range(15))
def test_doubling_prices_doubles_the_cost_and_looser_limits_never_raise_it(seed: int, catalog: Catalog) -> None:
    keys = draw(random.Random(100 + seed)) | {"budget": {"capex": "$15k", "monthly": "$3k"}}
    cost = usd(solved(keys, catalog))
    doubled = re.sub(r'"\$([0-9.]+)', lambda price: f'"${float(price[1]) * 2}', json.dumps(keys))
    assert usd(solved(json.loads(doubled), catalog)) == pytest.approx(2 * cost)
    for looser in ({"budget": {"capex": "$20k", "monthly": "$3k"}}, {"budget": {"capex": "$15k", "monthly": "$4k"}}):
        assert usd(solved(keys | looser, catalog)) <= cost * (1 + 1e-9)
    sooner = draw(random.Random(100 + seed)) | {"budget": keys["budget"]}
    del sooner["inventory"]["node"]["buy"]["lead_time"]
    assert usd(solved(sooner, catalog)) <= cost * (1 + 1e-9)


def test_what_cannot_be_had_in_time_is_infeasible_and_said_so(catalog: Catalog) -> None:
    # Nothing can serve the first year: what is bought arrives in the second.
    layout = solved(given([1, 1], {"buy": {"price": "$1k/server", "life": "36mo", "lead_time": "12mo"}}), catalog)
    assert layout.status == "infeasible"
    assert layout.infeasible is not None
    assert layout.infeasible.conflict[0].family == "serve_demand"
