"""Pictures: well-formed XML whatever the words, bars to scale, nothing from outside."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from optimizer.report.svg import MARGIN, WIDTH, Segment, Stack, stacks_svg

SVG = "{http://www.w3.org/2000/svg}"


def rectangles(svg: str) -> list[dict[str, float]]:
    """The bars' pieces; legends are the squares of 10."""
    found = ElementTree.fromstring(svg).iter(f"{SVG}rect")
    return [{k: float(r.attrib[k]) for k in ("x", "width")} for r in found if r.attrib["height"] != "10"]


def test_parts_lie_side_by_side_to_scale() -> None:
    svg = stacks_svg("t", [Stack("card", [Segment("weights", 30.0), Segment("cache", 10.0)], whole=80.0)], "GiB")
    whole, weights, cache = rectangles(svg)
    scale = (WIDTH - 2 * MARGIN) / 80.0
    assert whole["width"] == pytest.approx(80 * scale, abs=0.1)
    assert weights["width"] == pytest.approx(30 * scale, abs=0.1)
    assert cache["x"] == pytest.approx(MARGIN + 30 * scale, abs=0.1)


def test_all_cards_share_one_scale() -> None:
    stacks = [Stack("large", [Segment("a", 10.0)], whole=80.0), Stack("small", [Segment("a", 10.0)], whole=40.0)]
    large, of_large, small, of_small = rectangles(stacks_svg("t", stacks, "GiB"))
    assert large["width"] == pytest.approx(2 * small["width"], abs=0.2)
    assert of_large["width"] == of_small["width"]


def test_parts_beyond_the_whole_shrink_the_scale_not_the_page() -> None:
    pieces = rectangles(stacks_svg("t", [Stack("card", [Segment("weights", 160.0)], whole=80.0)], "GiB"))
    assert max(piece["x"] + piece["width"] for piece in pieces) <= WIDTH - MARGIN + 0.1


def test_nothing_is_drawn_of_what_is_missing() -> None:
    assert len(rectangles(stacks_svg("t", [Stack("card", [Segment("cache", -3.0)], whole=80.0)], "GiB"))) == 1


def test_hostile_names_stay_words() -> None:
    svg = stacks_svg("<script>alert(1)</script>\x00", [Stack("a & b", [Segment('"<b>"', 1.0)], whole=2.0)], "GiB")
    root = ElementTree.fromstring(svg)
    assert root.find(f"{SVG}title").text == "<script>alert(1)</script>"  # type: ignore[union-attr]
    assert not list(root.iter(f"{SVG}script"))
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")
