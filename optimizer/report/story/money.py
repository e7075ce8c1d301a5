"""Where the money goes, when it is paid, and when buying beats renting."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from catalog import Catalog
from catalog.units import HOURS_PER_MONTH, MONTHS_PER_YEAR
from optimizer.formulation.terms import running_usd_per_month, server_power_kw
from optimizer.layout import Layout
from optimizer.report.figures import Line, Stack, line_chart, stack_chart, waterfall_chart
from optimizer.report.fleet import decision
from optimizer.report.story.ledger import Cause, Ledger, steps
from optimizer.report.story.parts import Block, Figure, Words, table
from optimizer.report.words import figure, percent, usd
from optimizer.scenario import Scenario
from optimizer.uses import months_between

MOST_STEPS = 12
"""Bars of a chart over time."""
MOST_BARS = 36
PAID: dict[str, tuple[Cause, ...]] = {
    "purchase": ("price",),
    "rent and reservations": ("rent", "reservation"),
    "electricity and upkeep": ("electricity", "upkeep"),
}
MOST_PAIRS = 3
"""Purchases whose break-even is drawn; the table has all."""


def months_text(months: float) -> str:
    """`1 month`, `36 months`."""
    return f"{figure(months)} months" if months != 1 else "1 month"


def cost_blocks(ledger: Ledger, scenario: Scenario) -> Iterator[Block]:
    """The waterfall from prices to the total, and what leaves the bank when."""
    span = months_text(scenario.horizon_months)
    rate = scenario.discount_rate_per_year or 0.0
    found = steps(ledger, f"counted at its worth today ({percent(rate, 1)} a year)")
    if found:
        total = f"cost over {span}"
        yield Figure(
            f"What {'a month costs' if scenario.horizon_months == 1 else f'the {span} cost'}, and why",
            waterfall_chart(f"From prices to the cost over {span}", found, total, usd),
            table("Cost by cause", "cause|>USD", [(n, usd(a)) for n, a in (*found, (total, ledger.cost_usd))]),
        )
    yield from _over_time(ledger, scenario)


def _over_time(ledger: Ledger, scenario: Scenario) -> Iterator[Block]:
    spans = _spans(ledger.months, scenario.periods)
    if len(spans) < 2:
        return
    stacks = [
        Stack(months_between(begin, end), tuple(ledger.paid(begin, end, causes) for causes in PAID.values()))
        for begin, end in spans
    ]
    rows = [(one.label, *map(usd, one.amounts), usd(sum(one.amounts))) for one in stacks]
    yield Figure(
        "What is paid when",
        stack_chart("Payments over time", tuple(PAID), stacks, usd),
        table("Payments, not discounted", "|" + "|".join(f">{part}" for part in PAID) + "|>in all", rows),
    )
    if ledger.sold_usd > 0:
        yield Words(
            f"What is bought is still worth {usd(ledger.sold_usd)} at the end, which the cost counts as returned."
        )


def _spans(months: float, n_periods: int) -> list[tuple[float, float]]:
    """The plan's periods where it has a few of them, else months, quarters or years."""
    if 1 < n_periods <= MOST_BARS:
        step = months / n_periods
    else:
        step = 1.0 if months <= MOST_STEPS else MONTHS_PER_YEAR if months > 3 * MOST_STEPS / 2 else 3.0
    n_spans = math.ceil(months / step - 1e-9)
    return [(n * step, min((n + 1) * step, months)) for n in range(n_spans)]


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


def break_even_blocks(layout: Layout, scenario: Scenario, catalog: Catalog) -> Iterator[Block]:
    """For everything bought, and for what was rented although it is for sale: months and hours at which it pays."""
    months = scenario.horizon_months
    choices = list(_choices(layout, scenario, catalog))
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


def _choices(layout: Layout, scenario: Scenario, catalog: Catalog) -> Iterator[_Choice]:
    planned = {offer for _, offer, _ in decision(layout)}
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
        yield _Choice(
            name,
            rented,
            offer.buy.usd_per_server,
            offer.buy.residual_fraction,
            offer.buy.life_months,
            running_usd_per_month(server_power_kw(offer, catalog.gpus[offer.gpu]), scenario.facility),
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
