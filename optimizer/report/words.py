"""How a report writes money, time, memory and counts, and its lists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from catalog.units import MS_PER_S, format_usd
from optimizer.performance.words import ENDLESS_MS

BLOCKS = " ▏▎▍▌▋▊▉█"
"""Eighths of a character cell, for bars."""
UNKNOWN = "–"
TIE_USD_PER_HOUR = 0.005
"""Less than half a cent an hour is a tie."""


def usd(amount: float | None) -> str:
    """Dollars; cents left out from a thousand on."""
    return UNKNOWN if amount is None else format_usd(amount)


def usd_more(usd_per_hour: float | None) -> str:
    """What another plan costs more an hour."""
    if usd_per_hour is None:
        return UNKNOWN
    return "a tie" if abs(usd_per_hour) < TIE_USD_PER_HOUR else usd(usd_per_hour)


def milliseconds(value_ms: float | None) -> str:
    """Milliseconds below one second, seconds beyond, three significant digits; `unbounded` where a queue never ends."""
    if value_ms is None:
        return UNKNOWN
    if value_ms >= ENDLESS_MS:
        return "unbounded"
    return f"{figure(value_ms)} ms" if value_ms < MS_PER_S else f"{figure(value_ms / MS_PER_S)} s"


def interval(ends_ms: tuple[float, float]) -> str:
    """From–to, both in the unit of the larger end."""
    low_ms, high_ms = ends_ms
    unit, size_ms = ("ms", 1.0) if high_ms < MS_PER_S else ("s", MS_PER_S)
    return f"{figure(low_ms / size_ms)}–{figure(high_ms / size_ms)} {unit}"


def percent(fraction: float | None, digits: int = 0) -> str:
    """A fraction as a percentage."""
    return UNKNOWN if fraction is None else f"{fraction:.{digits}%}"


def gib(value: float | None) -> str:
    """One decimal; two below 10."""
    return UNKNOWN if value is None else f"{value:.{2 if abs(value) < 10 else 1}f}"


def pool(kv_cache_gib: float) -> str:
    """GiB for the KV cache, or what is missing before there is any."""
    return gib(kv_cache_gib) if kv_cache_gib >= 0 else f"short by {gib(-kv_cache_gib)}"


def figure(value: float | None) -> str:
    """Three significant digits, thousands separated, never an exponent."""
    if value is None:
        return UNKNOWN
    if abs(value) >= 100:
        return f"{value:,.0f}"
    digits = 2 if abs(value) < 1 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") or "0"


def count(number: int | None, noun: str = "", plural: str | None = None) -> str:
    """`1,024` or, with a noun, `1 server`, `2 servers`."""
    if number is None:
        return UNKNOWN
    if not noun:
        return f"{number:,}"
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def bar(fraction: float, width: int) -> str:
    """A horizontal bar of `fraction` of `width` characters, exact to an eighth of one."""
    eighths = round(max(0.0, min(1.0, fraction)) * width * 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + (BLOCKS[rest] if rest else "")


def cut(lines: Sequence[str], most: int) -> list[str]:
    """The first lines, and how many more there are."""
    more = len(lines) - most
    return [*lines[:most], *([f"and {more} more"] if more > 0 else [])]


def listed(rows: Iterable[tuple[str, str]]) -> Table:
    """Names and what is said of them, without lines."""
    drawn = Table.grid(padding=(0, 2))
    drawn.add_column(no_wrap=True)
    drawn.add_column(overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    return drawn


def bullets(title: str, lines: Iterable[str]) -> list[RenderableType]:
    """A headed list and an empty line; nothing at all when there are no lines."""
    rows = [("·", line) for line in lines]
    return [Text(title, style="bold"), Padding(listed(rows), (0, 0, 0, 2)), Text("")] if rows else []
