"""Where the money goes: price, value left, electricity, upkeep and rent of each line of the purchase list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from catalog import Catalog
from catalog.units import HOURS_PER_MONTH, MONTHS_PER_YEAR
from optimizer.formulation.terms import server_power_kw
from optimizer.layout import Layout, Servers
from optimizer.report.figures import Line, Stack, line_chart, stack_chart, waterfall_chart
from optimizer.report.story.parts import Block, Figure, Words, table
from optimizer.report.words import figure, percent, usd
from optimizer.scenario import Scenario

MOST_STEPS = 12
"""Bars of a chart over time."""
MOST_PAIRS = 3
"""Purchases whose break-even is drawn; the table has all."""


@dataclass(frozen=True, slots=True)
class Bill:
    """All servers of one line of the purchase list, over the horizon, USD."""

    row: Servers
    price_usd: float
    value_left_usd: float
    """At the end of the horizon."""
    electricity_usd_per_month: float
    upkeep_usd_per_month: float
    rent_usd_per_month: float
    power_kw: float
    """At full load, before pue."""

    @property
    def running_usd_per_month(self) -> float:
        return self.electricity_usd_per_month + self.upkeep_usd_per_month


def bills(layout: Layout, scenario: Scenario, catalog: Catalog) -> tuple[Bill, ...]:
    """One for each line of the purchase list."""
    return tuple(_bill(row, scenario, catalog) for row in layout.servers)


def months_text(months: float) -> str:
    """`1 month`, `36 months`."""
    return f"{figure(months)} months" if months != 1 else "1 month"


def cost_usd(layout: Layout, scenario: Scenario, catalog: Catalog) -> float:
    """What the plan's servers cost over the horizon at the scenario's prices, which may be other than its own."""
    months = scenario.horizon_months
    return sum(
        bill.price_usd - bill.value_left_usd + (bill.running_usd_per_month + bill.rent_usd_per_month) * months
        for bill in bills(layout, scenario, catalog)
    )


def _bill(row: Servers, scenario: Scenario, catalog: Catalog) -> Bill:
    offer, facility, months = scenario.inventory[row.offer], scenario.facility, scenario.horizon_months
    power_kw = server_power_kw(offer, catalog.gpus[offer.gpu]) * row.count
    ours = row.term in ("own", "buy")
    electricity = power_kw * facility.pue * facility.power_price_usd_per_kwh * HOURS_PER_MONTH if ours else 0.0
    price = left = 0.0
    if row.term == "buy" and offer.buy is not None:
        price = offer.buy.usd_per_server * row.count
        left = price * (1 - (1 - offer.buy.residual_fraction) * months / offer.buy.life_months)
    usd_per_hour = row.usd_per_hour
    if row.term == "rent" and offer.rent is not None:
        usd_per_hour = offer.rent.usd_per_server_hour
    return Bill(
        row,
        price,
        left,
        electricity,
        facility.opex_usd_per_server_month * row.count if ours else 0.0,
        0.0 if ours else usd_per_hour * row.count * HOURS_PER_MONTH,
        power_kw,
    )


def cost_blocks(found: tuple[Bill, ...], scenario: Scenario) -> Iterator[Block]:
    """The waterfall from prices to the total, and what leaves the bank when."""
    months = scenario.horizon_months
    steps = [(f"price of {bill.row.count} × {bill.row.offer}", bill.price_usd) for bill in found if bill.price_usd]
    if (left := sum(bill.value_left_usd for bill in found)) > 0:
        steps.append(("value left at the end", -left))
    steps += [
        (name, amount * months)
        for name, amount in (
            ("electricity", sum(bill.electricity_usd_per_month for bill in found)),
            ("upkeep", sum(bill.upkeep_usd_per_month for bill in found)),
        )
        if amount
    ]
    steps += [
        (f"rent of {bill.row.count} × {bill.row.offer}", bill.rent_usd_per_month * months)
        for bill in found
        if bill.rent_usd_per_month
    ]
    span = months_text(months)
    if steps:
        total = f"cost over {span}"
        yield Figure(
            f"What the {span} cost, and why",
            waterfall_chart(f"From prices to the cost over {span}", steps, total, usd),
            table("Cost by cause", "cause|>USD", [(n, usd(a)) for n, a in (*steps, (total, sum(a for _, a in steps)))]),
        )
    yield from _over_time(found, months)


def _over_time(found: tuple[Bill, ...], months: float) -> Iterator[Block]:
    step = 1.0 if months <= MOST_STEPS else MONTHS_PER_YEAR if months > 3 * MOST_STEPS / 2 else 3.0
    parts = ("purchase", "rent", "electricity and upkeep")
    rent = sum(bill.rent_usd_per_month for bill in found)
    running = sum(bill.running_usd_per_month for bill in found)
    stacks: list[Stack] = []
    at = 0.0
    while at < months - 1e-9 and len(stacks) < 3 * MOST_STEPS:
        span = min(step, months - at)
        purchase = sum(bill.price_usd for bill in found) if at == 0 else 0.0
        label = f"month {at + 1:g}" if span == 1 else f"months {at + 1:g}–{at + span:g}"
        stacks.append(Stack(label, (purchase, rent * span, running * span)))
        at += span
    if len(stacks) < 2:
        return
    rows = [(s.label, *map(usd, s.amounts), usd(sum(s.amounts))) for s in stacks]
    yield Figure(
        "What is paid when",
        stack_chart("Payments over time", parts, stacks, usd),
        table("Payments", "|" + "|".join(f">{part}" for part in parts) + "|>in all", rows),
    )
    if (left := sum(bill.value_left_usd for bill in found)) > 0:
        yield Words(f"What is bought is still worth {usd(left)} at the end, which the cost counts as returned.")


@dataclass(frozen=True, slots=True)
class _Choice:
    """Buying a server against renting as many of the same GPUs."""

    offer: str
    rented: str
    price_usd: float
    residual_fraction: float
    life_months: float
    running_usd_per_month: float
    rent_usd_per_month: float
    """Of as many GPUs, all hours."""

    def owned_usd(self, months: float) -> float:
        """Cost of owning for so long, when what is left can be sold."""
        lost = self.price_usd * (1 - self.residual_fraction) * min(months / self.life_months, 1.0)
        return lost + self.running_usd_per_month * months

    @property
    def cash_months(self) -> float | None:
        """When renting has cost as much as price and running together; null = never."""
        saved = self.rent_usd_per_month - self.running_usd_per_month
        return self.price_usd / saved if saved > 0 else None

    def needed_fraction(self, months: float) -> float:
        """Part of all hours that the GPUs must be needed for owning to cost less than renting just these hours."""
        return self.owned_usd(months) / (self.rent_usd_per_month * months)


def break_even_blocks(found: tuple[Bill, ...], scenario: Scenario) -> Iterator[Block]:
    """For everything bought, and for what was rented although it is for sale: months and hours at which it pays."""
    months = scenario.horizon_months
    choices = list(_choices(found, scenario))
    if not choices:
        return
    yield Words(
        "Buying pays when the servers are needed long enough and for enough of the time. Rent is that of as many "
        "of the same GPUs where they are cheapest."
    )
    yield table(
        f"Buying against renting; the horizon is {months_text(months)}",
        "buy|instead of renting|>price|>running a month|>rent a month|>paid back after|>pays if needed",
        [
            (one.offer, one.rented, usd(one.price_usd), usd(one.running_usd_per_month), usd(one.rent_usd_per_month),
             "never" if one.cash_months is None else f"{figure(one.cash_months)} months",
             f"{percent(one.needed_fraction(months))} of the time")
            for one in choices
        ],
    )  # fmt: skip
    for one in choices[:MOST_PAIRS]:
        yield from _drawn(one, months)


def _choices(found: tuple[Bill, ...], scenario: Scenario) -> Iterator[_Choice]:
    planned = {bill.row.offer: bill for bill in found}
    for name, offer in scenario.inventory.items():
        if offer.buy is None or name not in planned:
            continue
        rents = [
            (other.rent.usd_per_server_hour / other.gpus_per_server, rented)
            for rented, other in scenario.inventory.items()
            if other.rent is not None and other.gpu == offer.gpu and other.rent.max != 0
        ]
        if not rents:
            continue
        per_gpu_hour, rented = min(rents)
        bill = planned[name]
        facility = scenario.facility
        kw = bill.power_kw / bill.row.count
        electricity = kw * facility.pue * facility.power_price_usd_per_kwh * HOURS_PER_MONTH
        yield _Choice(
            name,
            rented,
            offer.buy.usd_per_server,
            offer.buy.residual_fraction,
            offer.buy.life_months,
            electricity + facility.opex_usd_per_server_month,
            per_gpu_hour * offer.gpus_per_server * HOURS_PER_MONTH,
        )


def _drawn(one: _Choice, months: float) -> Iterator[Block]:
    marks = [(months, "horizon")] if months <= one.life_months else []
    span = max(months, min(one.life_months, 1.5 * (one.cash_months or months)))
    grid = [span * n / 12 for n in range(13)]
    lines = [
        Line("bought, nothing resold", tuple((m, one.price_usd + one.running_usd_per_month * m) for m in grid)),
        Line("bought, rest resold", tuple((m, one.owned_usd(m)) for m in grid)),
        Line(f"rented ({one.rented})", tuple((m, one.rent_usd_per_month * m) for m in grid)),
    ]
    yield Figure(
        f"{one.offer}: when a server pays for itself",
        line_chart(
            f"Cost of one {one.offer} over months", lines, ("months", figure), ("USD, in all", _short_usd), marks
        ),
        table(
            "Cost of one server so far",
            ">months|" + "|".join(f">{line.name}" for line in lines),
            [(figure(m), *(usd(line.points[n][1]) for line in lines)) for n, m in enumerate(grid) if n % 2 == 0],
        ),
    )
    shares = [n / 10 for n in range(11)]
    needed = one.needed_fraction(months)
    by_use = [
        Line("bought", tuple((u, one.owned_usd(months) / months) for u in shares)),
        Line("rented by the hour", tuple((u, one.rent_usd_per_month * u) for u in shares)),
    ]
    yield Figure(
        f"{one.offer}: how much of the time it must be needed",
        line_chart(
            f"Monthly cost of one {one.offer} by the part of all hours that it is needed",
            by_use,
            ("part of all hours", lambda value: percent(value)),
            ("USD a month", _short_usd),
            [(needed, f"{percent(needed)}")] if needed <= 1 else [],
        ),
        table(
            "Monthly cost of one server",
            ">part of all hours|>bought|>rented",
            [(percent(u), *(usd(line.points[n][1]) for line in by_use)) for n, u in enumerate(shares) if n % 2 == 0],
        ),
    )


def _short_usd(amount: float) -> str:
    return f"${amount / 1000:g}k" if abs(amount) >= 1000 else f"${amount:g}"
