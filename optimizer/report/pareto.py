"""A front of plans: a table, a picture of characters, and a picture as SVG."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from optimizer.explain import Front
from optimizer.report.data import plain
from optimizer.report.figures import Point, point_chart, standalone
from optimizer.report.figures.marks import LINE, picture, text
from optimizer.report.tables import table
from optimizer.report.words import bar, figure, percent, usd

BAR_WIDTH = 30


def front_report(front: Front) -> RenderableType:
    """A line a point, with a bar for its cost."""
    if not front.points:
        none = "there is no plan to draw, or nothing to draw it against"
        return Text(f"{front.scenario}: {'no plan was found in time' if front.is_cut_short else none}.")
    dearest = max(point.usd_per_hour for point in front.points) or 1.0
    rows = [
        (
            usd(point.usd_per_hour) + ("" if point.is_proven else " (not proven)"),
            bar(point.usd_per_hour / dearest, BAR_WIDTH),
            _value(front, point.value),
            ", ".join(point.servers),
        )
        for point in front.points
    ]
    return Group(
        table(
            f"{front.scenario}: cost against {front.against} ({front.unit})",
            (("$/h", "right"), ("", "left"), (front.against, "right"), ("servers", "left")),
            rows,
        ),
        Text(""),
        Text("Nothing cheaper is as good as a line, and nothing better costs no more; each was solved."),
        *([Text("Not all were looked for: it was stopped.")] if front.is_cut_short else []),
    )


def front_data(front: Front) -> dict[str, Any]:
    """The same as plain data."""
    data: dict[str, Any] = plain(front)
    return data


def front_svg(front: Front) -> str:
    """Steps through the points: what a budget buys. A valid, self-contained SVG document."""
    points = [
        Point(
            one.usd_per_hour,
            one.value,
            usd(one.usd_per_hour),
            f"{usd(one.usd_per_hour)} per hour, {_value(front, one.value)}: {', '.join(one.servers)}",
        )
        for one in front.points
    ]
    title = f"{front.scenario}: cost against {front.against}"
    if not points:
        return standalone(picture(title, LINE, [text(0, 0, "nothing to draw", "soft")]))
    axes = ("USD per hour", usd), (f"{front.against} ({front.unit})", lambda value: _value(front, value))
    return standalone(point_chart(title, points, None, *axes, are_steps=True))


def _value(front: Front, value: float) -> str:
    if front.against == "quality":
        return percent(value, 1)
    return f"{figure(value)}{'×' if front.against == 'latency' else ' kW' if front.against == 'power' else ''}"
