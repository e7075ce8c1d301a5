"""Reports of plans over several periods: every payment, order and region, by hand and on the shipped scenario."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from measured import scenario as measured_scenario
from measured import workload

from catalog import Catalog
from optimizer import load_scenario, optimize
from optimizer.layout import Layout
from optimizer.report.fleet import decision, kinds, moments
from optimizer.report.story import comparison_page, page_html, page_markdown, purchase_page
from optimizer.report.story.ledger import Ledger, steps
from optimizer.report.story.parts import Figure, Page, Table
from optimizer.scenario import Scenario, changed, scenario_catalog
from optimizer.uses import uses

ROOT = Path(__file__).parents[4]
# One server carries 10/s. Two quarters; in the second one two servers are needed. A server takes a quarter to arrive.
OFFERS: dict[str, Any] = {
    "new": {
        "gpu": "h100-sxm", "gpus_per_server": 1, "power": "1kW/server", "region": "north",
        "buy": {"price": "$600/server", "life": "12mo", "lead_time": "3mo", "residual": "0%"},
    },
    "cloud": {"gpu": "h100-sxm", "gpus_per_server": 1, "region": "south", "rent": {"price": "$1/server/h"}},
}  # fmt: skip
FACILITY = {"power_price": "$0.10/kWh", "pue": 1.0, "opex": "$27/server/mo"}


@pytest.fixture(scope="module")
def scenario(catalog: Catalog) -> Scenario:
    growing = workload(8, [("h100-sxm", 1, 10)])
    del growing["requests"]
    growing["requests_per_period"] = ["8/s", "16/s"]
    keys = measured_scenario(
        {"a": growing}, OFFERS, horizon="6mo", periods=2, facility=FACILITY, max_utilization="100%"
    )
    return load_scenario(keys, catalog)


@pytest.fixture(scope="module")
def layout(scenario: Scenario, catalog: Catalog) -> Layout:
    return optimize(scenario, catalog)


@pytest.fixture(scope="module")
def shipped_scenario(catalog: Catalog) -> Scenario:
    return load_scenario(ROOT / "scenarios" / "multi-region.yaml", catalog)


@pytest.fixture(scope="module")
def shipped(shipped_scenario: Scenario, catalog: Catalog) -> Layout:
    return optimize(shipped_scenario, catalog)


@pytest.fixture(scope="module")
def page(shipped: Layout, shipped_scenario: Scenario, catalog: Catalog) -> Page:
    return purchase_page(shipped, shipped_scenario, catalog, None)


def test_orders_and_uses_say_when(layout: Layout) -> None:
    assert [(use.term, use.offer, use.count, use.months, use.serves_from_month) for use in uses(layout, 6.0)] == [
        ("buy", "new", 2, "months 1–6", 3.0),
        ("rent", "cloud", 1, "months 1–3", None),
    ]
    assert decision(layout) == (("buy", "new", 2), ("rent", "cloud", 1))


def test_payments_fall_into_their_periods(layout: Layout, scenario: Scenario, catalog: Catalog) -> None:
    ledger = Ledger.of(layout, scenario, catalog)
    # first quarter: two servers for $600 and 3 × 730 h of rent; second: 2 × 3 × (1 kW × $0.10 × 730 h + $27) = 6 × $100
    assert ledger.paid(0, 3, ("price", "rent")) == pytest.approx(1200 + 2190)
    assert ledger.paid(3, 6, ("price", "rent")) == 0
    assert ledger.paid(0, 3, ("electricity", "upkeep")) == 0
    assert ledger.paid(3, 6, ("electricity", "upkeep")) == pytest.approx(600)
    # six of twelve months of life are over: half of the price is left
    assert ledger.sold_usd == pytest.approx(600)
    assert ledger.most_usd_per_month == pytest.approx(730)
    assert layout.cost is not None
    assert ledger.cost_usd == pytest.approx(1200 - 600 + 2190 + 600) == pytest.approx(layout.cost.usd_over_horizon)


@pytest.mark.parametrize("name", ["multi-region", "purchase", "uncertain-demand"])
def test_the_ledger_comes_to_the_cost_of_the_plan(name: str, catalog: Catalog, request: pytest.FixtureRequest) -> None:
    scenario = load_scenario(ROOT / "scenarios" / f"{name}.yaml", catalog)
    layout = request.getfixturevalue("shipped") if name == "multi-region" else optimize(scenario, catalog)
    assert layout.cost is not None
    ledger = Ledger.of(layout, scenario, scenario_catalog(scenario, catalog))
    assert ledger.cost_usd == pytest.approx(layout.cost.usd_over_horizon)
    assert ledger.usd("price") == pytest.approx(layout.cost.capex_usd)
    assert sum(amount for _, amount in steps(ledger, "discount")) == pytest.approx(layout.cost.usd_over_horizon)
    monthly = scenario.budget.monthly_usd
    assert monthly is None or ledger.most_usd_per_month <= monthly


def test_a_reservation_is_paid_in_whole_terms(catalog: Catalog) -> None:
    # One year reserved for nine months of use: 12 × 730 h × $1, all of it shown within the horizon.
    offer = {"gpu": "h100-sxm", "gpus_per_server": 1, "reserve": [{"term": "6mo", "price": "$1/server/h"}]}
    keys = measured_scenario({"a": workload(5, [("h100-sxm", 1, 10)])}, {"r": offer}, horizon="9mo")
    given = load_scenario(keys, catalog)
    layout = optimize(given, catalog)
    ledger = Ledger.of(layout, given, catalog)
    assert ledger.usd("reservation") == pytest.approx(8760)
    assert ledger.paid(0, 3, ("reservation",)) == pytest.approx(2190)
    assert ledger.paid(6, 9, ("reservation",)) == pytest.approx(4380)
    assert layout.cost is not None
    assert ledger.cost_usd == pytest.approx(layout.cost.usd_over_horizon)


def test_the_lead_says_what_to_do_now_and_what_later(page: Page, shipped: Layout) -> None:
    assert shipped.cost is not None
    (bought,) = shipped.purchases
    assert page.lead.startswith(f"Now buy {bought.count} × {bought.offer} and rent ")
    assert "; later " in page.lead
    assert f"${shipped.cost.capex_usd:,.0f} of it for purchases" in page.lead


def test_every_section_speaks_of_all_periods(page: Page, shipped: Layout) -> None:
    found = {section.id: section.blocks for section in page.sections}
    assert list(found) == ["figures", "list", "money", "break-even", "demand", "memory", "topology", "basis"]
    in_service = next(block for block in found["list"] if isinstance(block, Figure))
    assert [row[0] for row in in_service.table.rows][:2] == ["months 1–3", "months 4–6"]
    assert len(in_service.table.rows) == len(shipped.periods) == 8
    payments = next(block for block in found["money"] if isinstance(block, Figure) and block.title.endswith("when"))
    assert len(payments.table.rows) == 8
    offers = {group.offer for plan in shipped.periods for one in plan.workloads for group in one.replica_groups}
    assert {kind.group.offer for kind in kinds(shipped)} == offers
    assert len({kind.name for kind in kinds(shipped)}) == len(kinds(shipped))


def replicas_in_each_period(page: Page) -> Table:
    (blocks,) = (section.blocks for section in page.sections if section.id == "demand")
    (table,) = (block for block in blocks if isinstance(block, Table) and block.caption == "Replicas in each period")
    return table


def test_of_periods_and_kinds_of_replicas_the_fewer_stand_side_by_side(
    page: Page, shipped: Layout, scenario: Scenario, catalog: Catalog
) -> None:
    # eight quarters and ten kinds of replicas: a line a kind
    table = replicas_in_each_period(page)
    assert (len(shipped.periods), len(kinds(shipped))) == (8, 10)
    assert [row[0] for row in table.rows] == [kind.name for kind in kinds(shipped)]
    assert [name for name, _ in table.columns[1:4]] == ["month 1", "month 4", "month 7"]
    # two quarters and one kind on its only offer in use: a line a quarter
    only_rented = changed(scenario, inventory={"cloud": scenario.inventory["cloud"]})
    table = replicas_in_each_period(purchase_page(optimize(only_rented, catalog), only_rented, catalog, None))
    assert [row[0] for row in table.rows] == ["month 1", "month 4"]


def test_the_topology_names_regions_at_the_start_and_at_the_largest(page: Page, shipped: Layout) -> None:
    text = page_html(page)
    (_, first), (_, largest) = moments(shipped)
    gpus = [sum(row.count * row.gpus_per_server for row in plan.servers) for plan in shipped.periods]
    assert first == 1
    assert gpus[largest - 1] == max(gpus) > gpus[0]
    assert 'class="region">eu-central (' in text
    assert 'class="region">eu-north (' in text
    markdown = page_markdown(page)
    assert markdown.count("```mermaid") == 2
    assert 'subgraph r0["eu-central"]' in markdown


def test_plans_of_periods_stand_side_by_side(shipped: Layout, layout: Layout, catalog: Catalog) -> None:
    plans = {"a.json": shipped, "b.json": layout, "c.json": layout}
    compared = comparison_page(plans, catalog)
    assert [section.id for section in compared.sections] == [
        "advice", "cost", "servers", "workloads", "demand", "memory", "topology", "proof"
    ]  # fmt: skip
    money = next(block for block in compared.sections[1].blocks if isinstance(block, Figure))
    per_month = {row[0]: row[-1] for row in money.table.rows}
    assert shipped.cost is not None
    assert per_month["a.json"] == f"${shipped.cost.usd_per_month:,.0f}"
    assert per_month["b.json"] == "$565.00"  # 3,390 over six months
    text = page_html(compared)
    assert "a.json: What fills a card" in text
    assert "c.json: Servers and their GPUs, now" in text
