"""What one server of an offer costs on each of its terms over the horizon."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from catalog.schema import Gpu
from catalog.units import HOURS_PER_MONTH, W_PER_KW
from optimizer.layout import Term
from optimizer.scenario import Facility, Offer

HOST_SHARE_SXM = 0.8
"""Host power over GPU power: a DGX H100 draws 10.2 kW for 8 × 700 W (NVIDIA DGX H100 data sheet, 10.2 / 5.6 − 1)."""
HOST_SHARE_OTHER = 0.5
"""Estimate for PCIe and other servers."""


class ServerTerm(NamedTuple):
    """One server on one term: money in USD, power in kW."""

    offer: str
    term: Term
    usd_per_hour: float
    """Over the horizon, divided by its hours."""
    capex_usd: float
    monthly_usd: float
    """Counts against `budget.monthly`: rent and running cost."""
    power_kw: float
    """Counts against `facility.power_cap`; 0 for servers of others."""
    max_servers: float
    """Infinite when the offer states no limit."""

    @property
    def label(self) -> str:
        """As in names of rows: `rent`."""
        return self.term


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


def server_terms(name: str, offer: Offer, gpu: Gpu, facility: Facility) -> Iterator[ServerTerm]:
    """The terms of an offer in the order own, buy, rent.

    A bought server loses value in a straight line from its price to residual × price over its life; over the horizon it
    costs that loss plus running cost. An owned one costs its running cost, a rented one its price for all hours.
    """
    power_kw = server_power_kw(offer, gpu)
    running = running_usd_per_month(power_kw, facility)
    if offer.own is not None:
        yield ServerTerm(name, "own", running / HOURS_PER_MONTH, 0.0, running, power_kw, offer.own)
    if offer.buy is not None:
        buy = offer.buy
        loss_per_month = buy.usd_per_server * (1 - buy.residual_fraction) / buy.life_months
        usd_per_hour = (loss_per_month + running) / HOURS_PER_MONTH
        yield ServerTerm(name, "buy", usd_per_hour, buy.usd_per_server, running, power_kw, _cap(buy.max))
    if offer.rent is not None:
        usd_per_hour = offer.rent.usd_per_server_hour
        yield ServerTerm(name, "rent", usd_per_hour, 0.0, usd_per_hour * HOURS_PER_MONTH, 0.0, _cap(offer.rent.max))


def _cap(maximum: int | None) -> float:
    return math.inf if maximum is None else float(maximum)
