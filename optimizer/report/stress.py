"""What a plan does under stress, in words: what is served, what mends it, and the price of robustness."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from catalog.units import HOURS_PER_MONTH
from optimizer.layout import Layout
from optimizer.plan_notes import Remedy, Stress
from optimizer.report.tables import table
from optimizer.report.words import percent, usd

TITLE = "Under stress: what the plan serves within its targets, and what would help"
HEADERS = ("case", "served", "not in full", "repair, a month", "a plan that holds, a month")
MOST_NAMED = 4
"""Workloads of a case that are named, those that fare worst."""


def stress_report(layout: Layout) -> list[RenderableType]:
    """A table, if stress was asked for."""
    if not layout.stress:
        return []
    return [table(TITLE, [(name, "left") for name in HEADERS], list(stress_rows(layout))), Text("")]


def stress_rows(layout: Layout) -> Iterator[tuple[str, ...]]:
    """A line a case, under `HEADERS`."""
    for case in layout.stress:
        yield (
            case.name,
            percent(case.served_fraction, 1),
            "\n".join(_short(case, bool(layout.periods))) or "–",
            _costs(case.repaired),
            _costs(case.robust),
        )


def _short(case: Stress, has_periods: bool) -> Iterator[str]:
    short = sorted((one for one in case.workloads if one.served_fraction < 1), key=lambda one: one.served_fraction)
    for one in short[:MOST_NAMED]:
        when = f" in period {one.period}" if has_periods else ""
        when += f" of {one.future}" if one.future else ""
        why = f" ({', '.join(one.bound_by)})" if one.bound_by else ""
        yield f"{one.name} {percent(one.served_fraction)}{when}{why}"
    if len(short) > MOST_NAMED:
        yield f"and {len(short) - MOST_NAMED} more"


def _costs(remedy: Remedy | None) -> str:
    """`+$1,460: 2 × node (rent)`."""
    if remedy is None:
        return "none found"
    if not remedy.servers:
        return "not needed"
    more = usd(remedy.usd_per_hour_more * HOURS_PER_MONTH)
    return "\n".join([f"+{more}{'' if remedy.is_proven else ' at most'}", *remedy.servers])
