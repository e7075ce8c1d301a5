"""A sweep as a picture: a heat map over two keys, or a line with its band over one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import pairwise
from typing import Any
from xml.sax.saxutils import escape

from optimizer.batch import Row
from optimizer.errors import InputError

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 480, 120, 24, 64, 64
COLD, HOT = (239, 243, 255), (8, 69, 148)
"""Ends of a one-hue scale, so that it reads in grey and for the colour-blind (ColorBrewer "Blues")."""
NOTHING = "#f4d9d0"
"""Where no scenario has a plan."""
OWN = {field.name for field in fields(Row)} | {"identity"}
MOST_LABELS = 12
MOST_NUMBERED = 15
"""Cells a row up to which each carries its figure."""
Rows = Sequence[Mapping[str, Any]]


def sweep_svg(rows: Rows, value: str, x: str | None = None, y: str | None = None) -> str:
    """The picture. Where other keys vary too, the least value over them is drawn, and the title says so.

    Raises:
        InputError: a key or column is not there, or nothing was swept.
    """
    keys = [name for name in rows[0] if name not in OWN]
    if not keys:
        raise InputError("these scenarios are no sweep; there is nothing to draw them over (`-o json` lists them)")
    x_key = _found(x, keys) if x is not None else keys[-1]
    others = [key for key in keys if key != x_key]
    y_key = _found(y, keys) if y is not None else (others[-1] if others else None)
    if value not in rows[0] or any(isinstance(row[value], str | dict | bytes) for row in rows):
        raise InputError(f"{value} is no column of numbers, such as usd_per_hour, gap or worst_latency_slack")
    rest = [key for key in others if key != y_key]
    title = f"{value}{', least over ' + ', '.join(rest) if rest else ''}"
    picture = _Picture(title, x_key, value if y_key is None else y_key)
    if y_key is None:
        return picture.line(rows, value)
    return picture.heat_map(rows, value, y_key)


def sweep_page(rows: Rows, value: str, x: str | None = None, y: str | None = None) -> str:
    """The picture on a page of its own, with a table of the cheapest; nothing from outside the file."""
    priced = sorted((row for row in rows if row["usd_per_hour"] is not None), key=lambda row: row["usd_per_hour"])
    keys = [name for name in rows[0] if name not in OWN]
    head = "".join(f"<th>{escape(name)}</th>" for name in ("scenario", *keys, "usd_per_hour"))
    body = "\n".join(
        "<tr>"
        + "".join(f"<td>{escape(_label(row[name]))}</td>" for name in ("scenario", *keys, "usd_per_hour"))
        + "</tr>"
        for row in priced[:MOST_NUMBERED]
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>gpuplan batch</title>\n'
        "<style>body{font-family:system-ui,sans-serif;margin:2em}td,th{padding:2px 12px 2px 0;text-align:left}</style>"
        f"</head>\n<body>\n{sweep_svg(rows, value, x, y)}<h2>Cheapest</h2>\n<table><tr>{head}</tr>\n{body}\n</table>\n"
        "</body></html>\n"
    )


def _found(key: str, keys: Sequence[str]) -> str:
    """A key of the sweep, with or without its unit."""
    for known in keys:
        if key in (known, known.split(" [")[0]):
            return known
    raise InputError(f"{key} was not swept; there is {', '.join(keys)}")


class _Picture:
    """One chart: its frame, and what is drawn in it."""

    def __init__(self, title: str, x_key: str, y_title: str) -> None:
        self.x_key = x_key
        self.drawn = [
            _text(LEFT, 28, title, size=16, bold=True),
            _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, x_key, anchor="middle"),
            _text(LEFT, TOP - 12, y_title),
        ]

    def svg(self) -> str:
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
            f'height="{HEIGHT}" role="img" font-family="system-ui, sans-serif" font-size="12">'
        )
        return "\n".join([head, *self.drawn, "</svg>"]) + "\n"

    def heat_map(self, rows: Rows, value: str, y_key: str) -> str:
        """A cell for each pair of values, darker for more."""
        xs, ys = (_ordered(row[key] for row in rows) for key in (self.x_key, y_key))
        least: dict[tuple[Any, Any], float] = {}
        for row in rows:
            if row[value] is not None:
                at = (row[self.x_key], row[y_key])
                least[at] = min(row[value], least.get(at, row[value]))
        low, high = min(least.values(), default=0.0), max(least.values(), default=0.0)
        width, height = (WIDTH - LEFT - RIGHT) / len(xs), (HEIGHT - TOP - BOTTOM) / len(ys)
        for i, x in enumerate(xs):
            for j, y in enumerate(ys):
                found = least.get((x, y))
                part = 0.0 if found is None or high == low else (found - low) / (high - low)
                left, top = LEFT + i * width, HEIGHT - BOTTOM - (j + 1) * height
                words = f"{_label(x)}, {_label(y)}: {'no plan' if found is None else _label(found)}"
                self.drawn.append(
                    f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" '
                    f'fill="{NOTHING if found is None else _colour(part)}"><title>{_safe(words)}</title></rect>'
                )
                if len(xs) <= MOST_NUMBERED and found is not None:
                    ink = "#fff" if part > 0.5 else "#222"
                    figure = _label(found)
                    self.drawn.append(
                        _text(left + width / 2, top + height / 2 + 4, figure, anchor="middle", colour=ink, size=10)
                    )
        for i in _some(len(xs)):
            self.drawn.append(_text(LEFT + (i + 0.5) * width, HEIGHT - BOTTOM + 18, _label(xs[i]), anchor="middle"))
        for j in _some(len(ys)):
            middle = HEIGHT - BOTTOM - (j + 0.5) * height
            self.drawn.append(_text(LEFT - 8, middle + 4, _label(ys[j]), anchor="end"))
        return self.svg()

    def line(self, rows: Rows, value: str) -> str:
        """The value over one key; for a cost, with the band down to what is proven."""
        by_x: defaultdict[Any, list[Mapping[str, Any]]] = defaultdict(list)
        for row in rows:
            if row[value] is not None:
                by_x[row[self.x_key]].append(row)
        xs = _ordered(by_x)
        if not xs:
            raise InputError("no scenario has a plan; there is nothing to draw")
        best = [min(by_x[x], key=lambda row: row[value]) for x in xs]
        tops = [float(row[value]) for row in best]
        floors = [float(row["bound_usd_per_hour"]) if value == "usd_per_hour" else float(row[value]) for row in best]
        low, high = min(0.0, *floors), max(*tops, *floors)
        numbers = [float(x) if isinstance(x, int | float) else float(i) for i, x in enumerate(xs)]

        def across(i: int) -> float:
            span = numbers[-1] - numbers[0]
            return LEFT + (WIDTH - LEFT - RIGHT) * ((numbers[i] - numbers[0]) / span if span else 0.5)

        def up(y: float) -> float:
            return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * ((y - low) / (high - low) if high > low else 0.5)

        band = [(across(i), up(y)) for i, y in enumerate(tops)]
        band += [(across(i), up(y)) for i, y in reversed(list(enumerate(floors)))]
        points = " ".join(f"{px:.1f},{py:.1f}" for px, py in band)
        self.drawn.append(
            f'<polygon points="{points}" fill="{_colour(0.35)}"><title>down to the bound</title></polygon>'
        )
        for (i, a), (j, b) in pairwise(enumerate(tops)):
            self.drawn.append(
                f'<line x1="{across(i):.1f}" y1="{up(a):.1f}" x2="{across(j):.1f}" y2="{up(b):.1f}" '
                f'stroke="{_colour(1.0)}" stroke-width="2"/>'
            )
        for i in _some(len(xs)):
            self.drawn.append(_text(across(i), HEIGHT - BOTTOM + 18, _label(xs[i]), anchor="middle"))
        for y in (low, (low + high) / 2, high):
            self.drawn.append(_text(LEFT - 8, up(y) + 4, _label(y), anchor="end"))
        return self.svg()


def _ordered(values: Any) -> list[Any]:
    """Each once: numbers by size, texts in the order of the scenarios."""
    unique = list(dict.fromkeys(values))
    return sorted(unique) if all(isinstance(one, int | float) for one in unique) else unique


def _some(n: int) -> range:
    """Places of labels, not more than fit."""
    return range(0, n, -(-n // MOST_LABELS))


def _colour(part: float) -> str:
    mixed = (round(c + (h - c) * part) for c, h in zip(COLD, HOT, strict=True))
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def _label(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


def _text(
    x: float, y: float, words: str, *, anchor: str = "start", size: int = 12, bold: bool = False, colour: str = "#222"
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}"{weight}>'
        f"{_safe(words)}</text>"
    )


def _safe(words: str) -> str:
    """Text that no reader takes for markup; control characters, which XML forbids, are left out."""
    return escape("".join(c for c in words if c >= " " or c == "\t"))
