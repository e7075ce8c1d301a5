"""Every payment of a plan, over one period or several: what for, when, how much, and what it is worth at the start."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from catalog import Catalog
from catalog.units import HOURS_PER_MONTH
from optimizer.formulation.horizon import Horizon, whole_terms
from optimizer.formulation.terms import server_power_kw
from optimizer.layout import Commitment, Layout, PeriodPlan, Purchase, Servers
from optimizer.scenario import Buy, Scenario

Cause = Literal["price", "value left", "rent", "reservation", "electricity", "upkeep"]


@dataclass(frozen=True, slots=True)
class Flow:
    """Money for servers of one offer, paid evenly over some months or at once; what comes back is negative."""

    cause: Cause
    offer: str
    count: int
    month: float
    """From the start of the horizon."""
    months: float
    """0 = at once."""
    usd: float
    present_usd: float
    """At the start of the horizon, by the scenario's discount rate; these add up to the plan's cost."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """All flows of a plan at a scenario's prices, which may be other than those that it was made for."""

    flows: tuple[Flow, ...]
    months: float
    """Of the horizon."""

    @classmethod
    def of(cls, layout: Layout, scenario: Scenario, catalog: Catalog) -> Ledger:
        """Where demand may turn out in several ways, each flow counts as much as its future is likely."""
        books = _Books(scenario, catalog)
        likely = [(future.probability, layout.of_future(future.name)) for future in layout.futures] or [(1.0, layout)]
        flows = [
            replace(flow, usd=flow.usd * probability, present_usd=flow.present_usd * probability)
            for probability, plan in likely
            for flow in books.flows(plan)
        ]
        return cls(tuple(flows), scenario.horizon_months)

    @property
    def cost_usd(self) -> float:
        """What the plan costs over the horizon."""
        return sum(flow.present_usd for flow in self.flows)

    def usd(self, *causes: Cause) -> float:
        """What is paid for some causes, undiscounted."""
        return sum(flow.usd for flow in self.flows if flow.cause in causes)

    def present(self, causes: Iterable[Cause]) -> float:
        """What is paid for some causes, at its worth at the start of the horizon."""
        wanted = frozenset(causes)
        return sum(flow.present_usd for flow in self.flows if flow.cause in wanted)

    @property
    def sold_usd(self) -> float:
        """What purchases are still worth when the horizon or their life ends."""
        return -self.usd("value left")

    @property
    def most_usd_per_month(self) -> float:
        """Rent, reservations and running cost of the dearest month."""
        starts = sorted({flow.month for flow in self.flows if flow.months})
        return max((sum(_per_month(flow, start) for flow in self.flows) for start in starts), default=0.0)

    def bought_in(self, begin: float, end: float) -> float:
        """Prices of what is bought between two months, the first included."""
        return sum(flow.usd for flow in self.flows if flow.cause == "price" and begin <= flow.month < end)

    def paid(self, begin: float, end: float, causes: Iterable[Cause]) -> float:
        """What is paid between two months, undiscounted; what is paid after the horizon falls into its last month."""
        wanted = frozenset(causes)
        return sum(_within(flow, begin, end, self.months) for flow in self.flows if flow.cause in wanted)


def _per_month(flow: Flow, month: float) -> float:
    return flow.usd / flow.months if flow.months and flow.month <= month < flow.month + flow.months else 0.0


def _within(flow: Flow, begin: float, end: float, months: float) -> float:
    if not flow.months:
        return flow.usd if begin <= flow.month < end else 0.0
    until = flow.month + flow.months
    return flow.usd * max(0.0, (until if end >= months else min(end, until)) - max(begin, flow.month)) / flow.months


