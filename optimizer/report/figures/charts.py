"""Charts with axes: curves, points, and ranges about a middle."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest

from optimizer.report.figures.marks import (
    LETTER,
    LINE,
    WIDTH,
    bar,
    colour,
    legend,
    picture,
    rule,
    safe,
    text,
    ticks,
    ticks_of_powers,
)

Written = Callable[[float], str]
MOST_NAMED = 8
"""Points; names of more would lie on each other."""
LEFT, RIGHT, HEIGHT = 62.0, 18.0, 190.0
"""Room for the numbers of the vertical axis, for half a number of the horizontal one, and of the field between."""


@dataclass(frozen=True, slots=True)
class Line:
    """One curve."""

    name: str
    points: tuple[tuple[float, float], ...]
    band: tuple[tuple[float, float], ...] = ()
    """Low and high end at each point."""
    hints: tuple[str, ...] = ()
    """Of each point, which is then marked and says so on hovering."""


@dataclass(frozen=True, slots=True)
class Point:
    """One point of several to choose among."""

    x: float
    y: float
    name: str
    hint: str = ""
    """Said on hovering; default: the name."""


@dataclass(frozen=True, slots=True)
class _Field:
    """Where a value falls in the picture."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float
    top: float
    is_log: bool = False
    """Both axes; the ends are then logarithms."""

    def at(self, x: float, y: float) -> tuple[float, float]:
        if self.is_log:
            x, y = math.log10(x), math.log10(y)
        across = (x - self.x_low) / ((self.x_high - self.x_low) or 1.0)
        up = (y - self.y_low) / ((self.y_high - self.y_low) or 1.0)
        return LEFT + across * (WIDTH - LEFT - RIGHT), self.top + HEIGHT * (1 - up)

    def ticks(self, low: float, high: float, about: int) -> list[float]:
        return ticks_of_powers(10**low, 10**high) if self.is_log else ticks(low, high, about)


def line_chart(
    title: str, lines: Sequence[Line], across: tuple[str, Written], up: tuple[str, Written],
    marks: Sequence[tuple[float, str]] = (), *, is_log: bool = False,
) -> str:  # fmt: skip
    """Curves over one axis, with their bands; `across` and `up` name the axes and write their numbers.

    Marks stand at their x. `is_log` makes both axes logarithmic, for values above zero.
    """
    points = [(x, y) for line in lines for at, (x, mean) in enumerate(line.points)
              for y in (mean, *(line.band[at] if line.band else ()))]  # fmt: skip
    drawn, top = legend([line.name for line in lines], 0.0) if len(lines) > 1 else ([], LINE / 2)
    field = _log_field(points, top + LINE) if is_log else _field(points, top + LINE, from_zero=True)
    drawn += _axes(field, across, up)
    for x, name in marks:
        at, _ = field.at(x, field.y_low)
        drawn.append(rule(at, field.top, at, field.top + HEIGHT, "mark"))
        right = at > WIDTH * 0.6
        drawn.append(text(at + (-5 if right else 5), field.top + 12, name, "strong", "end" if right else ""))
    for position, line in enumerate(lines):
        drawn += _curve(field, position, line)
    return picture(title, field.top + HEIGHT + 2 * LINE + 6, drawn)


def _curve(field: _Field, position: int, line: Line) -> Iterator[str]:
    """The band below, the curve above, its marked points on top."""
    places = [field.at(*point) for point in line.points]
    if line.band:
        xs = [x for x, _ in line.points]
        high = [field.at(x, end) for x, (_, end) in zip(xs, line.band, strict=True)]
        low = [field.at(x, end) for x, (end, _) in zip(xs, line.band, strict=True)]
        yield f'<polygon points="{_path(high + low[::-1])}" class="spread {colour(position)}"/>'
    yield f'<polyline points="{_path(places)}" class="curve {colour(position, "l")}"/>'
    for (x, y), hint in zip(places, line.hints, strict=False):
        yield _dot(x, y, 3, colour(position), hint)


def point_chart(
    title: str, points: Sequence[Point], chosen: int | None, across: tuple[str, Written], up: tuple[str, Written],
    *, are_steps: bool = False, at_points: bool = False,
) -> str:  # fmt: skip
    """Points joined in their order, as steps where nothing lies between them; the chosen one is larger.

    Few points are named, of many only the chosen one. `at_points` writes the x of every point on the axis.
    """
    field = _field([(one.x, one.y) for one in points], LINE, from_zero=False)
    drawn = _axes(field, across, up, [one.x for one in points] if at_points else None)
    places = [field.at(one.x, one.y) for one in points]
    corners = [(x, y) for (_, y), (x, _) in pairwise(places)] if are_steps else []
    path = [place for pair in zip_longest(places, corners) for place in pair if place is not None]
    drawn.append(f'<polyline points="{_path(path)}" class="curve l7"/>')
    said_until: dict[int, float] = {}
    for position, ((x, y), one) in enumerate(zip(places, points, strict=True)):
        special = position == chosen
        drawn.append(_dot(x, y, 6 if special else 4, "f5" if special else "f0", one.hint or one.name))
        if not special and len(points) > MOST_NAMED:
            continue
        right = x > WIDTH * 0.7
        begin, end = (x - 9 - LETTER * len(one.name), x - 9) if right else (x + 9, x + 9 + LETTER * len(one.name))
        row = round(y / LINE)
        if special or begin > said_until.get(row, 0.0):
            said_until[row] = end
            drawn.append(text(end if right else begin, y - 7, one.name, "strong" if special else "soft",
                              "end" if right else ""))  # fmt: skip
    return picture(title, field.top + HEIGHT + 2 * LINE + 6, drawn)


def _path(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _dot(x: float, y: float, radius: float, kind: str, hint: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" class="{kind}"><title>{safe(hint)}</title></circle>'


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


def _log_field(points: Sequence[tuple[float, float]], top: float) -> _Field:
    (x_low, x_high), (y_low, y_high) = (
        (math.log10(min(values)), math.log10(max(values)))
        for values in ([x for x, _ in points], [y for _, y in points])
    )
    room = 0.04 * ((y_high - y_low) or 1.0)
    return _Field(x_low, x_high, y_low - room, y_high + room, top, is_log=True)


def _axes(
    field: _Field, across: tuple[str, Written], up: tuple[str, Written], at: Sequence[float] | None = None
) -> list[str]:
    """Lines and numbers; `at` says where those of the horizontal axis stand."""
    bottom, left, right = field.top + HEIGHT, LEFT, WIDTH - RIGHT
    drawn = [text(0, field.top - 5, up[0], "soft")]
    for value in field.ticks(field.y_low, field.y_high, 5):
        y = field.at(value, value)[1]
        drawn.append(rule(left, y, right, y))
        drawn.append(text(left - 6, y + 4, up[1](value), "soft", "end"))
    for value in field.ticks(field.x_low, field.x_high, 6) if at is None else at:
        x = field.at(value, value)[0]
        drawn.append(rule(x, bottom, x, bottom + 4))
        drawn.append(text(x, bottom + LINE, across[1](value), "soft", "middle"))
    drawn.append(text(right, bottom + 2 * LINE, across[0], "soft", "end"))
    return drawn
