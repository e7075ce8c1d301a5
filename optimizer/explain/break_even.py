"""From which use on buying a server beats renting it: over the hours of a month, and over months."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from catalog.units import HOURS_PER_MONTH
from optimizer.formulation import Instance, ServerTerm
from optimizer.scenario import Scenario


@dataclass(frozen=True, slots=True)
class BreakEven:
    """One server bought against one rented with the same cards."""

    buy: str
    rent: str
    utilization_fraction: float
    """Part of all hours from which on buying is cheaper, were the other rented only for the hours of use; above 1,
    buying never is."""
    payback_months: float | None
    """Months of renting all hours that add up to the price and running cost of the bought one, were it worth nothing
    then; None where running it costs more than renting."""


@dataclass(frozen=True, slots=True)
class Hourly:
    """One server on a term."""

    usd: float
    """An hour in which it serves, all that is paid for it included."""
    price_usd: float
    """Paid when it is bought."""


def hourly(inst: Instance, term: ServerTerm) -> Hourly:
    """What a server costs; what is ordered is ordered at the start, and used as long as it serves."""
    if not inst.horizon.has_orders or term.term not in ("buy", "reserve"):
        return Hourly(term.usd_per_hour, term.capex_usd)
    orders, offers = inst.orders, list(dict.fromkeys(one.offer for one in inst.terms))
    of_term = [
        o
        for o in np.flatnonzero(orders.period == 0).tolist()
        if offers[orders.offer[o]] == term.offer and orders.term_months[o] == term.term_months
    ]
    if not of_term:  # it would arrive when the horizon is over
        return Hourly(float("inf"), 0.0)
    first = of_term[0]
    served = (orders.end[first] - orders.first[first]) / inst.horizon.n_periods
    return Hourly(term.usd_per_hour + float(orders.usd_per_hour[first] / served), float(orders.capex_usd[first]))


def break_evens(scenario: Scenario, inst: Instance) -> Iterator[BreakEven]:
    """Every bought server against every hourly one of as many cards of the same kind.

    These are sums over one server's prices, as in `docs/formulation.md`; what a plan with them costs is solved. Over
    several periods the server is bought at the start, and prices of hours are those of the first period.
    """

    def cards(offer: str) -> tuple[str, int]:
        return scenario.inventory[offer].gpu, scenario.inventory[offer].gpus_per_server

    first = [term for term in inst.terms if term.state == 0]
    for bought in (term for term in first if term.term == "buy"):
        buying = hourly(inst, bought)
        for other in first:
            if other.term not in ("rent", "reserve", "spot") or cards(other.offer) != cards(bought.offer):
                continue
            usd = hourly(inst, other).usd
            saved_per_month = usd * HOURS_PER_MONTH - bought.monthly_usd
            yield BreakEven(
                buy=bought.offer,
                rent=f"{other.offer} ({other.label})",
                utilization_fraction=buying.usd / usd if usd else float("inf"),
                payback_months=buying.price_usd / saved_per_month if saved_per_month > 0 else None,
            )
