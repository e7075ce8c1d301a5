"""Reports as HTML and Markdown: complete, self-contained, and deaf to markup in names."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hand_built import group, measured_group, plan
from measured import rented, workload
from measured import scenario as scenario_of

from catalog import Catalog
from optimizer import load_scenario, optimize
from optimizer.errors import InputError
from optimizer.layout import Layout
from optimizer.report.story import comparison_page, page_html, page_markdown, purchase_page
from optimizer.report.story.parts import Page, Table
from optimizer.report.story.whatif import explore
from optimizer.scenario import Scenario

ROOT = Path(__file__).parents[4]
MOST_BYTES = 500_000
VOID = {"meta", "br"}
HOSTILE = "</title><script>fetch('http://evil.example')</script><img src=x onerror=alert(1)> & \"'"


class Outline(HTMLParser):
    """Every element with its attributes; what is closed in another order than it was opened fails."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def scenario(catalog: Catalog) -> Scenario:
    return load_scenario(ROOT / "scenarios" / "quickstart.yaml", catalog)


@pytest.fixture(scope="module")
def layout(scenario: Scenario, catalog: Catalog) -> Layout:
    return optimize(scenario, catalog)


@pytest.fixture(scope="module")
def page(layout: Layout, scenario: Scenario, catalog: Catalog) -> Page:
    return purchase_page(layout, scenario, catalog, explore(layout, scenario, catalog, time_limit_s=120))


@pytest.fixture(scope="module")
def html(page: Page) -> str:
    return page_html(page)


def hostile_page(catalog: Catalog) -> Page:
    layout = plan(catalog, {"a @(b)": [group([(0,)])]}, [("h100-node", "rent", 1)], name=HOSTILE)
    layout = layout.model_copy(update={"warnings": (HOSTILE,), "assumptions": (HOSTILE,), "solver": HOSTILE})
    return purchase_page(layout, load_scenario(layout.inputs, catalog), catalog, None)


def test_sections_stand_in_the_order_in_which_a_buyer_asks(page: Page) -> None:
    found = [section.id for section in page.sections]
    order = ["figures", "list", "money", "break-even", "alternatives", "demand", "memory", "topology", "doubts",
             "thresholds", "basis"]  # fmt: skip
    assert found == [one for one in order if one != "break-even"]  # quickstart buys nothing


def test_stress_has_a_section_where_it_was_asked_for(scenario: Scenario, catalog: Catalog) -> None:
    asked = optimize(scenario, catalog, stressed=True)
    (section,) = [one for one in purchase_page(asked, scenario, catalog, None).sections if one.id == "stress"]
    rows = section.blocks[1]
    assert isinstance(rows, Table)
    assert [row[0] for row in rows.rows] == ["demand × 1.25", "demand × 1.5", "speed −20%"]


def test_the_lead_says_what_to_do_for_how_much_and_how_sure(page: Page, layout: Layout) -> None:
    assert layout.cost is not None
    assert page.lead.startswith(f"Rent {layout.servers[0].count} × {layout.servers[0].offer}")
    assert f"${layout.cost.usd_over_horizon:,.0f} a month" in page.lead
    assert "proven: no plan that keeps the targets costs less" in page.lead


def test_the_page_is_sound_html(html: str) -> None:
    outline = Outline(html)
    ids = Counter(attributes["id"] for _, attributes in outline.elements if "id" in attributes)
    assert set(ids.values()) == {1}
    targets = [attributes["href"] for tag, attributes in outline.elements if tag == "a"]
    assert targets
    assert all(target is not None and target[1:] in ids for target in targets)
    assert html.startswith('<!DOCTYPE html>\n<html lang="en">')


def test_the_parser_of_the_html_standard_finds_no_error(html: str) -> None:
    html5lib = pytest.importorskip("html5lib")
    html5lib.HTMLParser(strict=True).parse(html)


def test_nothing_comes_from_outside_and_nothing_runs(html: str) -> None:
    outline = Outline(html)
    assert {"script", "link", "img", "iframe", "object"}.isdisjoint(tag for tag, _ in outline.elements)
    for _, attributes in outline.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "srcset", "xlink:href")]
    assert "url(" not in html
    assert "@import" not in html
    assert "default-src 'none'" in html
    assert len(html.encode()) <= MOST_BYTES


