"""Why a plan is as it is: what it runs and instead of what, what binds, what more is worth, and where it flips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from catalog.units import HOURS_PER_MONTH
from optimizer.candidates import on_offer
from optimizer.explain import BreakEven, Explanation, Flip, Margin, Reason
from optimizer.report.data import plain
from optimizer.report.tables import table
from optimizer.report.words import TIE_USD_PER_HOUR, UNKNOWN, bullets, count, cut, figure, percent, usd, usd_more

MOST_NAMED = 3
"""Differences named in a line; the JSON holds all."""


def explanation_report(explained: Explanation) -> RenderableType:
    """The explanation of a plan, or of how it serves one workload."""
    about = explained.scenario if explained.workload is None else f"{explained.scenario}, {explained.workload}"
    lines: list[RenderableType] = [
        Text(f"{about}: {usd(explained.plan_usd_per_hour)} per hour", style="bold"),
        Text(_optimum(explained)),
        *([Text(_kept(explained))] if explained.n_kept else []),
        Text(""),
        _reasons(explained.reasons),
    ]
    if explained.n_more_choices:
        more = count(explained.n_more_choices, "smaller group of replicas", "smaller groups of replicas")
        lines.append(Text(f"{more} more: name the workload to have them explained."))
    lines.append(Text(""))
    lines += bullets("What binds", explained.binds)
    lines += [_margins(explained.margins), Text("")] if explained.margins else []
    lines += [_flips(explained.flips), Text("")] if explained.flips else []
    lines += bullets("Buying against renting", [_break_even(one) for one in explained.break_evens])
    lines += bullets("Not looked for in the time; a longer --time-limit looks further", explained.not_looked_for)
    return Group(*lines)


def explanation_data(explained: Explanation) -> dict[str, Any]:
    """The same as plain data."""
    data: dict[str, Any] = plain(explained)
    return data


def _optimum(explained: Explanation) -> str:
    solved = f"{count(explained.n_solves, 'plan')} solved"
    less = explained.plan_usd_per_hour - explained.usd_per_hour
    if less > TIE_USD_PER_HOUR:
        return (
            f"Solved again to the last cent, the cheapest plan costs {usd(explained.usd_per_hour)} per hour, "
            f"{usd(less)} less; differences below count from that one ({solved})."
        )
    return f"Every difference below is one between two plans that were solved ({solved})."


def _kept(explained: Explanation) -> str:
    kept = count(explained.n_kept, "other workload keeps", "other workloads keep")
    return f"{kept} to the kinds of replicas of the plan, in whatever number: there are too many to rate all anew."


def _reasons(reasons: Sequence[Reason]) -> RenderableType:
    rows = [
        (
            one.workload,
            f"{one.replicas} × {on_offer(one.structure, one.offer)}",
            one.limit or UNKNOWN,
            percent(one.utilization),
            _runner_up(one),
            usd_more(one.runner_up.usd_per_hour_more),
        )
        for one in reasons
    ]
    return table(
        "Why these replicas: the cheapest plan without them",
        (("workload", "left"), ("runs", "left"), ("bound by", "left"), ("used", "right"), ("without them", "left"),
         ("$/h more", "right")),
        rows,
    )  # fmt: skip


def _runner_up(one: Reason) -> str:
    if one.runner_up.usd_per_hour_more is None:
        with_others = f" with the {count(one.n_admissible - 1, 'other kind')}" if one.n_admissible > 1 else ""
        return f"no plan{with_others}" + ("" if one.runner_up.is_proven else " (not proven)")
    return "\n".join(cut(one.runner_up.instead, MOST_NAMED))


def _margins(margins: Sequence[Margin]) -> RenderableType:
    rows = [
        (one.change + ("" if one.is_proven else " (not proven)"), *_saved(one.saves_usd_per_hour)) for one in margins
    ]
    return table(
        "What a little more is worth", (("change", "left"), ("$/h", "right"), ("$/month", "right")), rows
    )  # fmt: skip


def _saved(usd_per_hour: float | None) -> tuple[str, str]:
    if usd_per_hour is None:
        return "no plan", ""
    if abs(usd_per_hour) < TIE_USD_PER_HOUR:
        return "nothing", ""
    word = "saves" if usd_per_hour > 0 else "costs"
    return f"{word} {usd(abs(usd_per_hour))}", usd(abs(usd_per_hour) * HOURS_PER_MONTH)


def _flips(flips: Sequence[Flip]) -> RenderableType:
    rows = [
        (one.what, one.shown_holds_at, one.shown_flips_at or "not in range", "\n".join(cut(one.instead, MOST_NAMED)))
        for one in flips
    ]
    return table(
        "How far the decision holds",
        (("what changes", "left"), ("holds at", "left"), ("no longer at", "left"), ("then", "left")),
        rows,
    )


def _break_even(one: BreakEven) -> str:
    name = f"{one.buy} bought, against {one.rent}"
    if one.utilization_fraction > 1:
        return f"{name}: renting is cheaper even for all hours of a month"
    payback = f"; its price is paid back after {figure(one.payback_months)} months" if one.payback_months else ""
    return f"{name}: cheaper from {percent(one.utilization_fraction)} of all hours on{payback}"
