"""What a plan does when demand is higher or replicas are slower than planned, what mends it, and what would have held.

A replica slower by a factor s is the same replica on a slower clock: it holds targets T at a rate r exactly if at full
speed it holds targets s·T at the rate r/s. So every stress is a scenario with other demand and tighter targets, and
nothing here knows how latencies come about. Under stress replicas may be busy all the time that their targets allow, as
after the loss of a server: what `max_utilization` keeps free is there for such times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from catalog import Catalog
from optimizer.candidates import build_candidates, linked_spec, replica_rates_rps
from optimizer.explain.feasible import as_served
from optimizer.explain.resolver import Resolver, Solved, listed
from optimizer.formulation import Instance, Program, lay_out
from optimizer.layout import Layout, ReplicaGroup, WorkloadPlan
from optimizer.plan_notes import Remedy, Stress, StressedWorkload
from optimizer.scenario import Scenario, Workload, changed, with_demand
from optimizer.solve import Backend, route, solve_program

GAP = 0.001
"""To which remedies are solved."""
WHOLE = 1.0 - 1e-6
"""A share of more than this is the whole: plans are checked to 1e-6."""


@dataclass(frozen=True, slots=True)
class Case:
    """One way in which things may turn out worse than planned."""

    name: str
    demand_factor: float = 1.0
    speed_factor: float = 1.0

    @property
    def load_factor(self) -> float:
        """Requests/s for each that was planned, as replicas of full speed would feel them."""
        return self.demand_factor / self.speed_factor


CASES = (Case("demand × 1.25", 1.25), Case("demand × 1.5", 1.5), Case("speed −20%", speed_factor=0.8))


def stress(
    layout: Layout,
    scenario: Scenario,
    catalog: Catalog,
    *,
    time_limit_s: float,
    progress: Callable[[str], None] = lambda _message: None,
    backend: Backend = solve_program,
) -> tuple[Stress, ...]:
    """How a sound plan with a cost stands each of `CASES`; `catalog` holds the scenario's own models.

    `time_limit_s` is for each solve, of which there are two a case where the plan does not hold.
    """
    asked = as_served(layout, scenario)
    found = []
    for case in CASES:
        progress(f"stress: {case.name}")
        found.append(_under(case, layout, asked, catalog, time_limit_s, backend))
    return tuple(found)


def _under(
    case: Case, layout: Layout, asked: Scenario, catalog: Catalog, time_limit_s: float, backend: Backend
) -> Stress:
    workloads = tuple(_worst(case, layout, asked, catalog))
    names = {one.name for one in workloads}
    total = carried = 0.0
    for _, probability, period in layout.states():
        for plan in period.workloads if period.period == 1 else ():
            if plan.name in names:
                expected = probability * plan.demand_rps * plan.served_fraction
                total += expected
                carried += _served_fraction(case, plan, asked, catalog) * expected
    held = all(one.served_fraction == 1.0 for one in workloads)
    repaired = robust = Remedy(usd_per_hour_more=0.0, is_proven=True, servers=()) if held else None
    if not held:
        candidates = build_candidates(tougher := _tougher(case, asked), catalog)
        resolver = Resolver(tougher, catalog, candidates, time_limit_s=time_limit_s, backend=backend)
        robust = _remedy(layout, resolver.cheapest(gap=GAP))
        repaired = _remedy(layout, resolver.cheapest(gap=GAP, holding=lambda inst, p: _as_ordered(layout, inst, p)))
    return Stress(
        name=case.name,
        demand_factor=case.demand_factor,
        speed_factor=case.speed_factor,
        served_fraction=carried / total if total else 1.0,
        workloads=workloads,
        repaired=repaired,
        robust=robust,
    )


def _tougher(case: Case, scenario: Scenario) -> Scenario:
    """The scenario whose plans hold both as planned and in the case."""
    factor = max(1.0, case.load_factor * scenario.max_utilization_fraction)
    slower = {name: _hurried(case, one) for name, one in scenario.workloads.items()}
    return with_demand(changed(scenario, workloads=slower), factor)


def _hurried(case: Case, workload: Workload) -> Workload:
    """With targets as tight as they are for slower replicas."""
    targets = tuple(t._replace(limit_ms=t.limit_ms * case.speed_factor) for t in workload.targets)
    return workload if case.speed_factor == 1.0 else changed(workload, targets=targets)


def _worst(case: Case, layout: Layout, asked: Scenario, catalog: Catalog) -> Iterator[StressedWorkload]:
    """Every workload that is served, in the period, and as demand may turn out, in which the least of it would be."""
    for name in asked.workloads:
        fractions = [
            (_served_fraction(case, plan, asked, catalog), period.period, future, plan)
            for future, _, period in layout.states()
            for plan in period.workloads
            if plan.name == name and plan.demand_rps * plan.served_fraction > 0
        ]
        if fractions:
            fraction, period, future, plan = min(fractions, key=lambda found: (round(found[0], 9), found[1]))
            bound_by = dict.fromkeys(str(group.limit) for group in plan.replica_groups if group.limit)
            yield StressedWorkload(
                name=name,
                served_fraction=fraction,
                period=period,
                future=future,
                bound_by=() if fraction == 1.0 else tuple(bound_by),
            )


def _served_fraction(case: Case, plan: WorkloadPlan, asked: Scenario, catalog: Catalog) -> float:
    """Of the demand in the case, what the plan's replicas carry within every target; alike for all classes."""
    workload = asked.workloads[plan.name]
    classes = workload.request_classes
    demand_rps = plan.demand_rps * plan.served_fraction * np.array([kind.share_fraction for kind in classes])
    rates = np.array([_rates_rps(case, group, workload, asked, catalog) for group in plan.replica_groups])
    busy = np.where(rates > 0, case.load_factor * demand_rps / np.where(rates > 0, rates, 1.0), np.inf)
    replicas = np.array([group.replicas for group in plan.replica_groups], np.int64)
    wanted = demand_rps > 0
    routing = route(replicas, busy[:, wanted]) if len(replicas) else None
    fraction = 0.0 if routing is None else 1.0 / routing.peak_utilization
    return 1.0 if fraction > WHOLE else fraction


