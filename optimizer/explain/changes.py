"""The smallest single changes that resolve a conflict, each proven by solving the scenario with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from catalog.units import format_usd
from optimizer.explain.core import COUNTED, Member, freed
from optimizer.explain.loosening import lifting, restrictions, smallest
from optimizer.explain.resolver import Change, Resolver, anything
from optimizer.formulation import Instance, Program, build_program, lay_out
from optimizer.scenario import Scenario, changed, with_demand, with_offer, with_workload, without_workloads

MOST_WORKLOADS = 2
"""Workloads of a conflict, the largest ones, whose own restrictions are tried to be loosened."""
ROUNDING = 1e-9
"""Relative; what a solver's tolerance may add to an amount does not round it up."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A member of a conflict, in words, and the change that makes an end of it."""

    message: str
    change: Change | None


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit in the scenario: how much it is, how it is written, and the scenario with another one."""

    amount: float
    name: str
    shown: Callable[[float], str]
    rounded_up: Callable[[float], float]
    applied: Callable[[Scenario, float], Scenario]


def loosen_limit(resolver: Resolver, program: Program, member: Member) -> Finding:
    """How far one limit of a conflict must be loosened, everything else staying as it is; `program` is of all of it."""
    limit = limit_of(resolver.scenario, member)
    # The largest right side of its rows is the limit, or 1 where the rows are scaled by it.
    scale = limit.amount / (float(program.row_upper[member.rows].max()) or 1.0) or 1.0
    solution = resolver.solve(program.stretching(member.rows), prices=np.append(program.objective, 0.0))
    if solution.values is None:
        return Finding(f"is {limit.shown(limit.amount)}", None)
    needed = limit.rounded_up(float(solution.values[-1]) * scale)
    text = f"{limit.name} {limit.shown(limit.amount)} → {limit.shown(needed)}"
    if member.family in COUNTED:
        missing = round(needed - limit.amount)
        text = f"+{missing} server{'s' if missing > 1 else ''} of {limit.name}"
    change = Change(text, lambda scenario: limit.applied(scenario, needed))
    message = f"is {limit.shown(limit.amount)}; with all else as it is, {limit.shown(needed)} would do"
    return Finding(message, change if resolver.is_feasible(change) else None)


def limit_of(scenario: Scenario, member: Member) -> Limit:
    """The limit that a member's rows hold to."""
    if member.family in COUNTED:
        offer, label = member.index
        return Limit(
            float(most_servers(scenario, offer, label) or 0),
            f"{offer} ({label})",
            lambda count: f"{count:.0f} server{'' if count == 1 else 's'}",
            lambda count: float(math.ceil(count - ROUNDING * max(1.0, count))),
            lambda other, count: with_most_servers(other, offer, label, round(count)),
        )
    if member.family == "power_cap":
        return Limit(
            scenario.facility.power_cap_kw or 0.0,
            "facility.power_cap",
            lambda kilowatts: f"{kilowatts:g} kW",
            lambda kilowatts: math.ceil(kilowatts * (1 - ROUNDING) * 10) / 10,
            lambda other, kilowatts: changed(other, facility=changed(other.facility, power_cap_kw=kilowatts)),
        )
    if member.family == "capex_per_period":
        t, amounts = int(member.index[0]) - 1, scenario.budget.capex_per_period_usd or ()
        return Limit(
            amounts[t],
            f"budget.capex_per_period of period {t + 1}",
            format_usd,
            _dollars_up,
            lambda other, usd: _with_capex_in(other, t, usd),
        )
    key = {"capex_budget": "capex", "monthly_budget": "monthly"}[member.family]
    return Limit(
        getattr(scenario.budget, f"{key}_usd") or 0.0,
        f"budget.{key}",
        format_usd,
        _dollars_up,
        lambda other, usd: changed(other, budget=changed(other.budget, **{f"{key}_usd": usd})),
    )


def with_most_servers(scenario: Scenario, offer: str, label: str, count: int) -> Scenario:
    """An offer with another number of servers on one of its terms: `own`, `rent`, `reserve 12mo` …"""
    term, _, length = label.partition(" ")
    if term == "own":
        return with_offer(scenario, offer, own=count)
    if term == "reserve":
        entries = scenario.inventory[offer].reserve
        other = tuple(changed(one, max=count) if f"{one.term_months:g}mo" == length else one for one in entries)
        return with_offer(scenario, offer, reserve=other)
    return with_offer(scenario, offer, **{term: changed(getattr(scenario.inventory[offer], term), max=count)})


