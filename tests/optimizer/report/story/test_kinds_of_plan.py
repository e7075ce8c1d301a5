"""Reports of plans with more to say: unsure demand, servers that stand by, racks, next best plans, commands."""

from __future__ import annotations

from typing import Any

from measured import rented, scenario, workload

from catalog import Catalog
from optimizer import load_scenario, optimize
from optimizer.report.story import page_html, page_markdown, purchase_page
from optimizer.report.story.parts import Page

FUTURES = {
    "low": {"probability": "25%", "demand": "1x"},
    "middle": {"probability": "50%", "demand": "2x"},
    "high": {"probability": "25%", "demand": "4x"},
}


def page_of(keys: dict[str, Any], catalog: Catalog, alternatives: int = 0) -> Page:
    loaded = load_scenario(keys, catalog)
    return purchase_page(optimize(loaded, catalog, gap=0.0, alternatives=alternatives), loaded, catalog, None)


def node(**more: Any) -> dict[str, Any]:
    """A server of one GPU that serves 1/s."""
    return {"node": {"gpu": "l4", "gpus_per_server": 1, **more}}


def test_each_demand_scenario_has_its_probability_servers_and_cost(catalog: Catalog) -> None:
    # Two are bought at $1/h over 8,760 h; of four that are needed with 25 % two are rented at $3/h:
    # 17,520, 17,520 and 17,520 + 52,560, expected 17,520 + 13,140.
    offer = node(buy={"price": "$8760/server", "life": "12mo"}, rent={"price": "$3/gpu/h"})
    keys = scenario({"a": workload(1, [("l4", 1, 1.0)])}, offer, horizon="12mo", demand_scenarios=FUTURES)
    page = page_of(keys, catalog)
    text = page_markdown(page)
    assert page.lead.startswith("Buy 2 × node: $30,660 expected over 12 months")
    assert "| low | 25% | 1 | node, bought: 2 (1 idle) | \\$17,520 |" in text
    assert "| middle | 50% | 2 | node, bought: 2 | \\$17,520 |" in text
    assert "| high | 25% | 4 | node, bought: 2<br>node, rented: 2 | \\$70,080 |" in text
    assert "| expected | – | – | – | \\$30,660 |" in text
    assert "Requests per second at peak" not in text, "a single period has no growth to draw"


def test_servers_that_stand_by_are_named(catalog: Catalog) -> None:
    # Each is down 10 % of the time; of two one is up in 99 %, alone in 90 %.
    offer = node(own=4, failures={"mtbf": "90h", "mttr": "10h", "availability": "95%"})
    text = page_markdown(page_of(scenario({"a": workload(1, [("l4", 1, 1.0)])}, offer), catalog))
    assert "Standing by, to take the place of servers that fail: 1 × node." in text


def test_servers_stand_in_their_racks(catalog: Catalog) -> None:
    # Either rack alone must carry 1/s.
    offer = {"node": rented("l4", 1, 1.0) | {"racks": {"a": 9, "b": 9}}}
    page = page_of(scenario({"a": workload(1, [("l4", 1, 1.0)], spare="rack")}, offer), catalog)
    assert "node/0, rack a" in page_html(page)
    assert "node/1, rack b" in page_html(page)


def test_alternatives_that_the_plan_has_are_listed(catalog: Catalog) -> None:
    # One replica on either offer: $1 and $3 an hour.
    offers = {"cheap": rented("l4", 1, 1.0), "dear": rented("l40s", 1, 3.0)}
    keys = scenario({"a": workload(1, [("l4", 1, 1.0), ("l40s", 1, 1.0)])}, offers)
    text = page_markdown(page_of(keys, catalog, alternatives=1))
    assert "| 1 | \\$3.00 | \\$2.00 |" in text
    assert "1 × dear (rented)" in text


def test_commands_are_code_and_names_between_backticks_are_still_text(catalog: Catalog) -> None:
    keys = scenario({"a": workload(1, [("l4", 1, 1.0)])}, {"node": rented("l4", 1, 1.0)})
    loaded = load_scenario(keys, catalog)
    layout = optimize(loaded, catalog).model_copy(update={"warnings": ("run `gpuplan <b>`",)})
    assert "run <code>gpuplan &lt;b&gt;</code>" in page_html(purchase_page(layout, loaded, catalog, None))
