"""What the servers cost, and that they stay within budgets and power."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from catalog.units import HOURS_PER_MONTH, MONTHS_PER_YEAR, W_PER_KW
from optimizer.layout import Servers
from optimizer.scenario import Offer
from optimizer.verification.claims import NOTHING, Claims, agree, exceeds, number

HOST_SHARE_SXM = 0.8
"""Power of the host as a share of its GPUs': a DGX H100 draws 10.2 kW for 8 × 700 W (NVIDIA DGX H100 user guide)."""
HOST_SHARE_OTHER = 0.5
"""Estimate for servers with PCIe and other cards."""


@dataclass(frozen=True, slots=True)
class Price:
    """One server on one term."""

    usd_over_horizon: float
    capex_usd: float
    """Paid when bought, gross of what is left."""
    monthly_usd: float
    """Rent or running cost of a month, against budget.monthly."""
    power_kw: float
    """Against facility.power_cap; rented servers draw someone else's power."""


def money(claims: Claims) -> Iterator[str]:
    """usd_per_hour of each server, the totals of the plan, both budgets, the power cap; where nothing is ordered."""
    if claims.scenario.has_orders:
        return
    rows = [(row, price) for row in claims.layout.servers if (price := server_price(claims, row)) is not None]
    hours = claims.scenario.horizon_months * HOURS_PER_MONTH
    for row, price in rows:
        usd_per_hour = price.usd_over_horizon / hours
        if not agree(row.usd_per_hour, usd_per_hour):
            yield (
                f"{row.offer} ({row.term}): usd_per_hour of one server is {number(row.usd_per_hour)}, "
                f"the scenario's prices give {number(usd_per_hour)}"
            )
    total = sum(row.count * price.usd_over_horizon for row, price in rows)
    capex = sum(row.count * price.capex_usd for row, price in rows)
    monthly = sum(row.count * price.monthly_usd for row, price in rows)
    power = sum(row.count * price.power_kw for row, price in rows)
    if (cost := claims.layout.cost) is not None:
        for name, claimed, true in (
            ("usd_over_horizon", cost.usd_over_horizon, total),
            ("usd_per_month", cost.usd_per_month, total / claims.scenario.horizon_months),
            ("usd_per_hour", cost.usd_per_hour, total / hours),
            ("capex_usd", cost.capex_usd, capex),
        ):
            if not agree(claimed, true):
                yield f"cost.{name} is {number(claimed)}, its servers come to {number(true)}"
    budget, cap = claims.scenario.budget, claims.scenario.facility.power_cap_kw
    if budget.capex_usd is not None and exceeds(capex, budget.capex_usd):
        yield f"budget.capex is ${number(budget.capex_usd)}, the bought servers cost ${number(capex)}"
    for most in budget.capex_per_period_usd or ():
        if exceeds(capex, most):
            yield f"budget.capex_per_period is ${number(most)}, the bought servers cost ${number(capex)}"
    if budget.monthly_usd is not None and exceeds(monthly, budget.monthly_usd):
        yield f"budget.monthly is ${number(budget.monthly_usd)}, rent and running cost are ${number(monthly)} a month"
    if cap is not None and exceeds(power, cap):
        yield f"facility.power_cap is {number(cap)} kW, owned and bought servers draw {number(power)} kW"


def server_price(claims: Claims, row: Servers) -> Price | None:
    """What one server of a row costs by the scenario; null when the scenario does not offer it."""
    offer = claims.scenario.inventory.get(row.offer)
    if offer is None:
        return None
    months = claims.scenario.horizon_months
    power_kw = server_power_kw(claims, offer)
    running_usd = running_usd_per_month(claims, power_kw)
    # What is paid over the horizon counts as if paid in its middle, what is left of a purchase as at its end.
    yearly = 1 + (claims.scenario.discount_rate_per_year or 0.0)
    middle, end = yearly ** (-months / 2 / MONTHS_PER_YEAR), yearly ** (-months / MONTHS_PER_YEAR)
    if row.term == "own" and offer.own is not None:
        return Price(running_usd * months * middle, 0.0, running_usd, power_kw)
    if row.term == "buy" and offer.buy is not None:
        buy = offer.buy
        # In a straight line from the price to residual × price over the life.
        fallen = (1 - buy.residual_fraction) * months / buy.life_months
        lost_usd = buy.usd_per_server * (1 - (1 - fallen) * end)
        return Price(lost_usd + running_usd * months * middle, buy.usd_per_server, running_usd, power_kw)
    for term, sold in (("rent", offer.rent), ("spot", offer.spot)):
        if row.term == term and sold is not None:
            rent_usd = sold.usd_per_server_hour * HOURS_PER_MONTH
            return Price(rent_usd * months * middle, 0.0, rent_usd, 0.0)
    for entry in offer.reserve:
        if row.term == "reserve" and row.term_months == entry.term_months:
            reserved_usd = entry.usd_per_server_hour * HOURS_PER_MONTH
            # Whole terms are paid; three terms of 12 months are 36 months, whatever rounding says.
            terms = ceil(months / entry.term_months - NOTHING)
            return Price(reserved_usd * terms * entry.term_months * middle, 0.0, reserved_usd, 0.0)
    return None


def running_usd_per_month(claims: Claims, power_kw: float) -> float:
    """Energy and operation of one server of that power."""
    facility = claims.scenario.facility
    energy_usd = power_kw * facility.pue * facility.power_price_usd_per_kwh * HOURS_PER_MONTH
    return energy_usd + facility.opex_usd_per_server_month


def server_power_kw(claims: Claims, offer: Offer) -> float:
    """At full load, before pue: what the offer states, else its GPUs' rated power and the host's share."""
    if offer.power_kw_per_server is not None:
        return offer.power_kw_per_server
    gpu = claims.catalog.gpus[offer.gpu]
    host_share = HOST_SHARE_SXM if gpu.form_factor == "sxm" else HOST_SHARE_OTHER
    return offer.gpus_per_server * (gpu.rated_power_w or 0.0) * (1 + host_share) / W_PER_KW
