"""Payments and break-even, by hand."""

from __future__ import annotations

from typing import Any

import pytest
from measured import scenario as measured_scenario
from measured import workload

from catalog import Catalog
from optimizer.layout import Cost, Layout, Servers
from optimizer.report.story.ledger import Ledger
from optimizer.report.story.money import break_even_blocks, cost_blocks
from optimizer.report.story.parts import Figure, Table
from optimizer.scenario import Scenario, load_scenario

OFFERS: dict[str, Any] = {
    "box": {
        "gpu": "h100-sxm",
        "gpus_per_server": 8,
        "power": "10kW/server",
        "buy": {"price": "$100000/server", "life": "48mo", "residual": "20%"},
    },
    "cloud": {"gpu": "h100-sxm", "gpus_per_server": 4, "rent": {"price": "$5/server/h"}},
}
FACILITY = {"power_price": "$0.10/kWh", "pue": 1.5, "opex": "$205/server/mo"}


@pytest.fixture(scope="module")
def scenario(catalog: Catalog) -> Scenario:
    keys = measured_scenario({"a": workload(1, [("h100-sxm", 1, 10)])}, OFFERS, horizon="12mo", facility=FACILITY)
    return load_scenario(keys, catalog)


@pytest.fixture(scope="module")
def layout(scenario: Scenario, catalog: Catalog) -> Layout:
    rows = (
        Servers(offer="box", term="buy", gpu="h100-sxm", gpus_per_server=8, count=2, usd_per_hour=0.0),
        Servers(offer="cloud", term="rent", gpu="h100-sxm", gpus_per_server=4, count=1, usd_per_hour=5.0),
    )
    cost = Cost(usd_per_hour=1, usd_per_month=730, usd_over_horizon=8760, capex_usd=200000, bound_usd_per_hour=1)
    return Layout(
        scenario="a", status="optimal", gap=0.0, solve_seconds=0.0, solver="by hand", cost=cost, servers=rows,
        workloads=(), catalog_version=catalog.version, scenario_sha256=scenario.sha256, inputs=scenario.canonical(),
    )  # fmt: skip


def test_flows_name_price_value_left_electricity_upkeep_and_rent(
    layout: Layout, scenario: Scenario, catalog: Catalog
) -> None:
    flows = {flow.cause: flow for flow in Ledger.of(layout, scenario, catalog).flows}
    assert flows["price"].usd == 200_000
    # 80 % of the price is lost over 48 months, 20 % of it in 12: 80 % is left
    assert flows["value left"].usd == pytest.approx(-160_000)
    # two servers of 10 kW × 1.5 × $0.10 × 730 h, 12 months
    assert flows["electricity"].usd == pytest.approx(2190 * 12)
    assert flows["upkeep"].usd == 410 * 12
    assert flows["rent"].usd == pytest.approx(3650 * 12)


def test_the_cost_is_what_the_waterfall_ends_at(layout: Layout, scenario: Scenario, catalog: Catalog) -> None:
    # 200,000 − 160,000 + (2,190 + 410 + 3,650) × 12 = 115,000
    ledger = Ledger.of(layout, scenario, catalog)
    assert ledger.cost_usd == pytest.approx(115_000)
    waterfall = next(iter(cost_blocks(ledger, scenario)))
    assert isinstance(waterfall, Figure)
    assert waterfall.table.rows[-1] == ("cost over 12 months", "$115,000")


def test_payments_over_time_hold_purchases_at_the_start(layout: Layout, scenario: Scenario, catalog: Catalog) -> None:
    _, payments, _ = cost_blocks(Ledger.of(layout, scenario, catalog), scenario)
    assert isinstance(payments, Figure)
    assert payments.table.rows[0] == ("month 1", "$200,000", "$3,650", "$2,600", "$206,250")
    assert payments.table.rows[11] == ("month 12", "$0.00", "$3,650", "$2,600", "$6,250")


def test_break_even_is_over_months_and_over_hours(layout: Layout, scenario: Scenario, catalog: Catalog) -> None:
    _, pairs, *drawn = break_even_blocks(layout, scenario, catalog)
    assert isinstance(pairs, Table)
    # eight GPUs of the cloud, $1.25 each: $10 × 730 = $7,300 a month. Running: 1,095 + 205 = $1,300.
    # Paid back after 100,000 ÷ (7,300 − 1,300) = 16.7 months; pays from
    # (100,000 × 80 % × 12 ÷ 48 + 1,300 × 12) ÷ (7,300 × 12) = 35,600 ÷ 87,600 = 41 % of the time.
    assert pairs.rows == (("box", "cloud", "$100,000", "$1,300", "$7,300", "16.7 months", "41% of the time"),)
    assert [figure.title for figure in drawn if isinstance(figure, Figure)] == [
        "box: when a server pays for itself",
        "box: how much of the time it must be needed",
    ]
