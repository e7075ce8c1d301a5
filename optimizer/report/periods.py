"""A plan of several periods, or of several futures, one by one: what is asked, what serves, what is ordered."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType

from optimizer.layout import FuturePlan, Layout, PeriodPlan, Servers
from optimizer.report.tables import table
from optimizer.report.words import count, figure, percent, usd

TERMS = {"own": "owned", "buy": "bought", "rent": "rented", "reserve": "reserved", "spot": "spot"}


def periods_report(periods: tuple[PeriodPlan, ...]) -> RenderableType:
    """One row a period. Prices are not discounted."""
    rows = [
        (count(plan.period), f"{figure(plan.starts_month)} mo",
         figure(asked_rps(plan)), serving(plan),
         "\n".join(_orders(plan)), usd(sum(_paid_per_hour(row) for row in plan.servers)))
        for plan in periods
    ]  # fmt: skip
    return table(
        "Periods; $/h is rent, reservations and running cost, without what is bought",
        (("period", "right"), ("from", "right"), ("requests/s", "right"), ("servers", "left"), ("order", "left"),
         ("$/h", "right")),
        rows,
    )  # fmt: skip


def futures_report(layout: Layout) -> RenderableType:
    """One row a future: how likely it is, and at its busiest what is asked and what serves."""
    rows = []
    for future in layout.futures:
        plan = busiest(future)
        rows.append(
            (future.name, percent(future.probability), figure(asked_rps(plan)), serving(plan),
             usd(future.usd_per_hour))
        )  # fmt: skip
    where = ", in the busiest period of each" if len(layout.periods) > 1 else ""
    return table(
        f"Demand scenarios{where}; what is bought and reserved is the same in all, and $/h counts it",
        (
            ("scenario", "left"),
            ("probability", "right"),
            ("requests/s", "right"),
            ("servers", "left"),
            ("$/h", "right"),
        ),
        rows,
    )


def likeliest(layout: Layout) -> str:
    """The future whose periods stand in the plan's own lists."""
    return max(layout.futures, key=lambda future: future.probability).name


def term_words(row: Servers) -> str:
    """`rented`, or `reserved for 12 months`."""
    return TERMS[row.term] if row.term_months is None else f"{TERMS[row.term]} for {figure(row.term_months)} months"


def counted(row: Servers) -> str:
    """Servers of a row, and how many of them run nothing."""
    unused = row.idle - row.stand_by
    words = [f"{unused} {'spare' if row.term == 'spot' else 'idle'}"] if unused else []
    words += [f"{row.stand_by} standing by"] if row.stand_by else []
    return f"{row.count} ({', '.join(words)})" if words else count(row.count)


def busiest(future: FuturePlan) -> PeriodPlan:
    """The period in which a future asks for the most."""
    return max(future.periods, key=asked_rps)


def asked_rps(plan: PeriodPlan) -> float:
    """Requests per second of all workloads at peak."""
    return sum(one.demand_rps for one in plan.workloads)


def serving(plan: PeriodPlan) -> str:
    """The servers of a period, an offer and term a line."""
    return "\n".join(f"{row.offer}, {term_words(row)}: {counted(row)}" for row in plan.servers)


def _orders(plan: PeriodPlan) -> Iterator[str]:
    """What to buy and to reserve at the start of the period, with its price."""
    for purchase in plan.purchases:
        later = f", serving from period {purchase.arrives}" if purchase.arrives > plan.period else ""
        yield f"buy {purchase.count} × {purchase.offer} for {usd(purchase.usd)}{later}"
    for one in plan.commitments:
        terms = f"{figure(one.terms)} × " if one.terms > 1 else ""
        yield f"reserve {one.count} × {one.offer} for {terms}{figure(one.term_months)} months, {usd(one.usd)}"


def _paid_per_hour(row: Servers) -> float:
    """Bought servers that stand idle cost nothing to run; spares and reservations are paid as if used."""
    return (row.in_use if row.term == "buy" else row.count) * row.usd_per_hour
