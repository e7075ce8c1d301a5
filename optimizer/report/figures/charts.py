"""Charts with axes: curves, points, and ranges about a middle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from optimizer.report.figures.marks import LINE, WIDTH, bar, colour, legend, picture, rule, safe, text, ticks

Written = Callable[[float], str]
LEFT, RIGHT, HEIGHT = 62.0, 18.0, 190.0
"""Room for the numbers of the vertical axis, for half a number of the horizontal one, and of the field between."""


@dataclass(frozen=True, slots=True)
class Line:
    """One curve."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class _Field:
    """Where a value falls in the picture."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float
    top: float

    def at(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x_low) / ((self.x_high - self.x_low) or 1.0)
        up = (y - self.y_low) / ((self.y_high - self.y_low) or 1.0)
        return LEFT + across * (WIDTH - LEFT - RIGHT), self.top + HEIGHT * (1 - up)


def line_chart(
    title: str, lines: Sequence[Line], across: tuple[str, Written], up: tuple[str, Written],
    marks: Sequence[tuple[float, str]] = (),
) -> str:  # fmt: skip
    """Curves over one axis; `across` and `up` name the axes and write their numbers; marks stand at their x."""
    points = [point for line in lines for point in line.points]
    drawn, top = legend([line.name for line in lines], 0.0)
    field = _field(points, top + LINE, from_zero=True)
    drawn += _axes(field, across, up)
    for x, name in marks:
        at, _ = field.at(x, 0)
        drawn.append(rule(at, field.top, at, field.top + HEIGHT, "mark"))
        right = at > WIDTH * 0.6
        drawn.append(text(at + (-5 if right else 5), field.top + 12, name, "strong", "end" if right else ""))
    for position, line in enumerate(lines):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (field.at(*point) for point in line.points))
        drawn.append(f'<polyline points="{path}" class="curve {colour(position, "l")}"/>')
    return picture(title, field.top + HEIGHT + 2 * LINE + 6, drawn)


def point_chart(
    title: str, points: Sequence[tuple[float, float, str]], chosen: int, across: tuple[str, Written],
    up: tuple[str, Written],
) -> str:  # fmt: skip
    """Points with their names, joined in their order; the chosen one is larger and named in full."""
    field = _field([(x, y) for x, y, _ in points], LINE, from_zero=False)
    drawn = _axes(field, across, up)
    at = [field.at(x, y) for x, y, _ in points]
    drawn.append(f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in at)}" class="curve l7"/>')
    for position, ((x, y), (_, _, name)) in enumerate(zip(at, points, strict=True)):
        special = position == chosen
        drawn.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{6 if special else 4}" class="{"f5" if special else "f0"}">'
            f"<title>{safe(name)}</title></circle>"
        )
        right = x > WIDTH * 0.7
        drawn.append(
            text(x + (-9 if right else 9), y - 7, name, "strong" if special else "soft", "end" if right else "")
        )
    return picture(title, field.top + HEIGHT + 2 * LINE + 6, drawn)


def range_chart(title: str, rows: Sequence[tuple[str, float, float, str, str]], middle: float, written: Written) -> str:
    """Bars from a low to a high amount about a middle; each row: name, low, high, and what they stand for."""
    low = min([middle, *(min(row[1], row[2]) for row in rows)])
    high = max([middle, *(max(row[1], row[2]) for row in rows)])
    scale = WIDTH / ((high - low) or 1.0)
    drawn, y = [text(0, 10, "cheaper than planned", "soft"), text(WIDTH, 10, "dearer", "soft", "end")], 14.0
    for name, first, second, first_name, second_name in rows:
        y += LINE
        drawn.append(text(0, y, name, "strong"))
        said = f"{first_name} {written(first)} · {second_name} {written(second)}"
        drawn.append(text(WIDTH, y, said, "soft", "end", width=WIDTH - 7 * len(name) - 10))
        y += 5
        for end, label in ((first, first_name), (second, second_name)):
            begin, stop = min(end, middle), max(end, middle)
            kind = "f2" if end < middle else "f5"
            drawn.append(bar((begin - low) * scale, y, (stop - begin) * scale, 14, kind, f"{label}: {written(end)}"))
        at = (middle - low) * scale
        drawn.append(rule(at, y - 3, at, y + 17, "band"))
        y += 22
    return picture(title, y + 2, drawn)


def _field(points: Sequence[tuple[float, float]], top: float, *, from_zero: bool) -> _Field:
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low = 0.0 if from_zero else min(ys)
    room = 0.12 * ((max(ys) - low) or abs(low) or 1.0)
    x_room = 0.0 if from_zero else 0.08 * ((max(xs) - min(xs)) or 1.0)
    return _Field(min(xs) - x_room, max(xs) + x_room, low - (0.0 if from_zero else room), max(ys) + room, top)


def _axes(field: _Field, across: tuple[str, Written], up: tuple[str, Written]) -> list[str]:
    bottom = field.top + HEIGHT
    drawn = [text(0, field.top - 5, up[0], "soft")]
    for value in ticks(field.y_low, field.y_high):
        _, y = field.at(field.x_low, value)
        drawn.append(rule(LEFT, y, WIDTH - RIGHT, y))
        drawn.append(text(LEFT - 6, y + 4, up[1](value), "soft", "end"))
    for value in ticks(field.x_low, field.x_high, 6):
        x, _ = field.at(value, field.y_low)
        drawn.append(rule(x, bottom, x, bottom + 4))
        drawn.append(text(x, bottom + LINE, across[1](value), "soft", "middle"))
    drawn.append(text(WIDTH - RIGHT, bottom + 2 * LINE, across[0], "soft", "end"))
    return drawn
