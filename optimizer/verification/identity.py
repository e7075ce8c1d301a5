"""Is this the answer to that scenario, and does it say of its proof what its own numbers say?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from optimizer.layout import Cost
from optimizer.plans import canonical_json
from optimizer.verification.claims import Claims, agree, exceeds, number


def identity(claims: Claims) -> Iterator[str]:
    """Name, hash, inputs and catalog of the plan; every workload of the scenario once; status, bound and gap."""
    layout, scenario = claims.layout, claims.scenario
    if layout.scenario != scenario.name:
        yield f"the plan is of scenario {layout.scenario}, this is {scenario.name}"
    if layout.scenario_sha256 != scenario.sha256:
        yield f"scenario_sha256 is {layout.scenario_sha256}, the scenario's is {scenario.sha256}"
    inputs = canonical_json(layout.inputs)
    if hashlib.sha256(inputs.encode()).hexdigest() != scenario.sha256:
        there, here = json.loads(inputs), json.loads(canonical_json(scenario.canonical()))
        yield f"inputs are not the normalised scenario: they differ at {_first_difference(there, here) or 'the top'}"
    if layout.catalog_version != claims.catalog_version:
        yield (
            f"the plan was made with catalog {layout.catalog_version}, this is {claims.catalog_version}: "
            "solve again, or verify with the catalog it was made with"
        )
    yield from _periods(claims)
    if layout.cost is None:
        yield f"status is {layout.status}, and the plan has no cost"
    else:
        yield from _proof(claims, layout.cost)
    if layout.infeasible is not None:
        yield f"status is {layout.status}, and the plan says why it is infeasible"
    if not layout.solve_seconds >= 0:
        yield f"solve_seconds is {layout.solve_seconds}, expected 0 or more"
    if not layout.solver:
        yield "solver is empty: nobody is named who proved the bound"


def _proof(claims: Claims, cost: Cost) -> Iterator[str]:
    """gap = (cost − bound) / cost, and a bound is not above what it bounds."""
    gap, bound, usd = claims.layout.gap, cost.bound_usd_per_hour, cost.usd_per_hour
    if exceeds(bound, usd):
        yield f"bound_usd_per_hour {number(bound)} is above usd_per_hour {number(usd)}: a plan cannot beat its bound"
    if exceeds(0.0, bound):
        yield f"bound_usd_per_hour is {number(bound)}; no plan costs less than nothing"
    proven = max(0.0, (usd - bound) / usd) if usd else 0.0
    if gap is None:
        yield f"gap is missing; cost and bound give {number(proven)}"
    elif not agree(gap, proven):
        yield f"gap is {number(gap)}; (cost − bound) / cost is {number(proven)}"


def _periods(claims: Claims) -> Iterator[str]:
    """Every period once and in order, the first one on top; none where there is but one."""
    layout, scenario = claims.layout, claims.scenario
    expected = scenario.periods if scenario.has_orders else 0
    if len(layout.periods) != expected:
        yield f"the plan has {len(layout.periods)} periods, expected {expected}"
    months = scenario.horizon_months / scenario.periods
    for t, plan in enumerate(layout.periods):
        if plan.period != t + 1 or not agree(plan.starts_month, t * months) or not agree(plan.months, months):
            yield (
                f"period {t + 1} is called {plan.period}, of {number(plan.months)} months from month "
                f"{number(plan.starts_month)}; expected {number(months)} from {number(t * months)}"
            )
    if layout.periods and layout != layout.of_period(1):
        yield "servers, workloads and orders are not those of the first period"
    if not layout.periods and (layout.purchases or layout.commitments):
        yield "orders are listed, and there is a single period, whose servers say what is bought and reserved"


def _first_difference(there: object, here: object) -> str:
    """Dotted path of the first key whose values differ; empty when the values themselves do."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted(there.keys() | here.keys()):
            if key not in there or key not in here or there[key] != here[key]:
                rest = _first_difference(there.get(key), here.get(key))
                return f"{key}.{rest}" if rest else str(key)
    return ""
