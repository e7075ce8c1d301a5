"""Faults as a terminal shows them: where, what, and the line with a caret."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from optimizer.errors import Fault, InputError, Location
from optimizer.scenario.words import printable

MOST_SHOWN = 20
_WIDTH = 100
"""Characters of a source line that are shown around the caret."""
_BEFORE = 60
"""Of them, at most before the caret."""
_LONGEST_MESSAGE = 600


def render_faults(error: InputError) -> str:
    """Every fault as `file:line:column: error: message` with its line and a caret; many are cut short and counted.

    Safe to print: whatever could command a terminal is escaped, and long lines are shortened.
    """
    shown = [_rendered(fault) for fault in error.faults[:MOST_SHOWN]]
    if more := len(error.faults) - len(shown):
        shown.append(f"… and {more:,} more")
    return "\n".join(shown)


def in_file_order(faults: Iterable[Fault]) -> list[Fault]:
    """By line and column; those without come first, in the order given."""
    return sorted(faults, key=_line_and_column)


def _line_and_column(fault: Fault) -> tuple[int, int]:
    where = fault.location
    return (where.line or 0, where.column or 0) if where is not None else (0, 0)


def _rendered(fault: Fault) -> str:
    where = str(fault.location) if fault.location is not None else fault.key
    message = printable(fault.message)
    if len(message) > _LONGEST_MESSAGE:
        message = f"{message[:_LONGEST_MESSAGE]}…"
    first = f"{printable(where)}: error: {message}" if where else f"error: {message}"
    return "\n".join([first, *(_line_with_caret(fault.location) if fault.location is not None else ())])


def _line_with_caret(location: Location) -> list[str]:
    if not location.text or location.column is None:
        return []
    caret = location.column - 1
    start = max(0, caret - _BEFORE) if len(location.text) > _WIDTH else 0
    end = start + _WIDTH
    before = ("…" if start else "") + printable(location.text[start:caret].replace("\t", " "))
    after = printable(location.text[caret:end].replace("\t", " ")) + ("…" if end < len(location.text) else "")
    return [f"{before}{after}", f"{' ' * _cells(before)}^"]


def _cells(text: str) -> int:
    """Columns of a terminal; East Asian wide characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
