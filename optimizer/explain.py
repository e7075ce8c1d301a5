"""Why there is no plan: the limits that together cannot hold, and changes that were re-solved and help."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from catalog.units import format_usd
from optimizer.candidates import Candidates
from optimizer.formulation import FAMILIES, Family, Instance, build_program, lay_out
from optimizer.formulation.constraints import capex_budget, monthly_budget, offer_limits, power_cap, single_format
from optimizer.formulation.fleet import order_limits
from optimizer.layout import Conflict, Infeasibility
from optimizer.memory import SENTENCES
from optimizer.scenario import Scenario
from optimizer.serving_config import FloatArray, IntArray
from optimizer.solve import SolverName, solve_program

RELAXABLE: tuple[Family, ...] = (offer_limits, order_limits, capex_budget, monthly_budget, power_cap, single_format)
"""Families that a user can loosen; the others are what serving means."""
GAP = 0.001
"""Amounts named in an explanation are within this of the least."""


def explain_infeasible(
    scenario: Scenario, candidates: Sequence[Candidates], inst: Instance, solver: SolverName, time_limit_s: float
) -> Infeasibility:
    """What conflicts, in the scenario's words, and the single changes that were solved and make it feasible."""
    rejections = {c.workload: dict(c.rejected) for c in candidates}
    if unservable := _unservable(scenario, candidates, inst):
        return Infeasibility(conflict=unservable, rejections=rejections)
    solve = _Solver(inst, solver, time_limit_s)
    single = [family for family in RELAXABLE if solve.least(without={family}) is not None]
    together = single or _core(solve)
    demands = tuple(_demand(scenario, c) for c in candidates)
    conflict: list[Conflict] = []
    changes: list[str] = []
    for family in together:
        removed = {family} if single else set(together)
        entries, change = _binding(scenario, inst, solve, family, removed)
        conflict += entries
        changes += [change] if change else []
    if not single and changes:
        changes = [f"all of these at once: {'; '.join(changes)}"]
    return Infeasibility(conflict=(*demands, *conflict), changes=tuple(changes), rejections=rejections)


@dataclass(frozen=True, slots=True)
class _Solver:
    """Solves the instance with families left out and with other prices."""

    inst: Instance
    solver: SolverName
    time_limit_s: float

    def least(self, without: set[Family], price: FloatArray | None = None) -> IntArray | None:
        """Server counts [H] of the least Σ price · n_servers, or None when that is infeasible or not found in time."""
        var = lay_out(self.inst)
        families = [family for family in FAMILIES if family not in without]
        program = build_program(self.inst, var, families, price)
        solution = solve_program(program, solver=self.solver, gap=GAP, time_limit_s=self.time_limit_s)
        return None if solution.values is None else np.rint(solution.values[var.n_servers]).astype(np.int64)


def _core(solve: _Solver) -> list[Family]:
    """A smallest set of families whose removal makes the instance feasible: none of them can be put back."""
    removed = list(RELAXABLE)
    for family in RELAXABLE:
        fewer = [f for f in removed if f is not family]
        if solve.least(without=set(fewer)) is not None:
            removed = fewer
    return removed


def _binding(
    scenario: Scenario, inst: Instance, solve: _Solver, family: Family, removed: set[Family]
) -> tuple[list[Conflict], str]:
    """How a family is exceeded once `removed` are gone, and the change that loosens it enough ("" if not found)."""
    if family is offer_limits:
        return _offers(scenario, inst, solve.least(removed))
    if family is single_format:
        message = "no one model and format serves every class within the other limits"
        return [Conflict(family="single_format", index=None, message=message)], "single_format: false"
    if family is order_limits:
        message = "no purchases and reservations within their limits are enough"
        return [Conflict(family="order_limits", index=None, message=message)], ""
    key, amounts, limit, show = _LIMITS[family](inst)
    if not math.isfinite(limit):
        return [], ""
    if inst.horizon.n_periods > 1:
        location = scenario.location(*key.split("."))
        return [
            Conflict(
                family=family.__name__,
                index=None,
                message=f"is {show(limit)}, which no plan keeps in every period",
                location=str(location) if location else None,
            )
        ], ""
    servers = solve.least(removed, amounts)
    if servers is None:
        return [], ""
    needed = float(amounts @ servers)
    message = f"is {show(limit)}; no plan needs less than {show(needed)}"
    location = scenario.location(*key.split("."))
    entry = Conflict(family=family.__name__, index=None, message=message, location=str(location) if location else None)
    return [entry], f"{key} {show(limit)} → {show(needed)}"


