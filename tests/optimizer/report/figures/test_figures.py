"""Pictures are sound XML, to scale, and read no name as markup."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from optimizer.report.figures import (
    Line,
    Point,
    ServerBox,
    Stack,
    Target,
    heat_chart,
    line_chart,
    point_chart,
    range_chart,
    server_chart,
    stack_chart,
    standalone,
    target_chart,
    waterfall_chart,
)
from optimizer.report.figures.marks import WIDTH, fitted, legend, ticks, ticks_of_powers
from optimizer.report.words import figure, usd

HOSTILE = '<script>alert("1")</script>&\x00\x1b'
SVG = "{http://www.w3.org/2000/svg}"


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def bars(svg: str) -> list[tuple[float, float, str]]:
    """(x, width, class) of every box, in the order drawn."""
    found = parsed(svg).iter(f"{SVG}rect")
    return [(float(one.attrib["x"]), float(one.attrib["width"]), one.attrib["class"]) for one in found]


PICTURES = {
    "stacks": stack_chart(HOSTILE, [HOSTILE, "b"], [Stack(HOSTILE, (1.0, 2.0), 4.0)], figure, HOSTILE),
    "waterfall": waterfall_chart(HOSTILE, [(HOSTILE, 100.0), ("b", -30.0)], HOSTILE, usd),
    "lines": line_chart(HOSTILE, [Line(HOSTILE, ((0, 0), (1, 2)))], (HOSTILE, figure), ("y", usd), [(0.5, HOSTILE)]),
    "points": point_chart(HOSTILE, [Point(1, 2, HOSTILE), Point(2, 1, "b")], 0, ("x", figure), (HOSTILE, usd)),
    "ranges": range_chart(HOSTILE, [(HOSTILE, 1.0, 3.0, HOSTILE, "up")], 2.0, usd),
    "servers": server_chart(HOSTILE, [ServerBox(HOSTILE, HOSTILE, ((HOSTILE, HOSTILE), None), HOSTILE)]),
    "bands": line_chart(
        HOSTILE,
        [Line(HOSTILE, ((1, 2), (10, 3)), ((1, 3), (2, 4)), (HOSTILE, "b"))],
        ("x", figure),
        ("y", usd),
        is_log=True,
    ),
    "heat": heat_chart(
        HOSTILE, {(0, 0): 1.0, (0, 1): 2.0}, (HOSTILE, [HOSTILE, "b"]), (HOSTILE, ["c", "d"]), usd, HOSTILE
    ),
    "targets": target_chart(HOSTILE, [Target(HOSTILE, 10.0, 8.0, (4.0, 6.0))], figure),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_xml_in_which_names_are_text(name: str) -> None:
    picture = parsed(PICTURES[name])
    assert picture.find(f"{SVG}title") is not None
    assert {element.tag.removeprefix(SVG) for element in picture.iter()} <= {
        "svg", "title", "text", "rect", "line", "polyline", "polygon", "circle",
    }  # fmt: skip
    assert "script>" not in PICTURES[name]


def test_bars_are_to_scale() -> None:
    # 1 and 2 of 4: a quarter and a half of the width, beside each other, on a box of the whole
    svg = stack_chart("", ["a", "b"], [Stack("one", (1.0, 2.0), 4.0)], figure)
    whole, first, second = bars(svg)[2:]  # two squares of the legend come first
    assert whole == (0.0, WIDTH, "idle")
    assert first == (0.0, WIDTH / 4, "f0")
    assert second == (WIDTH / 4, WIDTH / 2, "f1")


def test_a_waterfall_ends_at_the_sum() -> None:
    # 100 − 30: the second bar runs back from 100 to 70, the last from 0 to 70
    first, second, total = bars(waterfall_chart("", [("a", 100.0), ("b", -30.0)], "sum", usd))
    assert first == (0.0, WIDTH, "f0")
    assert second == (pytest.approx(0.7 * WIDTH), pytest.approx(0.3 * WIDTH), "f2")
    assert total == (0.0, pytest.approx(0.7 * WIDTH), "f6")


def test_a_range_stands_on_both_sides_of_the_middle() -> None:
    below, above = bars(range_chart("", [("rent", 1.0, 4.0, "less", "more")], 2.0, usd))
    assert below == (0.0, pytest.approx(WIDTH / 3, abs=0.1), "f2")
    assert above == (pytest.approx(WIDTH / 3, abs=0.1), pytest.approx(WIDTH * 2 / 3, abs=0.1), "f5")


def test_every_gpu_has_a_box_and_idle_ones_say_so() -> None:
    gpus = (("chat", "0"), ("chat", "0"), ("other", "1"), None)
    kinds = [kind for _, _, kind in bars(server_chart("", [ServerBox("lab/0", "owned", gpus)]))]
    # legend of two workloads and idle, then the four GPUs
    assert kinds == ["f0", "f1", "idle", "f0", "f0", "f1", "idle"]


def test_a_large_fleet_is_drawn_in_part_and_says_so() -> None:
    servers = [ServerBox(f"a/{n}", "", (("w", str(n)),)) for n in range(1000)]
    assert "and 960 more servers" in server_chart("", servers)


def test_a_point_of_the_curve_lies_where_its_value_says() -> None:
    # from (0, 0) in the lower left corner to the right edge
    svg = line_chart("", [Line("a", ((0.0, 0.0), (10.0, 5.0)))], ("x", figure), ("y", usd))
    (curve,) = parsed(svg).iter(f"{SVG}polyline")
    (x0, y0), (x1, y1) = (tuple(map(float, pair.split(","))) for pair in curve.attrib["points"].split())
    assert (x0, x1) == (62.0, WIDTH - 18.0)
    assert y1 < y0


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (3, 3, [3]),
        (9, 31, [10, 15, 20, 25, 30]),
    ],
)
def test_axes_have_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_a_long_name_is_cut_where_it_would_not_fit() -> None:
    assert fitted("short", 100) == "short"
    assert fitted("x" * 100, 69) == "x" * 9 + "…"


def test_a_legend_takes_as_many_rows_as_it_needs() -> None:
    _, short = legend(["a", "b"], 0.0)
    _, long = legend(["a name of some length"] * 6, 0.0)
    assert long > short


def test_what_there_is_in_all_is_the_box_and_the_limit_a_mark_in_it() -> None:
    # 30 of 80, and a mark at 60, three quarters of the way
    svg = stack_chart("", ["a"], [Stack("card", (30.0,), limit=60.0, whole=80.0)], figure, "budget")
    _, whole, part = bars(svg)
    assert whole == (0.0, WIDTH, "idle")
    assert part[1] == pytest.approx(WIDTH * 30 / 80)
    (mark,) = (one for one in parsed(svg).iter(f"{SVG}line") if one.attrib["class"] == "mark")
    assert float(mark.attrib["x1"]) == pytest.approx(WIDTH * 0.75)


def test_nothing_is_drawn_of_what_is_missing() -> None:
    assert len(bars(stack_chart("", ["a"], [Stack("card", (-3.0,), whole=80.0)], figure))) == 2  # the legend, the box


def test_a_picture_of_its_own_brings_its_style() -> None:
    picture = parsed(standalone(PICTURES["stacks"]))
    assert picture[0].tag == f"{SVG}style"


def test_pictures_stand_under_each_other_in_one_file() -> None:
    file = parsed(standalone(PICTURES["stacks"], PICTURES["points"]))
    (second,) = file.findall(f"{SVG}g")
    first_height = float(parsed(PICTURES["stacks"]).attrib["viewBox"].split()[3])
    assert second.attrib["transform"] == f"translate(0,{first_height + 48:g})"
    assert second.find(f"{SVG}circle") is not None


def test_titles_and_headings_are_broken_into_lines_rather_than_cut() -> None:
    # 460 units hold 61 bold letters of 6.9 · 1.09 units
    long = " ".join(["latency"] * 12)  # 95 characters: two lines, 8 and 4 words
    svg = standalone(PICTURES["stacks"].replace("<title>", f"<title>{long} ", 1), heading=f"A & {long}")
    strong = [one for one in parsed(svg).iter(f"{SVG}text") if one.attrib.get("class") == "strong"]
    lines = [(float(one.attrib["y"]), one.text or "") for one in strong if "latency" in (one.text or "")]
    assert max(len(words) for _, words in lines) <= 61
    assert [y for y, _ in lines[:2]] == [-10.0, 6.0]
    assert len({y for y, _ in lines}) == len(lines)


def test_a_target_is_one_scale_a_row_and_the_band_lies_on_the_prediction() -> None:
    # 8 of 10 and 40 of 50 are the same part of their targets; the band of 4 to 6 lies between 40 % and 60 %
    rows = [Target("a", 10.0, 8.0, (4.0, 6.0)), Target("b", 50.0, 40.0, None)]
    _, _, whole, first, band, _, second = bars(target_chart("", rows, figure))
    assert whole[1] == pytest.approx(WIDTH / 1.02, abs=0.1)
    assert first[1] == second[1] == pytest.approx(0.8 * whole[1], abs=0.1)
    assert band[:2] == (pytest.approx(0.4 * whole[1], abs=0.1), pytest.approx(0.2 * whole[1], abs=0.1))


def test_a_band_beyond_the_picture_is_cut_and_not_drawn_outside() -> None:
    *_, band = bars(target_chart("", [Target("a", 1.0, 0.9, (0.5, 99.0))], figure))
    assert band[0] + band[1] <= WIDTH + 0.1


def test_logarithmic_axes_put_powers_at_equal_distances() -> None:
    line = Line("a", ((1.0, 1.0), (10.0, 10.0), (100.0, 100.0)))
    (curve,) = parsed(line_chart("", [line], ("x", figure), ("y", figure), is_log=True)).iter(f"{SVG}polyline")
    xs = [float(pair.split(",")[0]) for pair in curve.attrib["points"].split()]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
    assert ticks_of_powers(1.0, 100.0) == [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]
    assert ticks_of_powers(0.9, 20_000.0) == [1.0, 10.0, 100.0, 1000.0, 10_000.0]


def test_steps_go_across_before_they_go_up() -> None:
    points = [Point(0.0, 0.0, "a"), Point(1.0, 1.0, "b")]
    (path,) = parsed(point_chart("", points, None, ("x", figure), ("y", figure), are_steps=True)).iter(f"{SVG}polyline")
    (x0, y0), (x1, y1), (x2, y2) = (tuple(map(float, pair.split(","))) for pair in path.attrib["points"].split())
    assert (y1, x2) == (y0, x1)
    assert x1 > x0
    assert y2 < y1


def test_servers_of_a_region_stand_under_its_name() -> None:
    boxes = [ServerBox("a/0", "", (), "north"), ServerBox("a/1", "", (), "north"), ServerBox("b/0", "", (), "south")]
    said = [
        text.text for text in parsed(server_chart("", boxes)).iter(f"{SVG}text") if text.attrib["class"] == "region"
    ]
    assert said == ["north (2 servers)", "south (1 server)"]
