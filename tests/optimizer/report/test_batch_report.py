"""Batches as lines, tables and pictures."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from optimizer.batch import State
from optimizer.errors import InputError
from optimizer.report.batch import progress_words, reporting, results_data
from optimizer.report.sweep import sweep_page, sweep_svg

SVG = "{http://www.w3.org/2000/svg}"


def rows(**axes: list[Any]) -> list[dict[str, Any]]:
    """A row for each combination of two axes; the cost is their product, and none where it is over 8."""
    (x, xs), (y, ys) = axes.items()
    return [
        {
            "scenario": f"s-{a}-{b}", "status": "optimal" if a * b <= 8 else "infeasible",
            "usd_per_hour": float(a * b) if a * b <= 8 else None, "bound_usd_per_hour": a * b * 0.9, "gap": 0.1,
            "worst_latency_slack": None, "seconds": 0.1, "gpus": {"l40s": a}, x: a, y: b,
        }
        for a in xs
        for b in ys
    ]  # fmt: skip


def drawn(svg: str, kind: str) -> list[ET.Element]:
    return list(ET.fromstring(svg).iter(f"{SVG}{kind}"))


def strengths(svg: str) -> dict[str | None, str | None]:
    """How strong each box is drawn, by what it says."""
    return {box.findtext(f"{SVG}title"): box.get("fill-opacity") for box in drawn(svg, "rect")}


def test_a_heat_map_has_a_cell_for_every_pair_and_says_where_there_is_no_plan() -> None:
    found = strengths(sweep_svg(rows(p=[1, 2, 3], q=[1, 2, 4]), "usd_per_hour"))
    assert {f"{q}, {p}: {'no plan' if p * q > 8 else p * q}" for p in (1, 2, 3) for q in (1, 2, 4)} <= found.keys()
    assert (found["1, 1: 1"], found["4, 2: 8"]) == ("0.080", "1.000")  # x is q, the last key; the ends of the scale
    assert float(found["2, 2: 4"] or 0) == pytest.approx(
        0.08 + 0.92 * 3 / 7, abs=1e-3
    )  # 4 is 3/7 of the way from 1 to 8


def test_the_legend_says_what_the_colours_stand_for() -> None:
    svg = sweep_svg(rows(p=[1, 2, 3], q=[1, 2, 4]), "usd_per_hour")
    found = strengths(svg)
    assert [found[name] for name in ("1", "4.5", "8")] == ["0.080", "0.540", "1.000"]  # least, half way, most
    texts = [one.text for one in drawn(svg, "text")]
    assert texts.count("no plan") == 1
    all_solved = sweep_svg(rows(p=[1, 2], q=[1, 2]), "usd_per_hour")
    assert "no plan" not in [one.text for one in drawn(all_solved, "text")]


def test_figures_stand_in_cells_that_are_wide_enough() -> None:
    def figures(n: int) -> int:
        return sum(one.text == "1.5" for one in drawn(sweep_svg(half(n), "usd_per_hour"), "text"))

    def half(n: int) -> list[dict[str, Any]]:
        return [{**row, "usd_per_hour": 1.5} for row in rows(p=[1], q=list(range(n)))]

    assert (figures(4), figures(100)) == (4, 0)


def test_the_least_over_a_third_key_is_drawn_and_said() -> None:
    three = [{**row, "r": r, "usd_per_hour": 10.0 * r} for row in rows(p=[1, 2], q=[1, 2]) for r in (1, 2)]
    svg = sweep_svg(three, "usd_per_hour", x="p", y="q")
    assert {f"{p}, {q}: 10" for p in (1, 2) for q in (1, 2)} <= strengths(svg).keys()
    assert not any(one and one.endswith("20") for one in strengths(svg))
    assert "usd_per_hour, least over r" in svg


def test_one_key_draws_a_line_with_its_band() -> None:
    one = [{key: value for key, value in row.items() if key != "p"} for row in rows(p=[1], q=[1, 2, 4])]
    svg = sweep_svg(one, "usd_per_hour")
    (curve,), (band,) = drawn(svg, "polyline"), drawn(svg, "polygon")
    assert len(str(curve.get("points")).split()) == 3
    assert len(str(band.get("points")).split()) == 6  # three costs, and the three bounds back
    assert "usd_per_hour, and down to what is proven" in [one.text for one in drawn(svg, "text")]
    assert [dot.findtext(f"{SVG}title") for dot in drawn(svg, "circle")] == [
        "1: 1, at least 0.9", "2: 2, at least 1.8", "4: 4, at least 3.6",
    ]  # fmt: skip


def test_a_line_over_words_names_each_of_them() -> None:
    words = [{**row, "q": word} for row, word in zip(rows(p=[1], q=[1, 2, 4]), ("low", "mid", "high"), strict=True)]
    svg = sweep_svg([{key: value for key, value in row.items() if key != "p"} for row in words], "usd_per_hour")
    texts = [one.text for one in drawn(svg, "text")]
    assert [texts.count(word) for word in ("low", "mid", "high")] == [1, 1, 1]


def test_names_are_never_markup() -> None:
    page = sweep_page(rows(**{"<b>&": [1, 2], "q": [1, 2]}), "usd_per_hour")
    assert "&lt;b&gt;&amp;" in page
    assert "<b>" not in page
    assert "http:" not in page.replace("http://www.w3.org/2000/svg", "")


def test_the_page_lists_the_least_beside_the_picture() -> None:
    page = sweep_page(rows(p=[1, 2, 3], q=[1, 2, 4]), "usd_per_hour")
    assert "9 scenarios, 8 with a plan." in page  # 3 × 4 = 12 is over 8
    assert page.index("s-1-1") < page.index("s-1-2") < page.index("s-2-4")


def test_a_sweep_without_any_plan_is_not_drawn() -> None:
    with pytest.raises(InputError, match="no scenario has a usd_per_hour"):
        sweep_svg(rows(p=[3], q=[4]), "usd_per_hour")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("usd",), "usd is no column of numbers"), (("usd_per_hour", "z"), "z was not swept; there is p, q")],
)
def test_what_cannot_be_drawn_is_said(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sweep_svg(rows(p=[1], q=[1]), *arguments)


def test_scenarios_that_are_no_sweep_are_not_drawn() -> None:
    plain = [{key: value for key, value in row.items() if key not in "pq"} for row in rows(p=[1], q=[1])]
    with pytest.raises(InputError, match="no sweep"):
        sweep_svg(plain, "usd_per_hour")


def test_the_summary_counts_and_ranks() -> None:
    data = results_data(rows(p=[1, 2, 3], q=[1, 2, 4]))
    assert data["counts"] == {"optimal": 8, "infeasible": 1}
    assert data["figures"]["usd_per_hour"] == {"least": 1.0, "median": 4.0, "most": 8.0}  # 1 2 2 3 4 4 6 8
    assert data["cheapest"][0]["scenario"] == "s-1-1"
    assert data["dearest"][0]["scenario"] == "s-2-4"


def test_progress_says_rate_what_is_left_counts_and_worst_gap() -> None:
    state = State(20_000)
    state.started -= 10.0  # ten seconds ago
    state.counts.update({"optimal": 1480, "infeasible": 20})
    state.worst_gap = 0.0008
    assert (
        progress_words(state) == "1,500 of 20,000, 150.0/s, 2 min left: 1,480 optimal, 20 infeasible; worst gap 0.08%"
    )


def test_progress_as_json_ends_with_the_last_state(tmp_path: Path) -> None:
    stream = io.StringIO()
    state = State(2, damaged=(tmp_path / "part-000001.parquet.damaged",))
    with reporting(stream, "json") as tell:
        for _ in range(2):
            state.counts["optimal"] += 1
            tell(state)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["done"] for line in lines] == [1, 2]  # the first at once, then one a second, and the last
    assert lines[-1]["damaged_parts"] == ["part-000001.parquet.damaged"]
