"""What a plan orders and uses, and when: an order or a span of equal use each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from optimizer.layout import Layout, PeriodPlan, Term

TERMS: tuple[Term, ...] = ("buy", "rent", "reserve", "spot", "own")
"""In the order in which they are listed."""


@dataclass(frozen=True, slots=True)
class Use:
    """Servers of one offer on one term over a span of months."""

    offer: str
    term: Term
    count: int
    begin_month: float
    end_month: float
    """Of what is bought the end of the horizon."""
    term_months: float | None = None
    """Of a reservation."""
    serves_from_month: float | None = None
    """Of what is bought, where it arrives later."""

    @property
    def serves_month(self) -> float:
        """When the first of its months of service begins."""
        return self.begin_month if self.serves_from_month is None else self.serves_from_month

    @property
    def months(self) -> str:
        """`months 4–9`, counted from 1."""
        return months_between(self.begin_month, self.end_month)


def months_between(begin: float, end: float) -> str:
    """`month 4` or `months 4–9`: the first and the last one, counted from 1."""
    return f"month {begin + 1:g}" if end - begin <= 1 else f"months {begin + 1:g}–{end:g}"


def uses(layout: Layout, horizon_months: float) -> tuple[Use, ...]:
    """Every order and every span of equal use, by term, then offer, then time."""
    found = list(_uses(layout, horizon_months))
    return tuple(sorted(found, key=lambda use: (TERMS.index(use.term), use.offer, use.begin_month)))


def _uses(layout: Layout, horizon_months: float) -> Iterator[Use]:
    if not layout.periods:
        for row in layout.servers:
            yield Use(row.offer, row.term, row.count, 0.0, horizon_months, row.term_months)
        return
    starts = [plan.starts_month for plan in layout.periods]
    for plan in layout.periods:
        for one in plan.purchases:
            serves = starts[one.arrives - 1] if one.arrives > plan.period else None
            yield Use(one.offer, "buy", one.count, plan.starts_month, horizon_months, serves_from_month=serves)
        for order in plan.commitments:
            end = plan.starts_month + order.terms * order.term_months
            yield Use(order.offer, "reserve", order.count, plan.starts_month, end, order.term_months)
    for offer, term in dict.fromkeys((row.offer, row.term) for plan in layout.periods for row in plan.servers):
        if term not in ("buy", "reserve"):
            yield from _spans(offer, term, layout.periods)


def _spans(offer: str, term: Term, periods: Sequence[PeriodPlan]) -> Iterator[Use]:
    def count(plan: PeriodPlan) -> int:
        return sum(row.count for row in plan.servers if (row.offer, row.term) == (offer, term))

    for number, run in groupby(periods, key=count):
        span = list(run)
        if number:
            yield Use(offer, term, number, span[0].starts_month, span[-1].starts_month + span[-1].months)
