"""What one server of an offer costs on each of its terms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from catalog.schema import Gpu
from catalog.units import HOURS_PER_MONTH, W_PER_KW
from optimizer.formulation.horizon import Horizon, whole_terms
from optimizer.layout import Term
from optimizer.scenario import Buy, Facility, Offer

HOST_SHARE_SXM = 0.8
"""Host power over GPU power: a DGX H100 draws 10.2 kW for 8 × 700 W (NVIDIA DGX H100 data sheet, 10.2 / 5.6 − 1)."""
HOST_SHARE_OTHER = 0.5
"""Estimate for PCIe and other servers."""


class ServerTerm(NamedTuple):
    """One server on one term: money in USD, power in kW."""

    offer: str
    term: Term
    usd_per_hour: float
    """Over the horizon, divided by its hours; with orders, of an hour in this state."""
    capex_usd: float
    monthly_usd: float
    """Counts against `budget.monthly`: rent, reservations and running cost."""
    power_kw: float
    """Counts against `facility.power_cap`; 0 for servers of others."""
    max_servers: float
    """Infinite when the offer states no limit."""
    state: int = 0
    term_months: float | None = None
    """Length of a reserved term."""

    @property
    def label(self) -> str:
        """As in names of rows: `rent`, `reserve 12mo`."""
        return self.term if self.term_months is None else f"{self.term} {self.term_months:g}mo"


def server_power_kw(offer: Offer, gpu: Gpu) -> float:
    """Power of one server at full load: what the offer states, else its GPUs' rated power and a share for the host."""
    if offer.power_kw_per_server is not None:
        return offer.power_kw_per_server
    host_share = HOST_SHARE_SXM if gpu.form_factor == "sxm" else HOST_SHARE_OTHER
    return (gpu.rated_power_w or 0.0) * offer.gpus_per_server * (1 + host_share) / W_PER_KW


def running_usd_per_month(power_kw: float, facility: Facility) -> float:
    """Energy and operation of one owned or bought server."""
    energy_usd = power_kw * facility.pue * facility.power_price_usd_per_kwh * HOURS_PER_MONTH
    return energy_usd + facility.opex_usd_per_server_month


def server_terms(
    name: str, offer: Offer, gpu: Gpu, facility: Facility, horizon: Horizon, state: int
) -> Iterator[ServerTerm]:
    """The terms of an offer in one state, in the order own, buy, rent, reserve, spot.

    With one period of one future a bought server costs price − value left at the end (its value falls in a straight
    line to residual × price over its life) plus running cost; a reserved one its price for whole terms, as many as
    cover the horizon; an owned one its running cost, a rented or spot one its price for all hours. All at present
    value.

    Elsewhere what is ordered is paid by its order, see `orders.py`; here stand running cost and prices,
    not discounted, and neither price nor limit of what is ordered.
    """
    power_kw = server_power_kw(offer, gpu)
    running = running_usd_per_month(power_kw, facility)
    single = not horizon.has_orders
    present = horizon.present_in(0) if single else 1.0
    running_per_hour = running / HOURS_PER_MONTH * present
    if offer.own is not None:
        yield ServerTerm(name, "own", running_per_hour, 0.0, running, power_kw, offer.own, state)
    if offer.buy is not None:
        bought = ServerTerm(name, "buy", running_per_hour, 0.0, running, power_kw, math.inf, state)
        if single:
            price, loss_usd = offer.buy.usd_per_server, _value_lost_usd(offer.buy, horizon)
            usd_per_hour = running_per_hour + loss_usd / horizon.months / HOURS_PER_MONTH
            bought = bought._replace(usd_per_hour=usd_per_hour, capex_usd=price, max_servers=_cap(offer.buy.max))
        yield bought
    if offer.rent is not None:
        yield _by_the_hour(name, "rent", offer.rent.usd_per_server_hour, present, offer.rent.max, state)
    for entry in offer.reserve:
        reserved = _by_the_hour(name, "reserve", entry.usd_per_server_hour, present, entry.max, state)
        reserved = reserved._replace(term_months=entry.term_months)
        if single:
            paid_months = whole_terms(horizon.months, entry.term_months) * entry.term_months
            yield reserved._replace(usd_per_hour=reserved.usd_per_hour * paid_months / horizon.months)
        else:
            yield reserved._replace(monthly_usd=0.0, max_servers=math.inf)
    if offer.spot is not None:
        yield _by_the_hour(name, "spot", offer.spot.usd_per_server_hour, present, offer.spot.max, state)


def _by_the_hour(
    name: str, term: Term, usd_per_hour: float, present: float, maximum: int | None, state: int
) -> ServerTerm:
    return ServerTerm(
        name, term, usd_per_hour * present, 0.0, usd_per_hour * HOURS_PER_MONTH, 0.0, _cap(maximum), state
    )


def _value_lost_usd(buy: Buy, horizon: Horizon) -> float:
    """Price − value left at the horizon's end, both at present value."""
    left = buy.usd_per_server * (1 - (1 - buy.residual_fraction) * horizon.months / buy.life_months)
    return buy.usd_per_server - left * horizon.present(horizon.months)


def _cap(maximum: int | None) -> float:
    return math.inf if maximum is None else float(maximum)
