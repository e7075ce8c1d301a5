"""A sweep as a picture: a heat map over two keys, or a line with its band over one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from optimizer.batch import Row
from optimizer.errors import InputError
from optimizer.report.figures import Line, heat_chart, line_chart, standalone
from optimizer.report.story.html import page_html
from optimizer.report.story.parts import Figure, Page, sections, table
from optimizer.report.words import figure

NOTHING = "no plan"
OWN = {field.name for field in fields(Row)} | {"identity"}
MOST_LISTED = 15
"""Scenarios in the table beside the picture."""
MOST_MARKED = 60
"""Points of a line that can be told apart."""
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A picture, and what it shows in words."""

    title: str
    svg: str


def sweep_svg(rows: Rows, value: str, x: str | None = None, y: str | None = None) -> str:
    """The picture as a file of its own. Where other keys vary too, the least value over them is drawn, as it says.

    Raises:
        InputError: a key or column is not there, nothing was swept, or no scenario has a plan.
    """
    return standalone(_drawn(rows, value, x, y).svg)


def sweep_page(rows: Rows, value: str, x: str | None = None, y: str | None = None) -> str:
    """The picture on a page of its own, with a table of the least; nothing from outside the file. Raises likewise."""
    drawn, keys = _drawn(rows, value, x, y), _keys(rows)
    found = sorted((row for row in rows if row[value] is not None), key=lambda row: float(row[value]))
    least = table(
        f"Least {value}",
        "|".join(["scenario", *(key.replace("|", "/") for key in keys), f">{value}"]),
        ([row["scenario"], *(_label(row[key]) for key in keys), figure(row[value])] for row in found[:MOST_LISTED]),
    )
    lead = f"{len(rows):,} scenarios, {len(found):,} with a plan."
    picture = Figure(drawn.title, drawn.svg, least)
    return page_html(Page("A sweep", lead, (), sections(("sweep", "What it shows", [picture]))))


def _drawn(rows: Rows, value: str, x: str | None, y: str | None) -> _Drawn:
    keys = _keys(rows)
    if not keys:
        raise InputError("these scenarios are no sweep; there is nothing to draw them over (`-o json` lists them)")
    x_key = _found(x, keys) if x is not None else keys[-1]
    others = [key for key in keys if key != x_key]
    y_key = _found(y, keys) if y is not None else (others[-1] if others else None)
    if value not in rows[0] or any(isinstance(row[value], str | dict | bytes) for row in rows):
        raise InputError(f"{value} is no column of numbers, such as usd_per_hour, gap or worst_latency_slack")
    if all(row[value] is None for row in rows):
        raise InputError(f"no scenario has a {value}; there is nothing to draw")
    rest = [key for key in others if key != y_key]
    title = f"{value}{', least over ' + ', '.join(rest) if rest else ''}"
    if y_key is None:
        return _Drawn(title, _line(rows, value, x_key, title))
    return _Drawn(title, _heat_map(rows, value, x_key, y_key, title))


def _keys(rows: Rows) -> list[str]:
    return [name for name in rows[0] if name not in OWN]


def _found(key: str, keys: Sequence[str]) -> str:
    """A key of the sweep, with or without its unit."""
    for known in keys:
        if key in (known, known.split(" [")[0]):
            return known
    raise InputError(f"{key} was not swept; there is {', '.join(keys)}")


def _heat_map(rows: Rows, value: str, x_key: str, y_key: str, title: str) -> str:
    """A cell for each pair of values."""
    xs, ys = (_ordered(row[key] for row in rows) for key in (x_key, y_key))
    column, line = ({one: i for i, one in enumerate(ones)} for ones in (xs, ys))
    least: dict[tuple[int, int], float] = {}
    for row in rows:
        if row[value] is not None:
            at = (column[row[x_key]], line[row[y_key]])
            least[at] = min(row[value], least.get(at, row[value]))
    return heat_chart(
        title, least, (x_key, [_label(one) for one in xs]), (y_key, [_label(one) for one in ys]), figure, NOTHING
    )


def _line(rows: Rows, value: str, x_key: str, title: str) -> str:
    """The value over one key; for a cost, with the band down to what is proven."""
    by_x: defaultdict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if row[value] is not None:
            by_x[row[x_key]].append(row)
    xs = _ordered(by_x)
    are_numbers = all(isinstance(one, int | float) for one in xs)
    places = [float(one) if are_numbers else float(i) for i, one in enumerate(xs)]
    least = [min(by_x[one], key=lambda row: float(row[value])) for one in xs]
    tops = [float(row[value]) for row in least]
    floors = [float(row["bound_usd_per_hour"]) if value == "usd_per_hour" else top
              for row, top in zip(least, tops, strict=True)]  # fmt: skip
    hints = [f"{_label(one)}: {figure(top)}, at least {figure(floor)}"
             for one, top, floor in zip(xs, tops, floors, strict=True)]  # fmt: skip
    line = Line(
        value,
        tuple(zip(places, tops, strict=True)),
        tuple(zip(floors, tops, strict=True)),
        tuple(hints) if len(hints) <= MOST_MARKED else (),
    )

    def written(place: float) -> str:
        if are_numbers:
            return _label(place)
        return _label(xs[int(place)]) if place == int(place) else ""

    up = f"{value}, and down to what is proven" if floors != tops else value
    return line_chart(title, [line], (x_key, written), (up, figure))


def _ordered(values: Any) -> list[Any]:
    """Each once: numbers by size, texts in the order of the scenarios."""
    unique = list(dict.fromkeys(values))
    return sorted(unique) if all(isinstance(one, int | float) for one in unique) else unique


def _label(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)
