"""The latency–throughput curve of a replica, drawn: for the terminal and as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, log10

from rich.text import Text

from optimizer.performance import PerformanceEstimate
from optimizer.report.figures.marks import COLOURS, safe
from optimizer.report.words import count, figure, milliseconds

COLUMNS, ROWS = 60, 12
"""Of the drawing in a terminal."""
PANEL_WIDTH, PANEL_HEIGHT, LEFT, TOP, GAP = 360, 240, 64, 56, 88
"""Of a panel of the SVG, in pixels."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A scale from data to 0…1, logarithmic."""

    low: float
    high: float

    @classmethod
    def over(cls, values: Sequence[float]) -> Axis:
        """From the least to the largest of positive values, with something to divide by."""
        low, high = min(values), max(values)
        return cls(low, max(high, low * 1.01))

    def at(self, value: float) -> float:
        return log10(value / self.low) / log10(self.high / self.low)

    def ticks(self) -> list[float]:
        """1, 2 and 5 times powers of ten within the axis."""
        powers = range(floor(log10(self.low)), floor(log10(self.high)) + 1)
        return [
            step * 10.0**power for power in powers for step in (1, 2, 5) if self.low <= step * 10.0**power <= self.high
        ]


def terminal_curve(curve: Mapping[int, PerformanceEstimate]) -> Text:
    """TPOT over output tokens per second: ● the estimates, ░ their 80 % band."""
    points = list(curve.values())
    x = Axis.over([one.output_tokens_per_s for one in points])
    y = Axis.over([end for one in points for end in one.tpot_interval_ms])
    cells = [[" "] * COLUMNS for _ in range(ROWS)]
    for column in range(COLUMNS):
        low, high = (_between(points, x, column / (COLUMNS - 1), end) for end in (0, 1))
        for row in range(_row(y.at(low)), _row(y.at(high)) + 1):
            cells[ROWS - 1 - row][column] = "░"
    for one in points:
        column = round(x.at(one.output_tokens_per_s) * (COLUMNS - 1))
        cells[ROWS - 1 - _row(y.at(one.tpot_ms))][column] = "●"
    labels = [milliseconds(y.high), *[""] * (ROWS - 2), milliseconds(y.low)]
    width = max(map(len, labels))
    lines = [f"{label:>{width}} │{''.join(row)}" for label, row in zip(labels, cells, strict=True)]
    ends = f"{figure(x.low)}", f"{figure(x.high)} output tokens/s"
    foot = " " * width + " └" + "─" * COLUMNS
    scale = " " * (width + 2) + ends[0] + ends[1].rjust(COLUMNS - len(ends[0]))
    title = "Time per output token over throughput; ● each line of the table, ░ the 80% band; both axes logarithmic"
    return Text("\n".join([title, *lines, foot, scale]))


