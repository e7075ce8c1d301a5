"""What is ordered at the start of a period and stays: purchases and commitments, alike in every future."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from catalog.units import HOURS_PER_MONTH
from optimizer.formulation.horizon import Horizon, whole_terms
from optimizer.scenario import Buy, Offer, Reserve
from optimizer.serving_config import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Orders:
    """Every way to buy or reserve one server at the start of a period; empty where terms hold the prices."""

    offer: IntArray  # [O] index among the scenario's offers
    term_months: tuple[float | None, ...]  # [O] null: bought
    terms: IntArray  # [O] whole terms that are paid, 0 when bought
    period: IntArray  # [O] at the start of which it is ordered
    first: IntArray  # [O] period from which it serves
    end: IntArray  # [O] period from which it serves no more
    paid_until: IntArray  # [O] period from which nothing is paid for it any more, at least `end`
    usd: FloatArray  # [O] what is paid for it in all, undiscounted, gross of what is left of its value
    usd_per_hour: FloatArray  # [O] present value, less that of what is left, over the hours of the horizon
    capex_usd: FloatArray  # [O] paid at purchase
    monthly_usd: FloatArray  # [O] paid in a month between `period` and `paid_until`
    group: IntArray  # [O] index into groups
    groups: tuple[tuple[int, float | None, float], ...]  # (offer, term_months or null, most servers)

    def names(self, offer_names: Sequence[str]) -> list[str]:
        """`node,buy,1` or `node,2 x reserve 12mo,1`, ending in the period it is ordered in; `offer_names` of any."""
        what = [
            "buy" if months is None else f"{n} x reserve {months:g}mo"
            for months, n in zip(self.term_months, self.terms, strict=True)
        ]
        return [
            f"{offer_names[s].split(',')[0]},{kind},{t + 1}"
            for s, kind, t in zip(self.offer, what, self.period, strict=True)
        ]

    def serves(self, period: int) -> BoolArray:
        """[O] whether what was ordered serves in a period."""
        result: BoolArray = (self.first <= period) & (period < self.end)
        return result

    def is_paid(self, period: int) -> BoolArray:
        """[O] whether a month of the period may hold a payment for it."""
        result: BoolArray = (self.period <= period) & (period < self.paid_until)
        return result


@dataclass(frozen=True, slots=True)
class _Order:
    offer: int
    term_months: float | None
    terms: int
    period: int
    first: int
    end: int
    paid_until: int
    usd: float
    present_usd: float
    monthly_usd: float
    most: float


def build_orders(offers: Mapping[str, Offer], horizon: Horizon) -> Orders:
    """Orders of every offer for sale or to reserve; none with one period of one future, whose terms hold the prices."""
    found = list(_orders(offers, horizon)) if horizon.has_orders else []
    groups = list(dict.fromkeys((o.offer, o.term_months, o.most) for o in found))
    hours = horizon.months * HOURS_PER_MONTH

    def whole(values: list[int]) -> IntArray:
        return np.array(values, np.int64)

    def numbers(values: list[float]) -> FloatArray:
        return np.array(values, float)

    return Orders(
        offer=whole([o.offer for o in found]),
        term_months=tuple(o.term_months for o in found),
        terms=whole([o.terms for o in found]),
        period=whole([o.period for o in found]),
        first=whole([o.first for o in found]),
        end=whole([o.end for o in found]),
        paid_until=whole([o.paid_until for o in found]),
        usd=numbers([o.usd for o in found]),
        usd_per_hour=numbers([o.present_usd / hours for o in found]),
        capex_usd=numbers([o.usd if o.term_months is None else 0.0 for o in found]),
        monthly_usd=numbers([o.monthly_usd for o in found]),
        group=whole([groups.index((o.offer, o.term_months, o.most)) for o in found]),
        groups=tuple(groups),
    )


def _orders(offers: Mapping[str, Offer], horizon: Horizon) -> Iterator[_Order]:
    for s, offer in enumerate(offers.values()):
        for period in range(horizon.n_periods):
            if offer.buy is not None:
                yield from _purchase(s, offer.buy, period, horizon)
            for entry in offer.reserve:
                yield from _commitments(s, entry, period, horizon)


def _purchase(s: int, buy: Buy, period: int, horizon: Horizon) -> Iterator[_Order]:
    """A purchase, if it serves at all: from its arrival to the last period that its life covers whole, then it is sold.

    Its value falls in a straight line from the price to residual × price over its life, counted from the purchase.
    A single period starts with what is bought for it.
    """
    lead_months = (buy.lead_time_months or 0.0) if horizon.n_periods > 1 else 0.0
    first = period + horizon.started_periods(lead_months)
    end = min(horizon.n_periods, period + horizon.whole_periods(buy.life_months))
    if first >= end:
        return
    bought, sold = period * horizon.period_months, end * horizon.period_months
    price = buy.usd_per_server
    left = price * (1 - (1 - buy.residual_fraction) * (sold - bought) / buy.life_months)
    present_usd = price * horizon.present(bought) - left * horizon.present(sold)
    yield _Order(s, None, 0, period, first, end, end, price, present_usd, 0.0, _cap(buy.max))


def _commitments(s: int, entry: Reserve, period: int, horizon: Horizon) -> Iterator[_Order]:
    """Whole terms in a row from the start of a period, so many that each serves at least one more period than fewer.

    Terms that end with a period can be followed by another order, so longer rows are not needed.
    """
    served = 0
    rest_months = (horizon.n_periods - period) * horizon.period_months
    for terms in range(1, whole_terms(rest_months, entry.term_months) + 1):
        months = terms * entry.term_months
        periods = min(horizon.n_periods - period, horizon.whole_periods(months))
        if periods > served:
            served = periods
            end, paid_until = period + periods, min(horizon.n_periods, period + horizon.started_periods(months))
            monthly_usd = entry.usd_per_server_hour * HOURS_PER_MONTH
            present_usd = monthly_usd * _present_months(period, months, horizon)
            usd = monthly_usd * months
            yield _Order(
                s,
                entry.term_months,
                terms,
                period,
                period,
                end,
                paid_until,
                usd,
                present_usd,
                monthly_usd,
                _cap(entry.max),
            )
        if horizon.whole_periods(months) == horizon.started_periods(months):
            return


def _present_months(period: int, months: float, horizon: Horizon) -> float:
    """Months of a commitment at the present value of their periods; those after the horizon as in its last."""
    total, left = 0.0, months
    for t in range(period, horizon.n_periods):
        paid = left if t == horizon.n_periods - 1 else min(left, horizon.period_months)
        total += paid * horizon.present_in(t)
        left -= paid
    return total


def _cap(maximum: int | None) -> float:
    return np.inf if maximum is None else float(maximum)