def _with_capex_in(scenario: Scenario, period: int, usd: float) -> Scenario:
    """With another amount for purchases in one period, counted from 0."""
    amounts = list(scenario.budget.capex_per_period_usd or ())
    amounts[period] = usd
    return changed(scenario, budget=changed(scenario.budget, capex_per_period_usd=tuple(amounts)))


def most_servers(scenario: Scenario, offer: str, label: str) -> int | None:
    """Servers to be had on a term; None = without a limit."""
    term, _, length = label.partition(" ")
    given = scenario.inventory[offer]
    if term == "own":
        return given.own
    if term == "reserve":
        return next(one.max for one in given.reserve if f"{one.term_months:g}mo" == length)
    most: int | None = getattr(given, term).max
    return most


def _dollars_up(amount: float) -> float:
    """As `format_usd` writes it, upwards: whole dollars from a thousand on, else cents."""
    enough = amount * (1 - ROUNDING)
    return float(math.ceil(enough)) if amount >= 1000 else math.ceil(enough * 100) / 100


def let_formats_mix(resolver: Resolver, name: str) -> Finding:
    """`single_format: false` for a workload."""
    # A candidate that was dropped for another of any format is not missed where formats mix: no need to rate again.
    change = Change(f"{name}: single_format: false", lambda s: with_workload(s, name, single_format=False))
    message = "no one model and format serves every class within the other limits"
    return Finding(message, change if resolver.is_feasible(change) else None)


def let_it_be_felt(resolver: Resolver, name: str) -> Finding:
    """`spare: none` for a workload."""
    change = Change(f"{name}: spare: none", lambda s: with_workload(s, name, spare="none"))
    spare = resolver.scenario.workloads[name].spare
    lost = "server" if spare == "n+1" else spare
    message = f"is {spare}; when a {lost} is lost, the others cannot carry the demand within the other limits"
    return Finding(message, change if resolver.is_feasible(change) else None)


def deliver_at_once(resolver: Resolver, offer: str) -> Finding:
    """No `lead_time` for what is bought of an offer."""
    buy = resolver.scenario.inventory[offer].buy
    if buy is None:
        raise KeyError(f"{offer} is not for sale")
    at_once = changed(buy, lead_time_months=None)
    change = Change(f"{offer}: no lead_time", lambda s: with_offer(s, offer, buy=at_once))
    message = f"is {buy.lead_time_months or 0:g} months; what is bought arrives too late"
    return Finding(message, change if resolver.is_feasible(change) else None)


def serve_less(resolver: Resolver, inst: Instance, name: str) -> Change | None:
    """The largest part of one workload's demand, in whole per cent, that can be served beside all others.

    Over several periods it is the same part in each.
    """
    if not resolver.time_left_s:
        return None
    names = list(resolver.scenario.workloads)
    partly = inst.with_droppable(np.arange(len(inst.workload_names)) % len(names) == names.index(name))
    var = lay_out(partly)
    program = build_program(partly, var)
    for later in var.unserved[1:]:
        both = np.array([var.unserved[0], later])
        program = program.with_row(both, np.array([-1.0, 1.0]), 0.0).with_row(both, np.array([1.0, -1.0]), 0.0)
    fewest = program.minimising(var.unserved[:1], np.ones(1))
    solution = resolver.solve(fewest, prices=program.objective)
    if solution.values is None:
        return None
    per_cent = math.floor((1 - solution.values[var.unserved[0]]) * 100 + ROUNDING)
    if per_cent < 1 and len(names) == 1:
        return None
    if per_cent < 1:
        change = Change(f"{name}: leave it out", lambda s: without_workloads(s, name))
    else:
        change = Change(f"{name}: serve {per_cent}% of its demand", lambda s: with_demand(s, per_cent / 100, name))
    return change if resolver.is_feasible(change) else None


def loosen_workloads(resolver: Resolver, program: Program, demands: Sequence[Member]) -> Iterator[Change]:
    """The smallest loosening of each restriction of some workloads that helps by itself; `program` is of all of it."""
    for demand in demands[:MOST_WORKLOADS]:
        (name,) = demand.index
        stated = tuple(restrictions(resolver.scenario.workloads[name], resolver.catalog))
        without = resolver.solve(freed(anything(program), [demand]), prices=program.objective)
        if not stated or without.values is None or not resolver.is_feasible(lifting(name, stated)):
            continue
        for restriction in stated:
            if change := smallest(resolver, name, restriction):
                yield change