def svg_curve(title: str, curve: Mapping[int, PerformanceEstimate]) -> str:
    """Two panels of latency over throughput with bands, and two of what the time goes into over concurrency."""
    points = list(curve.values())
    panels = [
        _latency_panel("TPOT", [one.tpot_ms for one in points], [one.tpot_interval_ms for one in points], curve),
        _latency_panel("TTFT", [one.ttft_ms for one in points], [one.ttft_interval_ms for one in points], curve),
        _parts_panel("TPOT", [one.parts for one in points], curve),
        _parts_panel("TTFT", [one.ttft_parts for one in points], curve),
    ]
    width = 2 * (PANEL_WIDTH + LEFT + GAP)
    height = TOP + 2 * (PANEL_HEIGHT + GAP)
    places = [(LEFT + (i % 2) * (PANEL_WIDTH + LEFT + GAP), TOP + (i // 2) * (PANEL_HEIGHT + GAP)) for i in range(4)]
    drawn = [f'<g transform="translate({x},{y})">{panel}</g>' for (x, y), panel in zip(places, panels, strict=True)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            'font-family="sans-serif" font-size="11">',
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            f'<text x="{LEFT}" y="24" font-size="14" font-weight="bold">{safe(title)}</text>',
            *drawn,
            "</svg>",
            "",
        ]
    )


def _latency_panel(
    name: str, means: Sequence[float], bands: Sequence[tuple[float, float]], curve: Mapping[int, PerformanceEstimate]
) -> str:
    throughput = [one.output_tokens_per_s for one in curve.values()]
    x, y = Axis.over(throughput), Axis.over([end for band in bands for end in band])
    there = [(_x(x.at(t)), _y(y.at(high))) for t, (_, high) in zip(throughput, bands, strict=True)]
    back = [(_x(x.at(t)), _y(y.at(low))) for t, (low, _) in zip(throughput, bands, strict=True)][::-1]
    line = [(_x(x.at(t)), _y(y.at(mean))) for t, mean in zip(throughput, means, strict=True)]
    dots = [
        f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{COLOURS[0]}"><title>{count(n)} in flight: '
        f"{safe(milliseconds(mean))}, {figure(t)} tokens/s</title></circle>"
        for n, (px, py), mean, t in zip(curve, line, means, throughput, strict=True)
    ]
    return "".join(
        [
            _frame(f"{name} over output tokens/s, with its 80% band", x, y),
            f'<polygon points="{_points(there + back)}" fill="{COLOURS[0]}" fill-opacity="0.2"/>',
            f'<polyline points="{_points(line)}" fill="none" stroke="{COLOURS[0]}" stroke-width="1.5"/>',
            *dots,
        ]
    )


def _parts_panel(name: str, parts: Sequence[Mapping[str, float]], curve: Mapping[int, PerformanceEstimate]) -> str:
    """Shares of the whole, stacked: the largest at the highest concurrency lies lowest."""
    names = sorted(parts[-1], key=lambda part: -parts[-1][part])
    names = [part for part in names if any(one[part] > sum(one.values()) / 100.0 for one in parts)]
    width = PANEL_WIDTH / len(parts)
    drawn = [f'<text y="-8" font-weight="bold">What {name} goes into, over requests in flight</text>']
    for column, (number, one) in enumerate(zip(curve, parts, strict=True)):
        top, whole = float(PANEL_HEIGHT), sum(one.values())
        for colour, part in enumerate(names):
            height = one[part] / whole * PANEL_HEIGHT
            top -= height
            drawn.append(
                f'<rect x="{column * width + 1:.1f}" y="{top:.1f}" width="{width - 2:.1f}" height="{height:.1f}" '
                f'fill="{COLOURS[colour % len(COLOURS)]}"><title>{safe(part.replace("_", " "))} '
                f"{safe(milliseconds(one[part]))}</title></rect>"
            )
        middle = (column + 0.5) * width
        drawn.append(f'<text x="{middle:.1f}" y="{PANEL_HEIGHT + 14}" text-anchor="middle">{count(number)}</text>')
    for row, part in enumerate(names):
        y = 12 * row + 8
        drawn.append(
            f'<rect x="{PANEL_WIDTH + 8}" y="{y - 7}" width="8" height="8" fill="{COLOURS[row % len(COLOURS)]}"/>'
        )
        drawn.append(f'<text x="{PANEL_WIDTH + 20}" y="{y}">{safe(part.replace("_", " "))}</text>')
    return "".join(drawn)


def _frame(title: str, x: Axis, y: Axis) -> str:
    parts = [
        f'<text y="-8" font-weight="bold">{safe(title)}</text>',
        f'<rect width="{PANEL_WIDTH}" height="{PANEL_HEIGHT}" fill="none" stroke="#888888"/>',
    ]
    for tick in x.ticks():
        at = _x(x.at(tick))
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y2="{PANEL_HEIGHT}" stroke="#dddddd"/>')
        parts.append(f'<text x="{at:.1f}" y="{PANEL_HEIGHT + 14}" text-anchor="middle">{figure(tick)}</text>')
    for tick in y.ticks():
        at = _y(y.at(tick))
        parts.append(f'<line x2="{PANEL_WIDTH}" y1="{at:.1f}" y2="{at:.1f}" stroke="#dddddd"/>')
        parts.append(f'<text x="-6" y="{at + 4:.1f}" text-anchor="end">{safe(milliseconds(tick))}</text>')
    return "".join(parts)


def _between(points: Sequence[PerformanceEstimate], x: Axis, place: float, end: int) -> float:
    """An end of the band at a place on the axis, on the straight line between the estimates beside it."""
    ordered = sorted(points, key=lambda one: one.output_tokens_per_s)
    places = [x.at(one.output_tokens_per_s) for one in ordered]
    after = next((i for i, at in enumerate(places) if at >= place), len(places) - 1)
    before = max(after - 1, 0)
    span = places[after] - places[before]
    weight = (place - places[before]) / span if span > 0 else 0.0
    low, high = ordered[before].tpot_interval_ms[end], ordered[after].tpot_interval_ms[end]
    return low + (high - low) * min(max(weight, 0.0), 1.0)


def _row(height: float) -> int:
    return round(min(max(height, 0.0), 1.0) * (ROWS - 1))


def _x(place: float) -> float:
    return place * PANEL_WIDTH


def _y(height: float) -> float:
    return (1.0 - height) * PANEL_HEIGHT


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
