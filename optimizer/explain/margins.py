"""What a little more of something is worth: the difference between two plans, both solved."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from optimizer.explain.changes import limit_of, most_servers, with_most_servers
from optimizer.explain.core import LIMITS, members
from optimizer.explain.resolver import Change, Resolver, Solved
from optimizer.scenario import Scenario, Target, Workload, changed, with_demand, with_workload

STEPS_MS = {"ttft": 100.0, "tpot": 10.0, "e2e": 1000.0}
"""By how much a latency target is loosened."""
UTILIZATION_STEP = 0.05
LIMIT_STEP = 0.1
"""By which part of itself a budget or the power cap is raised."""
DEMAND_STEP = 0.1
NEARLY_ALL = 0.95
MOST_SERVERS_LIMITS, MOST_TARGETS = 6, 3
"""Limits and targets that are looked at, those that bind first."""


@dataclass(frozen=True, slots=True)
class Margin:
    """A change and what it saves; negative when it costs."""

    change: str
    saves_usd_per_hour: float | None
    """None = there is no plan with it."""
    is_proven: bool


def margin(resolver: Resolver, base: Solved, change: Change) -> Margin:
    """What a change saves."""
    solved = resolver.cheapest(change)
    if solved is None:
        return Margin(change.text, None, resolver.is_impossible(change))
    return Margin(change.text, difference(base.usd_per_hour, solved.usd_per_hour), solved.is_proven and base.is_proven)


def difference(usd_per_hour: float, other_usd_per_hour: float) -> float:
    """What is left of a cost when another is taken away; nothing where they differ by rounding only."""
    same = math.isclose(usd_per_hour, other_usd_per_hour, rel_tol=1e-9, abs_tol=1e-9)
    return 0.0 if same else usd_per_hour - other_usd_per_hour


def changes_worth_knowing(scenario: Scenario, base: Solved, binding: frozenset[tuple[str, str]]) -> Iterator[Change]:
    """Little changes to the limits of a scenario; `binding` names (workload, target) that keep batches from growing."""
    yield from _more_servers(scenario, base)
    yield from _looser_targets(scenario, binding)
    yield from _higher_limits(scenario)
    most = scenario.max_utilization_fraction
    if most + UTILIZATION_STEP <= 1:
        yield Change(
            f"max_utilization {most:.0%} → {most + UTILIZATION_STEP:.0%}",
            partial(changed, max_utilization_fraction=most + UTILIZATION_STEP),
        )
    yield Change(f"{DEMAND_STEP:.0%} more demand of all", lambda other: with_demand(other, 1 + DEMAND_STEP))


def changes_of_workload(workload: Workload, name: str) -> Iterator[Change]:
    """Little changes to what one workload asks for."""
    for target in workload.targets:
        yield _looser(name, workload, target)
    floor = workload.min_quality_fraction
    if workload.measured is None:
        yield _workload_change(
            name, f"min_quality {floor:.1%} → {floor - 0.01:.1%}", True, min_quality_fraction=floor - 0.01
        )
    if workload.single_format:
        yield _workload_change(name, "single_format: false", False, single_format=False)
    for sign in (1, -1):
        text = f"{name}: {DEMAND_STEP:.0%} {'more' if sign > 0 else 'less'} demand"
        yield Change(text, partial(_scaled, 1 + sign * DEMAND_STEP, name))


def binding_limits(scenario: Scenario, base: Solved) -> Iterator[str]:
    """Limits of which a plan uses up nearly all."""
    values = base.program.coefficient * base.values[base.program.column]
    total = np.bincount(base.program.row, weights=values, minlength=len(base.program.row_upper))
    for member in members(base.inst):
        if member.family not in LIMITS:
            continue
        upper = base.program.row_upper[member.rows]
        used = float((total[member.rows] / np.where(upper > 0, upper, np.inf)).max())
        if used >= NEARLY_ALL:
            limit = limit_of(scenario, member)
            yield f"{limit.name}: {used:.0%} of {limit.shown(limit.amount)} used"


def _more_servers(scenario: Scenario, base: Solved) -> Iterator[Change]:
    """One more server of each limited term, those that are used up first."""
    terms = dict.fromkeys((term.offer, term.label) for term in base.inst.terms)
    limited = {term: most for term in terms if (most := most_servers(scenario, *term)) is not None}
    for term in sorted(limited, key=lambda term: limited[term] - base.servers.get(term, 0))[:MOST_SERVERS_LIMITS]:
        offer, label = term
        yield Change(f"one more {offer} ({label})", partial(_with_servers, offer, label, limited[term] + 1))


def _with_servers(offer: str, label: str, count: int, scenario: Scenario) -> Scenario:
    return with_most_servers(scenario, offer, label, count)


def _scaled(factor: float, name: str, scenario: Scenario) -> Scenario:
    return with_demand(scenario, factor, name)


def _looser_targets(scenario: Scenario, binding: frozenset[tuple[str, str]]) -> Iterator[Change]:
    found = [
        _looser(name, workload, target)
        for name, workload in scenario.workloads.items()
        for target in workload.targets
        if (name, target.name) in binding
    ]
    yield from found[:MOST_TARGETS]


def _looser(name: str, workload: Workload, target: Target) -> Change:
    more = STEPS_MS[target.metric]
    targets = tuple(t._replace(limit_ms=t.limit_ms + more) if t == target else t for t in workload.targets)
    return _workload_change(name, f"{more:g} ms more {target.name}", True, targets=targets)


def _workload_change(name: str, text: str, is_rerated: bool, **fields: Any) -> Change:
    return Change(f"{name}: {text}", lambda other: with_workload(other, name, **fields), (name,) if is_rerated else ())


def _higher_limits(scenario: Scenario) -> Iterator[Change]:
    budget, cap = scenario.budget, scenario.facility.power_cap_kw
    for key, usd in (("capex", budget.capex_usd), ("monthly", budget.monthly_usd)):
        if usd is not None:
            raised = changed(budget, **{f"{key}_usd": usd * (1 + LIMIT_STEP)})
            yield Change(f"{LIMIT_STEP:.0%} more budget.{key}", partial(changed, budget=raised))
    for t, usd in enumerate(budget.capex_per_period_usd or ()):
        amounts = list(budget.capex_per_period_usd or ())
        amounts[t] = usd * (1 + LIMIT_STEP)
        raised = changed(budget, capex_per_period_usd=tuple(amounts))
        text = f"{LIMIT_STEP:.0%} more budget.capex_per_period in period {t + 1}"
        yield Change(text, partial(changed, budget=raised))
    if cap is not None:
        site = changed(scenario.facility, power_cap_kw=cap * (1 + LIMIT_STEP))
        yield Change(f"{LIMIT_STEP:.0%} more facility.power_cap", partial(changed, facility=site))
