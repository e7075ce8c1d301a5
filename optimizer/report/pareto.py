"""A front of plans: a table, a picture of characters, and a picture as SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from optimizer.explain import Front
from optimizer.report.data import plain
from optimizer.report.words import bar, figure, percent, table, usd

BAR_WIDTH = 30
WIDTH, HEIGHT, LEFT, BOTTOM, MARGIN = 640, 400, 90, 60, 30
"""Of the SVG, in its own pixels."""
INK, LINE, GRID = "#1a1a1a", "#1f6feb", "#d8dee4"


def front_report(front: Front) -> RenderableType:
    """A line a point, with a bar for its cost."""
    if not front.points:
        return Text(f"{front.scenario}: there is no plan to draw, or nothing to draw it against.")
    dearest = max(point.usd_per_hour for point in front.points) or 1.0
    rows = [
        (
            usd(point.usd_per_hour) + ("" if point.is_proven else " (not proven)"),
            _value(front, point.value),
            bar(point.usd_per_hour / dearest, BAR_WIDTH),
            ", ".join(point.servers),
        )
        for point in front.points
    ]
    return Group(
        table(
            f"{front.scenario}: cost against {front.against} ({front.unit})",
            (("$/h", "right"), (front.against, "right"), ("", "left"), ("servers", "left")),
            rows,
        ),
        Text(""),
        Text("Nothing cheaper is as good as a line, and nothing better costs no more; each was solved."),
    )


def front_data(front: Front) -> dict[str, Any]:
    """The same as plain data."""
    data: dict[str, Any] = plain(front)
    return data


def front_svg(front: Front) -> str:
    """Steps through the points: what a budget buys. A valid, self-contained SVG document."""
    title = escape(f"{front.scenario}: cost against {front.against}")
    costs, values = [p.usd_per_hour for p in front.points], [p.value for p in front.points]
    x_of, y_of = _scale(costs, LEFT, WIDTH - MARGIN), _scale(values, HEIGHT - BOTTOM, MARGIN)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12" fill="{INK}">',
        f"<title>{title}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{WIDTH / 2:.0f}" y="18" text-anchor="middle" font-size="14">{title}</text>',
        f'<text x="{WIDTH / 2:.0f}" y="{HEIGHT - 12}" text-anchor="middle">USD per hour</text>',
        f'<text x="16" y="{HEIGHT / 2:.0f}" text-anchor="middle" transform="rotate(-90 16 {HEIGHT / 2:.0f})">'
        f"{escape(f'{front.against} ({front.unit})')}</text>",
    ]
    lines += [
        f'<text x="{x_of(cost):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{escape(usd(cost))}</text>'
        for cost in _ends(costs)
    ]
    for value in _ends(values):
        y = y_of(value)
        lines.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - MARGIN}" y2="{y:.1f}" stroke="{GRID}"/>')
        lines.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(_value(front, value))}</text>')
    path = ""
    for i, point in enumerate(front.points):
        x, y = x_of(point.usd_per_hour), y_of(point.value)
        path += f"M{x:.1f} {y:.1f}" if i == 0 else f"H{x:.1f}V{y:.1f}"
    lines.append(f'<path d="{path}" fill="none" stroke="{LINE}" stroke-width="2"/>')
    for point in front.points:
        told = escape(f"{usd(point.usd_per_hour)} per hour, {_value(front, point.value)}: {', '.join(point.servers)}")
        lines.append(
            f'<circle cx="{x_of(point.usd_per_hour):.1f}" cy="{y_of(point.value):.1f}" r="4" fill="{LINE}">'
            f"<title>{told}</title></circle>"
        )
    return "\n".join([*lines, "</svg>"]) + "\n"


def _scale(values: Sequence[float], first: float, last: float) -> Callable[[float], float]:
    """Where on an axis from `first` to `last` a value stands."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    span = (high - low) or 1.0
    return lambda value: first + (value - low) / span * (last - first)


def _ends(values: Sequence[float]) -> list[float]:
    return sorted({min(values), max(values)}) if values else []


def _value(front: Front, value: float) -> str:
    if front.against == "quality":
        return percent(value, 1)
    return f"{figure(value)}{'×' if front.against == 'latency' else ' kW' if front.against == 'power' else ''}"
