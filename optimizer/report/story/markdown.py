"""A page as Markdown: tables in place of pictures, and the topology as a Mermaid graph."""

from __future__ import annotations

from collections.abc import Iterator

from optimizer.report.story.parts import Block, Bullets, Code, Figure, KeyFigures, Page, Table, Words

SPECIAL = "\\`*_{}[]<>#|~$&"
"""What Markdown (of GitHub, with HTML and formulas) gives a meaning to."""


def page_markdown(page: Page) -> str:
    """The text; no name in it is read as markup."""
    lines = [f"# {plain(page.title)}", "", f"**{plain(page.lead)}**", ""]
    if page.warnings:
        lines += ["## Before you rely on this", "", *(f"- {plain(line)}" for line in page.warnings), ""]
    for section in page.sections:
        lines += [f"## {plain(section.title)}", ""]
        for block in section.blocks:
            lines += [*_block(block), ""]
    return "\n".join(lines).rstrip() + "\n"


def plain(text: str) -> str:
    """The text on one line, with a backslash before everything that is more than a letter to Markdown."""
    one_line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return "".join(f"\\{c}" if c in SPECIAL else c for c in one_line)


def _block(block: Block) -> Iterator[str]:
    match block:
        case Words(text):
            yield plain(text)
        case Bullets(lines):
            yield from (f"- {plain(line)}" for line in lines)
        case Code(text, language):
            longest = max((len(run) for run in text.replace("`", " `").split() if run.startswith("`")), default=0)
            fence = "`" * max(3, longest + 1)
            yield from (f"{fence}{language}", text, fence)
        case Table():
            yield from _table(block)
        case Figure():
            if block.mermaid:
                yield from (f"**{plain(block.title)}**", "", "```mermaid", block.mermaid, "```", "")
            yield from _table(block.table)
        case KeyFigures(figures):
            yield from ("| | | |", "| --- | ---: | --- |")
            yield from (f"| {plain(key.name)} | {plain(key.value)} | {plain(key.note)} |" for key in figures)


def _table(one: Table) -> Iterator[str]:
    yield f"**{plain(one.caption)}**"
    yield ""
    yield "| " + " | ".join(plain(name) or " " for name, _ in one.columns) + " |"
    yield "| " + " | ".join("---:" if side == "right" else "---" for _, side in one.columns) + " |"
    for row in one.rows:
        yield "| " + " | ".join("<br>".join(plain(line) for line in cell.split("\n")) for cell in row) + " |"
