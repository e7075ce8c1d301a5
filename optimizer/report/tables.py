"""Tables that fit the page: words are folded where they must be, numbers never, and a narrow page gets lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from optimizer.report.words import listed

Justify = Literal["left", "right"]
Columns = Sequence[tuple[str, Justify]]
GAP = 2
"""Characters between columns, as `box.SIMPLE_HEAD` draws them."""
LEAST_WORDS = 12
"""A column of words is not folded below this: shorter pieces cannot be read."""
LEAST_NAME = 20
"""Nor is what a line is about, which stands in the first column."""


def table(title: str, columns: Columns, rows: Iterable[Sequence[str]]) -> RenderableType:
    """A titled table with a rule under its header; where it cannot be as narrow as the page, a list a line of it."""
    return Group(Text(title, style="bold"), _Table(tuple(columns), tuple(tuple(row) for row in rows)))


@dataclass(frozen=True, slots=True)
class _Table:
    columns: tuple[tuple[str, Justify], ...]
    rows: tuple[tuple[str, ...], ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        widths = self._widths(options.max_width)
        yield from self._records() if widths is None else (self._drawn(widths),)

    def _widths(self, page: int) -> list[int] | None:
        """Characters of each column, the widest folded first; None where the page is too narrow for any folding."""
        cells = list(zip(*self.rows, strict=True)) if self.rows else [() for _ in self.columns]
        widths, least = [], []
        for at, ((header, justify), column) in enumerate(zip(self.columns, cells, strict=True)):
            longest = max((cell_len(line) for cell in column for line in cell.split("\n")), default=0)
            widths.append(max(longest, cell_len(header)))
            floor = longest if justify == "right" else min(longest, LEAST_WORDS if at else LEAST_NAME)
            least.append(max([floor, *map(cell_len, header.split())]))
        over = sum(widths) + GAP * (len(widths) - 1) - page
        while over > 0 and (foldable := [at for at in range(len(widths)) if widths[at] > least[at]]):
            widths[max(foldable, key=lambda at: (widths[at], at))] -= 1
            over -= 1
        return widths if over <= 0 else None

    def _drawn(self, widths: Sequence[int]) -> Table:
        drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_edge=False, header_style="bold")
        for (header, justify), width in zip(self.columns, widths, strict=True):
            drawn.add_column(header, justify=justify, width=width, overflow="fold")
        for row in self.rows:
            drawn.add_row(*row)
        return drawn

    def _records(self) -> Iterator[RenderableType]:
        headers = [header for header, _ in self.columns]
        for row in self.rows:
            yield Text(row[0], style="bold")
            yield Padding(listed(zip(headers[1:], row[1:], strict=True)), (0, 0, 0, GAP))
