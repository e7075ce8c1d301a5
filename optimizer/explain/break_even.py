"""From which use on buying a server beats renting it: over the hours of a month, and over months."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from catalog.units import HOURS_PER_MONTH
from optimizer.formulation import Instance
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


def break_evens(scenario: Scenario, inst: Instance) -> Iterator[BreakEven]:
    """Every bought server against every hourly one of as many cards of the same kind.

    These are sums over one server's prices, as in `docs/formulation.md`; what a plan with them costs is solved.
    """

    def cards(offer: str) -> tuple[str, int]:
        return scenario.inventory[offer].gpu, scenario.inventory[offer].gpus_per_server

    for bought in (term for term in inst.terms if term.term == "buy"):
        for hourly in inst.terms:
            if hourly.term not in ("rent", "reserve", "spot") or cards(hourly.offer) != cards(bought.offer):
                continue
            saved_per_month = hourly.usd_per_hour * HOURS_PER_MONTH - bought.monthly_usd
            yield BreakEven(
                buy=bought.offer,
                rent=f"{hourly.offer} ({hourly.label})",
                utilization_fraction=bought.usd_per_hour / hourly.usd_per_hour if hourly.usd_per_hour else float("inf"),
                payback_months=bought.capex_usd / saved_per_month if saved_per_month > 0 else None,
            )
