"""Is this the answer to that scenario, and does it say of its proof what its own numbers say?"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
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
    planned = Counter(workload.name for workload in layout.workloads)
    for name in scenario.workloads:
        if planned[name] != 1:
            yield f"workload {name} stands {planned[name]} times in the plan, expected once"
    for name in list(planned):
        if name not in scenario.workloads:
            yield f"workload {name} is planned for, and the scenario has none of that name"
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


def _first_difference(there: object, here: object) -> str:
    """Dotted path of the first key whose values differ; empty when the values themselves do."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted(there.keys() | here.keys()):
            if key not in there or key not in here or there[key] != here[key]:
                rest = _first_difference(there.get(key), here.get(key))
                return f"{key}.{rest}" if rest else str(key)
    return ""
