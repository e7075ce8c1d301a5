"""The latency–throughput curve of a replica, drawn: for the terminal and as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log10

from rich.text import Text

from optimizer.performance import PerformanceEstimate
from optimizer.report.figures import Line, Stack, line_chart, stack_chart, standalone
from optimizer.report.words import count, figure, milliseconds, percent

COLUMNS, ROWS = 60, 12
"""Of the drawing in a terminal."""


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
    """Latencies over throughput with their bands, and what the time goes into with more requests in flight."""
    points = list(curve.values())
    ttft, tpot = [one.ttft_ms for one in points], [one.tpot_ms for one in points]
    return standalone(
        _latencies("Time per output token", tpot, [one.tpot_interval_ms for one in points], curve),
        _latencies("Time to the first token", ttft, [one.ttft_interval_ms for one in points], curve),
        _goes_into("What the time per output token goes into", tpot, [one.parts for one in points], curve),
        _goes_into("What the time to the first token goes into", ttft, [one.ttft_parts for one in points], curve),
        heading=title,
    )


def _latencies(
    title: str,
    means: Sequence[float],
    bands: Sequence[tuple[float, float]],
    curve: Mapping[int, PerformanceEstimate],
) -> str:
    throughput = [one.output_tokens_per_s for one in curve.values()]
    hints = tuple(
        f"{count(number)} in flight: {milliseconds(mean)}, {figure(tokens_per_s)} tokens/s"
        for number, mean, tokens_per_s in zip(curve, means, throughput, strict=True)
    )
    line = Line("mean", tuple(zip(throughput, means, strict=True)), tuple(bands), hints)
    return line_chart(title, [line], ("output tokens/s", figure), ("mean, 80 % band", milliseconds), is_log=True)


def _goes_into(
    title: str, means: Sequence[float], parts: Sequence[Mapping[str, float]], curve: Mapping[int, PerformanceEstimate]
) -> str:
    """Shares of the whole, those first that are largest at the highest concurrency."""
    names = sorted(parts[-1], key=lambda part: -parts[-1][part])
    names = [part for part in names if any(one[part] > sum(one.values()) / 100.0 for one in parts)]
    stacks = [
        Stack(
            count(number, "request") + " in flight",
            tuple(one[part] / sum(one.values()) for part in names),
            whole=1.0,
            note=milliseconds(mean),
        )
        for number, mean, one in zip(curve, means, parts, strict=True)
    ]
    return stack_chart(title, [part.replace("_", " ") for part in names], stacks, percent)


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
