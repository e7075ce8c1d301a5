"""The latency–throughput curve, drawn in a terminal and as SVG."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from catalog import Catalog
from optimizer.report.curve import COLUMNS, ROWS, Axis, terminal_curve
from optimizer.report.performance import PerformanceAnswer, performance_answer, performance_svg


@pytest.fixture
def curve(catalog: Catalog) -> PerformanceAnswer:
    return performance_answer(
        catalog, gpu="h100-sxm", weight_dtype="bf16", concurrency=64, model="Qwen/Qwen3-14B", engine="vllm",
        input_tokens=1000, output_tokens=200,
    )  # fmt: skip


def test_an_axis_is_logarithmic() -> None:
    axis = Axis.over([1.0, 100.0])
    assert [axis.at(value) for value in (1.0, 10.0, 100.0)] == [0.0, 0.5, 1.0]


def test_the_terminal_shows_every_estimate_within_its_band(curve: PerformanceAnswer) -> None:
    lines = terminal_curve(curve.curve).plain.splitlines()
    drawn = [line.split("│", 1)[1] for line in lines if "│" in line]
    assert len(drawn) == ROWS
    assert all(len(line) == COLUMNS for line in drawn)
    columns = {column for line in drawn for column, cell in enumerate(line) if cell == "●"}
    # the first and the fastest stand at the ends
    assert {0, COLUMNS - 1} <= columns
    assert any("░" in line for line in drawn)


def test_the_svg_is_xml_with_a_dot_for_every_estimate_and_its_words(curve: PerformanceAnswer) -> None:
    root = ElementTree.fromstring(performance_svg(curve))
    svg = "{http://www.w3.org/2000/svg}"
    circles = list(root.iter(f"{svg}circle"))
    assert len(circles) == 2 * len(curve.curve)  # TPOT and TTFT
    titles = [title.text or "" for title in root.iter(f"{svg}title")]
    assert any(title.startswith("64 in flight: ") for title in titles)
    assert any(title.startswith("64 requests in flight, weights: ") for title in titles)
    assert len(list(root.iter(f"{svg}polygon"))) == 2  # bands


def test_parts_of_a_bar_fill_it(curve: PerformanceAnswer) -> None:
    root = ElementTree.fromstring(performance_svg(curve))
    svg = "{http://www.w3.org/2000/svg}"
    filled: dict[tuple[int, str], float] = {}
    for at, group in enumerate(root.findall(f"{svg}g")):
        for bar in group.iter(f"{svg}rect"):
            if bar.find(f"{svg}title") is not None:
                filled[at, bar.get("y", "")] = filled.get((at, bar.get("y", "")), 0.0) + float(bar.get("width", "0"))
    # a bar for TPOT and one for TTFT at each concurrency; all of it but what is less than a hundredth everywhere
    assert len(filled) == 2 * len(curve.curve)
    assert all(width == pytest.approx(460, rel=0.05) for width in filled.values())
