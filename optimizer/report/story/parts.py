"""What a page consists of, before it is HTML or Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from optimizer.report.tables import Justify


@dataclass(frozen=True, slots=True)
class Words:
    """A paragraph."""

    text: str


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Code:
    """A command, or text in a language that Markdown viewers draw (`mermaid`)."""

    text: str
    language: str = "sh"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a header; the first column names them."""

    caption: str
    columns: tuple[tuple[str, Justify], ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture, and the same numbers as a table for those who do not see it."""

    title: str
    svg: str
    table: Table
    mermaid: str = ""
    """What Markdown shows in place of the picture, where it can draw it."""


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """A number worth remembering."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class KeyFigures:
    """A few of them."""

    figures: tuple[KeyFigure, ...]


Block = Words | Bullets | Code | Table | Figure | KeyFigures


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it."""

    id: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """A whole report."""

    title: str
    lead: str
    """The answer in one sentence."""
    warnings: tuple[str, ...]
    sections: tuple[Section, ...]


def table(caption: str, columns: str, rows: Iterable[Iterable[str]]) -> Table:
    """A table; `columns` separates headers by `|`, and a header that begins with `>` stands to the right."""
    headers = tuple((name.strip().removeprefix(">"), _side(name.strip())) for name in columns.split("|"))
    return Table(caption, headers, tuple(tuple(row) for row in rows))


def renamed(block: Block, name: str) -> Block:
    """A figure or table under a name, where several plans have the same."""
    match block:
        case Figure():
            return replace(block, title=f"{name}: {block.title}", table=replace(block.table, caption=name))
        case Table():
            return replace(block, caption=f"{name}: {block.caption}")
        case _:
            return block


def sections(*found: tuple[str, str, Iterable[Block]]) -> tuple[Section, ...]:
    """Sections of (id, title, blocks); those without anything to say are left out."""

    def kept() -> Iterator[Section]:
        for id_, title, blocks in found:
            if all_blocks := tuple(blocks):
                yield Section(id_, title, all_blocks)

    return tuple(kept())


def _side(name: str) -> Justify:
    return "right" if name.startswith(">") else "left"
