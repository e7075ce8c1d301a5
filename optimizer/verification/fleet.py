"""What several periods cost, and whether what is in service was ordered in time and is paid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import ceil, floor, inf

from catalog.units import HOURS_PER_MONTH, MONTHS_PER_YEAR
from optimizer.layout import Commitment, PeriodPlan, Purchase, Servers, Term
from optimizer.scenario import Buy, Scenario
from optimizer.verification.claims import NOTHING, Claims, agree, exceeds, number
from optimizer.verification.money import running_usd_per_month, server_power_kw

Fleet = Counter[tuple[int, str, float | None]]
"""(period, offer, months of a reserved term or null when bought) -> servers."""


def fleet(claims: Claims) -> Iterator[str]:
    """Orders and their limits, what is in service, prices, both budgets and the power of each period, the total."""
    if not claims.scenario.has_orders:
        return
    in_service, paid = Fleet(), Fleet()
    bought: Counter[str] = Counter()
    capex_usd = present_usd = 0.0
    allowed_usd = dict(enumerate(claims.scenario.budget.capex_per_period_usd or ()))
    for t, plan in enumerate(claims.layout.periods):
        spent_usd = 0.0
        for purchase in plan.purchases:
            yield from _purchase(claims, t, purchase, in_service)
            buy = _for_sale(claims, purchase.offer)
            bought[purchase.offer] += purchase.count
            capex_usd += purchase.usd
            spent_usd += purchase.usd
            present_usd += purchase.count * _present_price(claims.scenario, t, buy) if buy else 0.0
        if exceeds(spent_usd, most_usd := allowed_usd.get(t, inf)):
            spent = f"its servers cost ${number(spent_usd)}"
            yield f"budget.capex_per_period has ${number(most_usd)} for period {t + 1}, {spent}"
        for commitment in plan.commitments:
            yield from _commitment(claims, t, commitment, in_service, paid)
            present_usd += commitment.count * _present_terms(claims, t, commitment)
    for offer, count in bought.items():
        buy = _for_sale(claims, offer)
        if buy is not None and buy.max is not None and count > buy.max:
            yield f"{offer}: {count} servers are bought over the horizon, the scenario has {buy.max}"
    yield from _committed_at_a_time(claims, paid)
    for t, plan in enumerate(claims.layout.periods):
        yield from _in_service(t, plan, in_service)
        period = _Period(claims, t)
        for row in plan.servers:
            yield from period.price(row)
        yield from period.limits(paid)
        present_usd += period.usd_per_hour * HOURS_PER_MONTH * period.months * _present(claims.scenario, period.middle)
    yield from _total(claims, present_usd, capex_usd)


def _total(claims: Claims, present_usd: float, capex_usd: float) -> Iterator[str]:
    cost, months, capex = claims.layout.cost, claims.scenario.horizon_months, claims.scenario.budget.capex_usd
    totals = {
        "usd_over_horizon": present_usd,
        "usd_per_month": present_usd / months,
        "usd_per_hour": present_usd / months / HOURS_PER_MONTH,
        "capex_usd": capex_usd,
    }
    for name, true in totals.items() if cost else ():
        claimed: float = getattr(cost, name)
        if not agree(claimed, true):
            yield f"cost.{name} is {number(claimed)}, its periods come to {number(true)}"
    if capex is not None and exceeds(capex_usd, capex):
        yield f"budget.capex is ${number(capex)}, the bought servers cost ${number(capex_usd)}"


class _Period:
    """The servers of one period, and what they come to."""

    def __init__(self, claims: Claims, t: int) -> None:
        self.claims, self.t = claims, t
        self.months = claims.scenario.horizon_months / claims.scenario.periods
        self.middle = (t + 0.5) * self.months
        self.usd_per_hour = self.monthly_usd = self.power_kw = 0.0

    def price(self, row: Servers) -> Iterator[str]:
        """usd_per_hour of a row; adds what is paid for its use. Commitments are paid where they are made."""
        offer = self.claims.scenario.inventory.get(row.offer)
        if offer is None:
            return  # said where machines are checked
        reserved = {entry.term_months: entry.usd_per_server_hour for entry in offer.reserve}
        power_kw = server_power_kw(self.claims, offer)
        running = running_usd_per_month(self.claims, power_kw) / HOURS_PER_MONTH
        prices: dict[Term, float | None] = {
            "own": running,
            "buy": running,
            "rent": offer.rent.usd_per_server_hour if offer.rent else None,
            "spot": offer.spot.usd_per_server_hour if offer.spot else None,
            "reserve": reserved.get(row.term_months or 0.0),
        }
        usd_per_hour = prices[row.term]
        if usd_per_hour is None:
            return
        if not agree(row.usd_per_hour, usd_per_hour):
            yield (
                f"period {self.t + 1}: {row.offer} ({row.term}): usd_per_hour of one server is "
                f"{number(row.usd_per_hour)}, the scenario's prices give {number(usd_per_hour)}"
            )
        if row.term in ("own", "buy"):
            self.power_kw += (row.in_use + row.stand_by) * power_kw
        if row.term != "reserve":
            paid = row.in_use + row.stand_by if row.term == "buy" else row.count
            self.usd_per_hour += paid * usd_per_hour
            self.monthly_usd += paid * usd_per_hour * HOURS_PER_MONTH

    def limits(self, paid: Fleet) -> Iterator[str]:
        """Both limits of a month, commitments included."""
        scenario, t = self.claims.scenario, self.t
        for offer_name, offer in scenario.inventory.items():
            for entry in offer.reserve:
                count = paid[t, offer_name, entry.term_months]
                self.monthly_usd += count * entry.usd_per_server_hour * HOURS_PER_MONTH
        budget, cap = scenario.budget.monthly_usd, scenario.facility.power_cap_kw
        if budget is not None and exceeds(self.monthly_usd, budget):
            yield f"period {t + 1}: budget.monthly is ${number(budget)}, a month costs ${number(self.monthly_usd)}"
        if cap is not None and exceeds(self.power_kw, cap):
            yield (
                f"period {t + 1}: facility.power_cap is {number(cap)} kW, owned and bought servers in use draw "
                f"{number(self.power_kw)} kW"
            )


def _in_service(t: int, plan: PeriodPlan, in_service: Fleet) -> Iterator[str]:
    """Bought and reserved servers of a period are those that were ordered, no more and no fewer."""
    listed: Fleet = Fleet()
    for row in plan.servers:
        if row.term in ("buy", "reserve"):
            listed[t, row.offer, row.term_months] += row.count
    ordered = {key: count for key, count in in_service.items() if key[0] == t}
    for key in sorted(listed.keys() | ordered.keys(), key=str):
        if listed[key] != in_service[key]:
            what = "bought" if key[2] is None else f"reserved for {key[2]:g} months"
            yield (
                f"period {t + 1}: {listed[key]} {what} servers of {key[1]} are listed, "
                f"{in_service[key]} were ordered and serve"
            )


def _purchase(claims: Claims, t: int, purchase: Purchase, in_service: Fleet) -> Iterator[str]:
    """Adds the servers to what is in service from their arrival until they are sold."""
    buy, scenario = _for_sale(claims, purchase.offer), claims.scenario
    if buy is None or purchase.count < 1:
        yield f"period {t + 1}: {purchase.count} servers of {purchase.offer} are bought, which cannot be"
        return
    if not agree(purchase.usd, purchase.count * buy.usd_per_server):
        yield f"period {t + 1}: {purchase.count} servers of {purchase.offer} do not cost ${number(purchase.usd)}"
    months = scenario.horizon_months / scenario.periods
    lead_months = buy.lead_time_months if scenario.periods > 1 else None  # a single period starts with what it has
    first = t + ceil((lead_months or 0.0) / months - NOTHING)
    if purchase.arrives != first + 1:
        yield f"period {t + 1}: {purchase.offer} arrives in period {first + 1}, not in {purchase.arrives}"
    for u in range(first, _sold(scenario, t, buy)):
        in_service[u, purchase.offer, None] += purchase.count


def _commitment(claims: Claims, t: int, commitment: Commitment, in_service: Fleet, paid: Fleet) -> Iterator[str]:
    """Adds the servers to what is in service in the periods that their terms cover whole, and is paid in any."""
    scenario, usd_per_hour = claims.scenario, _reserved(claims, commitment)
    if usd_per_hour is None or commitment.count < 1 or commitment.terms < 1:
        yield f"period {t + 1}: {commitment.count} servers of {commitment.offer} are reserved, which cannot be"
        return
    period_months, months = scenario.horizon_months / scenario.periods, commitment.terms * commitment.term_months
    if not agree(commitment.usd, commitment.count * months * HOURS_PER_MONTH * usd_per_hour):
        yield f"period {t + 1}: reserving {commitment.offer} does not cost ${number(commitment.usd)}"
    for u in range(t, scenario.periods):
        since, until = (u - t) * period_months, (u + 1 - t) * period_months
        if until <= months + NOTHING:
            in_service[u, commitment.offer, commitment.term_months] += commitment.count
        if since < months - NOTHING:
            paid[u, commitment.offer, commitment.term_months] += commitment.count


def _committed_at_a_time(claims: Claims, paid: Fleet) -> Iterator[str]:
    for (t, name, term_months), count in sorted(paid.items(), key=str):
        limits = {entry.term_months: entry.max for entry in claims.scenario.inventory[name].reserve}
        limit = limits.get(term_months or 0.0)
        if count > (inf if limit is None else limit):
            yield f"period {t + 1}: {count} servers of {name} are reserved at a time, the scenario has {limit}"


def _for_sale(claims: Claims, name: str) -> Buy | None:
    offer = claims.scenario.inventory.get(name)
    return None if offer is None else offer.buy


def _reserved(claims: Claims, commitment: Commitment) -> float | None:
    """USD per hour of a reserved server, null when the scenario does not offer it."""
    offer = claims.scenario.inventory.get(commitment.offer)
    entries = () if offer is None else offer.reserve
    return next((one.usd_per_server_hour for one in entries if one.term_months == commitment.term_months), None)


def _sold(scenario: Scenario, t: int, buy: Buy) -> int:
    """The period that begins with the sale of a server bought at the start of period t: life covers none further."""
    return min(scenario.periods, t + floor(buy.life_months * scenario.periods / scenario.horizon_months + NOTHING))


def _present_price(scenario: Scenario, t: int, buy: Buy) -> float:
    """Price − what the server is sold for, both at present value."""
    period_months = scenario.horizon_months / scenario.periods
    bought, sold = t * period_months, _sold(scenario, t, buy) * period_months
    fallen = (1 - buy.residual_fraction) * (sold - bought) / buy.life_months
    return buy.usd_per_server * (_present(scenario, bought) - (1 - fallen) * _present(scenario, sold))


def _present_terms(claims: Claims, t: int, commitment: Commitment) -> float:
    """All payments of one reserved server; those after the horizon count as if made in its last period."""
    scenario = claims.scenario
    period_months = scenario.horizon_months / scenario.periods
    end = t * period_months + commitment.terms * commitment.term_months
    total = 0.0
    for u in range(t, scenario.periods):
        until = end if u == scenario.periods - 1 else min(end, (u + 1) * period_months)
        total += max(0.0, until - u * period_months) * _present(scenario, (u + 0.5) * period_months)
    return total * HOURS_PER_MONTH * (_reserved(claims, commitment) or 0.0)


def _present(scenario: Scenario, month: float) -> float:
    """What a dollar of that month is worth at the start."""
    return float((1 + (scenario.discount_rate_per_year or 0.0)) ** (-month / MONTHS_PER_YEAR))