def _rates_rps(
    case: Case, group: ReplicaGroup, workload: Workload, scenario: Scenario, catalog: Catalog
) -> Sequence[float]:
    """[R] what one replica of full speed sustains within targets as tight as the case makes them."""
    names = [kind.name for kind in workload.request_classes]
    planned = [group.rate_rps.get(name, 0.0) for name in names]
    if case.speed_factor == 1.0 or group.model is None:
        return planned
    spec = linked_spec(group, scenario.inventory, catalog.calibration.network_gb_per_s)
    round_trip_ms = scenario.round_trip_ms(workload, scenario.inventory[group.offer])
    hurried = _hurried(case, workload).with_network(round_trip_ms)
    return [float(rate) for rate in replica_rates_rps(spec, hurried, catalog)]


def _as_ordered(layout: Layout, inst: Instance, program: Program) -> Program:
    """The program with what is bought at the start as it is in the plan, and at least what is committed to then."""
    var = lay_out(inst)
    if not inst.horizon.has_orders:
        bought = {(row.offer, row.term_months): row.count for row in layout.servers if row.term in ("buy", "reserve")}
        columns = [
            (var.n_servers[h], bought.get((term.offer, term.term_months), 0), term.term == "buy")
            for h, term in enumerate(inst.terms)
            if term.term in ("buy", "reserve")
        ]
    else:
        offers = [name.split(",")[0] for name in inst.offer_names]
        counts: dict[tuple[str, float | None, int], int] = {}
        for one in layout.purchases:
            counts[one.offer, None, 0] = counts.get((one.offer, None, 0), 0) + one.count
        for made in layout.commitments:
            key = (made.offer, made.term_months, made.terms)
            counts[key] = counts.get(key, 0) + made.count
        orders = inst.orders
        columns = [
            (
                var.n_ordered[o],
                counts.get((offers[orders.offer[o]], orders.term_months[o], int(orders.terms[o])), 0),
                orders.term_months[o] is None,
            )
            for o in np.flatnonzero(orders.period == 0).tolist()
        ]
    for column, count, is_exact in columns:
        if count:
            program = program.with_row(np.array([column]), np.array([-1.0]), -float(count))
        if is_exact:
            program = program.with_row(np.array([column]), np.array([1.0]), float(count))
    return program


def _remedy(layout: Layout, solved: Solved | None) -> Remedy | None:
    """What a plan costs more; None where there is none, or none was found in time."""
    if solved is None or layout.cost is None:
        return None
    more = max(0.0, solved.usd_per_hour - layout.cost.usd_per_hour)
    return Remedy(usd_per_hour_more=more, is_proven=solved.is_proven, servers=listed(solved.servers))
