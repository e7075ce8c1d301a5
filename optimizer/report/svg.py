"""Pictures as SVG text: pure functions of data, without scripts, fonts or anything from outside the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, BAR_HEIGHT, ROW_HEIGHT, MARGIN = 720, 34, 20, 16
COLOURS = ("#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f", "#edc948", "#b07aa1", "#9c755f")
"""Tableau 10, in the order of the parts; told apart by legend and hatching of the empty rest as well."""
EMPTY = "#e8e8e8"


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a stacked bar."""

    name: str
    value: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Stack:
    """One bar: parts that lie side by side within a whole, and a mark that they should not pass."""

    title: str
    segments: Sequence[Segment]
    whole: float
    limit: float | None = None
    limit_name: str = ""


def stacks_svg(title: str, stacks: Sequence[Stack], unit: str) -> str:
    """Horizontal stacked bars to one scale, each with its legend. Values are in `unit`; parts ≤ 0 are left out."""
    scale = (WIDTH - 2 * MARGIN) / max((max(s.whole, _sum(s)) for s in stacks), default=1.0)
    body, y = [_text(MARGIN, MARGIN + 8, title, size=15, bold=True)], MARGIN + 24.0
    for stack in stacks:
        drawn, y = _stack(stack, y, scale, unit)
        body += drawn
    height = round(y + MARGIN)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" font-family="system-ui, sans-serif" font-size="12"><title>{safe(title)}</title>'
    )
    return "\n".join([head, *body, "</svg>"]) + "\n"


def _sum(stack: Stack) -> float:
    return sum(max(segment.value, 0.0) for segment in stack.segments)


def _stack(stack: Stack, top: float, scale: float, unit: str) -> tuple[list[str], float]:
    y, x = top + 14.0, float(MARGIN)
    drawn = [_text(MARGIN, top + 8, stack.title, bold=True)]
    drawn.append(_box(x, y, stack.whole * scale, EMPTY, f"{stack.whole:.2f} {unit} in all"))
    for segment, colour in zip(stack.segments, _colours(stack), strict=True):
        if segment.value > 0:
            drawn.append(_box(x, y, segment.value * scale, colour, f"{segment.name}: {segment.value:.2f} {unit}"))
            x += segment.value * scale
    if stack.limit is not None:
        at = MARGIN + stack.limit * scale
        drawn.append(
            f'<line x1="{at:.1f}" y1="{y - 4:.1f}" x2="{at:.1f}" y2="{y + BAR_HEIGHT + 4:.1f}" stroke="#222" '
            f'stroke-dasharray="4 2"><title>{safe(stack.limit_name)}</title></line>'
        )
    y += BAR_HEIGHT + 16
    for segment, colour in zip(stack.segments, _colours(stack), strict=True):
        drawn.append(f'<rect x="{MARGIN}" y="{y - 9:.1f}" width="10" height="10" fill="{colour}"/>')
        drawn.append(_text(MARGIN + 18, y, segment.name))
        drawn.append(_text(MARGIN + 260, y, f"{segment.value:.2f} {unit}", end=True))
        drawn.append(_text(MARGIN + 276, y, segment.note))
        y += ROW_HEIGHT
    if stack.limit is not None:
        drawn.append(_text(MARGIN + 18, y, f"dashed: {stack.limit_name}, {stack.limit:.2f} {unit}"))
        y += ROW_HEIGHT
    return drawn, y + 6


def _colours(stack: Stack) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(len(stack.segments))]


def _box(x: float, y: float, width: float, colour: str, title: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{BAR_HEIGHT}" fill="{colour}">'
        f"<title>{safe(title)}</title></rect>"
    )


def _text(x: float, y: float, words: str, *, size: int = 12, bold: bool = False, end: bool = False) -> str:
    style = (' font-weight="bold"' if bold else "") + (' text-anchor="end"' if end else "")
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}"{style}>{safe(words)}</text>'


def safe(words: str) -> str:
    """Text that no reader takes for markup; control characters, which XML forbids, are left out."""
    return escape("".join(c for c in words if c >= " " or c == "\t"), {'"': "&quot;"})