_Amounts = tuple[str, FloatArray, float, Callable[[float], str]]
_LIMITS: dict[Family, Callable[[Instance], _Amounts]] = {
    capex_budget: lambda inst: ("budget.capex", inst.capex_usd, inst.capex_budget_usd, format_usd),
    monthly_budget: lambda inst: ("budget.monthly", inst.monthly_usd, inst.monthly_budget_usd, format_usd),
    power_cap: lambda inst: ("facility.power_cap", inst.power_kw, inst.power_cap_kw, _kilowatts),
}
"""The scenario's key, what a server counts against it [H], the limit, and how to write an amount."""


def _kilowatts(amount: float) -> str:
    return f"{math.ceil(amount * 10) / 10:g} kW"


def _offers(scenario: Scenario, inst: Instance, servers: IntArray | None) -> tuple[list[Conflict], str]:
    """Every offer of which the cheapest plan without limits takes more than there are."""
    entries, more = [], []
    for term, count in zip(inst.terms, [] if servers is None else servers.tolist(), strict=servers is not None):
        if count <= term.max_servers:
            continue
        location = scenario.location("inventory", term.offer, term.term)
        message = f"has {term.max_servers:g}; the cheapest plan without limits takes {count}"
        entries.append(
            Conflict(
                family="offer_limits",
                index=f"{term.offer},{term.term}",
                message=message,
                location=str(location) if location else None,
            )
        )
        missing = count - int(term.max_servers)
        more.append(f"+{missing} server{'s' if missing > 1 else ''} of {term.offer} ({term.term})")
    return entries, " and ".join(more)


def _demand(scenario: Scenario, c: Candidates) -> Conflict:
    """What a workload asks for, and the fewest GPUs that could carry it alone."""
    workload = scenario.workloads[c.workload]
    location = scenario.location("workloads", c.workload)
    shares = np.array([r.share_fraction for r in workload.request_classes])
    with np.errstate(divide="ignore"):
        replicas = (workload.demand_rps * shares / c.rate_rps).sum(axis=1) / scenario.max_utilization_fraction
    gpus = np.ceil(replicas - 1e-9) * c.gpus_per_replica
    needs = ""
    if np.isfinite(gpus).any():
        k = int(np.argmin(gpus))
        needs = f"; at least {gpus[k]:,.0f} GPUs of {c.specs[k].gpu} ({c.specs[k].label})"
    return Conflict(
        family="serve_demand",
        index=c.workload,
        message=f"needs {workload.demand_rps:.4g} requests/s{needs}",
        location=str(location) if location else None,
    )


def _unservable(scenario: Scenario, candidates: Sequence[Candidates], inst: Instance) -> tuple[Conflict, ...]:
    """Request classes that no candidate can serve at all, with the reasons."""
    served = set(inst.demand_of_load.tolist())
    lost: dict[str, list[str]] = {}
    for d, (workload, request_class) in enumerate(inst.demand_names):
        if d not in served:
            lost.setdefault(workload, []).append(request_class)
    return tuple(_rejected(scenario, c, lost[c.workload]) for c in candidates if c.workload in lost)


def _rejected(scenario: Scenario, c: Candidates, classes: Sequence[str]) -> Conflict:
    workload = scenario.workloads[c.workload]
    asked = {f"{t.metric}_{t.statistic}": t.limit_ms for t in workload.targets}
    reasons = []
    for key, count in sorted(c.rejected.items(), key=lambda item: (-item[1], item[0])):
        reason = SENTENCES.get(key, _OTHER_REASONS.get(key, key))
        if key in c.nearest_ms:
            reason = f"miss {key} {asked[key]:.3g} ms; the nearest reaches {c.nearest_ms[key]:.3g} ms"
        reasons.append(f"{count:,}: {reason}")
    of_class = "" if len(classes) == len(workload.request_classes) else f" for class {', '.join(classes)}"
    location = scenario.location("workloads", c.workload)
    return Conflict(
        family="serve_demand",
        index=c.workload,
        message=f"none of {c.n_evaluated:,} configurations can be used{of_class}: {'; '.join(reasons) or 'no offer'}",
        location=str(location) if location else None,
    )


_OTHER_REASONS = {
    "format": "the card or engine does not support the format",
    "quality": "the format's quality is below min_quality",
}
