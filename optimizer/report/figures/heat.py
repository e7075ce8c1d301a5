"""A grid of coloured cells, and the legend of what the colours stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from optimizer.report.figures.marks import LETTER, LINE, WIDTH, picture, safe, text

Written = Callable[[float], str]
LEFT, HEIGHT = 62.0, 240.0
"""Room for the names of the rows, and of the grid."""
FAINTEST, STRONGEST = 0.08, 1.0
"""Of one colour on the paper, from the least to the most: it reads in grey, without seeing red and green, and on light
and dark paper alike."""
INK_TURNS = 0.75
"""Strength from which figures are written in the paper's colour: about as legible there either way."""
SWATCHES, SWATCH = 5, 22.0
"""Of the legend: how many, and how wide."""
SMALL = 5.6
"""Mean width of a letter of 10 units."""


def heat_chart(
    title: str,
    cells: Mapping[tuple[int, int], float],
    across: tuple[str, Sequence[str]],
    up: tuple[str, Sequence[str]],
    written: Written,
    nothing: str,
) -> str:
    """A cell for each column and row, stronger for more; `across` and `up` name the axes and their places.

    What has no amount is called `nothing`. Figures stand in cells that are wide enough for all of them.
    """
    columns, rows = across[1], up[1]
    low, high = min(cells.values(), default=0.0), max(cells.values(), default=0.0)
    scale = _Scale(low, high)
    drawn = list(_legend(scale, written, nothing if len(cells) < len(columns) * len(rows) else ""))
    top = 2 * LINE + 8
    drawn.append(text(0, top - 5, up[0], "soft", width=WIDTH))
    width, height = (WIDTH - LEFT) / len(columns), HEIGHT / len(rows)
    widest = max((len(written(amount)) for amount in cells.values()), default=0)
    has_figures = SMALL * widest + 4 <= width and height >= LINE - 4
    for i, column in enumerate(columns):
        for j, row in enumerate(rows):
            amount = cells.get((i, j))
            left, upper = LEFT + i * width, top + HEIGHT - (j + 1) * height
            said = f"{column}, {row}: {nothing if amount is None else written(amount)}"
            drawn.append(_cell(left, upper, width, height, scale.look(amount), said))
            if has_figures and amount is not None:
                kind = "in" if scale.strength(amount) >= INK_TURNS else "small"
                drawn.append(text(left + width / 2, upper + height / 2 + 4, written(amount), kind, "middle"))
    names_width = max(map(len, columns)) * LETTER + 6
    drawn += [
        text(LEFT + (i + 0.5) * width, top + HEIGHT + LINE, columns[i], "soft", "middle")
        for i in _labelled(len(columns), width, names_width)
    ]
    drawn += [
        text(LEFT - 6, top + HEIGHT - (j + 0.5) * height + 4, rows[j], "soft", "end", width=LEFT - 6)
        for j in _labelled(len(rows), height, LINE)
    ]
    drawn.append(text(WIDTH, top + HEIGHT + 2 * LINE, across[0], "soft", "end", width=WIDTH))
    return picture(title, top + HEIGHT + 2 * LINE + 6, drawn)


class _Scale:
    """How strong an amount between the least and the most is drawn."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def strength(self, amount: float) -> float:
        part = (amount - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return FAINTEST + (STRONGEST - FAINTEST) * part

    def look(self, amount: float | None) -> str:
        return 'class="bad" fill-opacity="0.25"' if amount is None else (
            f'class="f0" fill-opacity="{self.strength(amount):.3f}"'
        )  # fmt: skip


def _legend(scale: _Scale, written: Written, nothing: str) -> Iterator[str]:
    """From the least to the most, and what has no amount where there is such a cell."""
    x = 0.0
    if scale.high > scale.low:
        least, most = written(scale.low), written(scale.high)
        yield text(0, 11, least, "soft")
        x = len(least) * LETTER + 6
        for n in range(SWATCHES):
            amount = scale.low + (scale.high - scale.low) * n / (SWATCHES - 1)
            yield _cell(x, 1, SWATCH, 12, scale.look(amount), written(amount))
            x += SWATCH
        yield text(x + 6, 11, most, "soft")
        x += 6 + len(most) * LETTER + 24
    if nothing:
        yield _cell(x, 1, SWATCH, 12, scale.look(None), nothing)
        yield text(x + SWATCH + 6, 11, nothing, "soft")


def _cell(x: float, y: float, width: float, height: float, look: str, hint: str) -> str:
    return (
        f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" {look}>'
        f"<title>{safe(hint)}</title></rect>"
    )


def _labelled(n: int, room: float, needed: float) -> range:
    """Places whose names do not lie on each other."""
    return range(0, n, max(1, -int(-needed // room)))