class _Books:
    """How the flows of a scenario's offers are counted."""

    def __init__(self, scenario: Scenario, catalog: Catalog) -> None:
        self.scenario, self.catalog, self.horizon = scenario, catalog, Horizon.of(scenario)

    def flows(self, layout: Layout) -> Iterator[Flow]:
        if not layout.periods:
            for row in layout.servers:
                yield from self._in_use(row, 0)
                yield from self._ordered_at_once(row)
        for t, plan in enumerate(layout.periods):
            for row in plan.servers:
                yield from self._in_use(row, t)
            yield from self._orders(plan, t)

    def _in_use(self, row: Servers, period: int) -> Iterator[Flow]:
        """Rent, or electricity and upkeep, of a period; a bought server that stands idle costs nothing to run."""
        offer, facility, months = self.scenario.inventory[row.offer], self.scenario.facility, self.horizon.period_months
        usd_per_month: dict[Cause, float] = {}
        count = row.in_use + row.stand_by if row.term == "buy" else row.count
        if row.term in ("own", "buy"):
            kw = server_power_kw(offer, self.catalog.gpus[offer.gpu])
            usd_per_month["electricity"] = kw * facility.pue * facility.power_price_usd_per_kwh * HOURS_PER_MONTH
            usd_per_month["upkeep"] = facility.opex_usd_per_server_month
        else:
            rented = {"rent": offer.rent, "spot": offer.spot}.get(row.term)
            if rented is not None:
                usd_per_month["rent"] = rented.usd_per_server_hour * HOURS_PER_MONTH
        for cause, each in usd_per_month.items():
            usd = each * count * months
            if usd:
                present = usd * self.horizon.present_in(period)
                yield Flow(cause, row.offer, count, period * months, months, usd, present)

    def _ordered_at_once(self, row: Servers) -> Iterator[Flow]:
        """Purchases and reservations of a plan with a single period, which begin with it."""
        offer, months = self.scenario.inventory[row.offer], self.horizon.months
        if row.term == "buy" and offer.buy is not None:
            yield from self._bought(row.offer, offer.buy, row.count, 0.0, months)
        for entry in offer.reserve:
            if row.term == "reserve" and entry.term_months == row.term_months:
                paid_months = whole_terms(months, entry.term_months) * entry.term_months
                usd = entry.usd_per_server_hour * HOURS_PER_MONTH * paid_months * row.count
                present = usd * self.horizon.present_in(0)
                yield Flow("reservation", row.offer, row.count, 0.0, paid_months, usd, present)

    def _orders(self, plan: PeriodPlan, period: int) -> Iterator[Flow]:
        for purchase in plan.purchases:
            yield from self._purchase(purchase, period)
        for commitment in plan.commitments:
            yield from self._commitment(commitment, period)

    def _purchase(self, purchase: Purchase, period: int) -> Iterator[Flow]:
        buy, horizon = self.scenario.inventory[purchase.offer].buy, self.horizon
        if buy is not None:
            sold = min(horizon.n_periods, period + horizon.whole_periods(buy.life_months))
            bought_month, sold_month = period * horizon.period_months, sold * horizon.period_months
            yield from self._bought(purchase.offer, buy, purchase.count, bought_month, sold_month)

    def _bought(self, offer: str, buy: Buy, count: int, bought_month: float, sold_month: float) -> Iterator[Flow]:
        """The price, and what is left of it when the horizon or the server's life ends."""
        price = buy.usd_per_server * count
        left = price * (1 - (1 - buy.residual_fraction) * (sold_month - bought_month) / buy.life_months)
        yield Flow("price", offer, count, bought_month, 0.0, price, price * self.horizon.present(bought_month))
        if left:
            yield Flow("value left", offer, count, sold_month, 0.0, -left, -left * self.horizon.present(sold_month))

    def _commitment(self, one: Commitment, period: int) -> Iterator[Flow]:
        """Month by month, a flow a period; what is paid after the horizon is worth as much as in its last period."""
        entries = self.scenario.inventory[one.offer].reserve
        hourly = next((e.usd_per_server_hour for e in entries if e.term_months == one.term_months), 0.0)
        horizon, left = self.horizon, one.terms * one.term_months
        for t in range(period, horizon.n_periods):
            months = left if t == horizon.n_periods - 1 else min(left, horizon.period_months)
            if months > 0:
                usd = hourly * HOURS_PER_MONTH * one.count * months
                present = usd * horizon.present_in(t)
                yield Flow("reservation", one.offer, one.count, t * horizon.period_months, months, usd, present)
            left -= months


def steps(ledger: Ledger, discount: str) -> list[tuple[str, float]]:
    """From prices to the cost, a step a cause; last what `discount` takes off, for later money counts less."""
    found: dict[str, float] = {}
    names: dict[Cause, Callable[[Flow], str]] = {
        "price": lambda flow: f"price of {flow.offer}",
        "value left": lambda _: "value left at the end",
        "electricity": lambda _: "electricity",
        "upkeep": lambda _: "upkeep",
        "reservation": lambda flow: f"reservation of {flow.offer}",
        "rent": lambda flow: f"rent of {flow.offer}",
    }
    for cause, name in names.items():
        for flow in ledger.flows:
            if flow.cause == cause:
                found[name(flow)] = found.get(name(flow), 0.0) + flow.usd
    nominal = sum(found.values())
    if abs(nominal - ledger.cost_usd) > 0.005:
        found[discount] = ledger.cost_usd - nominal
    return list(found.items())