def test_every_figure_has_a_title_and_its_numbers_as_a_table(html: str) -> None:
    pictures, tables = html.count('<svg class="fig"'), html.count("<details>")
    assert pictures == tables >= 5
    assert html.count("<figcaption>") == pictures
    assert all(block.startswith("<title>") for block in re.findall(r'role="img">(.{7})', html))


def test_the_same_page_gives_the_same_bytes(page: Page, html: str) -> None:
    assert page_html(page) == html


def test_names_are_text_in_html(catalog: Catalog) -> None:
    text = page_html(hostile_page(catalog))
    assert {"script", "img"}.isdisjoint(tag for tag, _ in Outline(text).elements)
    assert "evil.example" in text


def test_names_are_text_in_markdown(catalog: Catalog) -> None:
    text = page_markdown(hostile_page(catalog))
    assert "<script" not in text.replace("\\<script", "")
    assert "\\<script\\>" in text


def test_markdown_has_every_section_and_draws_the_topology(page: Page) -> None:
    text = page_markdown(page)
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == [
        "Before you rely on this", *(section.title for section in page.sections)
    ]  # fmt: skip
    assert "```mermaid\nflowchart LR\n" in text
    assert "<svg" not in text


def test_measured_replicas_are_reported_without_what_nobody_knows(catalog: Catalog) -> None:
    layout = plan(catalog, {"search": [measured_group([(0,)])]}, [("h100-node", "rent", 1)])
    page = purchase_page(layout, load_scenario(layout.inputs, catalog), catalog, None)
    assert "memory" not in [section.id for section in page.sections]
    assert "measured" in page_html(page)


def test_a_plan_without_servers_is_refused(layout: Layout, scenario: Scenario, catalog: Catalog) -> None:
    nothing = layout.model_copy(update={"cost": None, "status": "infeasible", "servers": (), "workloads": ()})
    with pytest.raises(InputError, match="is infeasible: there are no servers to report on"):
        purchase_page(nothing, scenario, catalog, None)


def test_plans_side_by_side_are_a_page_too(layout: Layout, catalog: Catalog) -> None:
    other = plan(catalog, {"chat": [group([(0,)])]}, [("h100-node", "own", 1)])
    page = comparison_page({"a.json": layout, "b|c.json": other}, catalog)
    assert page.lead == "The plans answer different scenarios."
    Outline(page_html(page))
    assert "| name" not in page_markdown(page)


def test_a_notebook_shows_the_plan(layout: Layout) -> None:
    shown = layout._repr_html_()
    Outline(shown)
    assert "<html" not in shown
    assert "svg.fig{" in shown
    assert f"Rent {layout.servers[0].count} × {layout.servers[0].offer}" in shown


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_browser_makes_no_request_and_throws_no_error(html: str, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(html, encoding="utf-8")
    log = tmp_path / "net.json"
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", f"--log-net-log={log}",
         f"--user-data-dir={tmp_path / 'profile'}", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--no-first-run", "--dump-dom", f"file://{tmp_path / 'report.html'}"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert "What to buy, rent and use" in done.stdout
    assert "CONSOLE" not in done.stderr
    initiators = [
        event["params"]["initiator"]
        for event in json.loads(log.read_text())["events"]
        if "initiator" in event.get("params", {}) and "url" in event["params"]
    ]
    assert not [one for one in initiators if one.startswith("file:") or one == "null"]


def test_what_is_not_served_is_said_first(catalog: Catalog) -> None:
    # One server of 4 GPUs serves 4/s of the 10/s that are asked for.
    given = scenario_of(
        {"a": workload(10, [("h100-sxm", 1, 1.0)])}, {"n": rented("h100-sxm", 4, 2.0, most=1)}, objective="served"
    )
    loaded = load_scenario(given, catalog)
    text = page_markdown(purchase_page(optimize(loaded, catalog, gap=0.0), loaded, catalog, None))
    assert "serving 40.0% of the demand (proven: nothing to be had serves more by priority" in text
    assert "| Demand | 10/s | requests at peak; 4/s are served |" in text
