"""What a plan says of itself under stress: what its replicas carry then, derived again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import inf

from optimizer.layout import ReplicaGroup, WorkloadPlan
from optimizer.plan_notes import Stress
from optimizer.scenario import Workload, changed, futures_of
from optimizer.verification.claims import TOLERANCE, Claims, agree, number
from optimizer.verification.predicted import true_rates_rps
from optimizer.verification.rerouting import least_peak


def stressed(claims: Claims) -> Iterator[str]:
    """Shares that are served under stress. Other plans do not stand in the plan: what they cost is taken as it is."""
    for case in claims.layout.stress:
        where = f"stress {case.name}"
        if case.name != _name(case):
            yield f"{where}: is about {_name(case)}"
        if not (0 < case.demand_factor < inf and 0 < case.speed_factor < inf):
            yield f"{where}: factors are {number(case.demand_factor)} and {number(case.speed_factor)}, expected above 0"
            continue
        yield from (f"{where}: {problem}" for problem in _case(case, claims))


def _name(case: Stress) -> str:
    slower = [f"speed −{100 * (1 - case.speed_factor):g}%"] if case.speed_factor != 1.0 else []
    more = [f"demand × {case.demand_factor:g}"] if case.demand_factor != 1.0 else []
    return " and ".join([*more, *slower]) or "nothing"


def _case(case: Stress, claims: Claims) -> Iterator[str]:
    carried: dict[str, list[tuple[float, int, str | None, WorkloadPlan]]] = {}
    asked_rps = carried_rps = 0.0
    names: list[str | None] = [*claims.scenario.demand_scenarios] or [None]
    futures = dict(zip(names, futures_of(claims.scenario), strict=True))
    for future, probability, period in claims.layout.states():
        if future not in futures:
            continue  # said where futures are checked
        lists = claims.layout.model_copy(update={"workloads": period.workloads})
        now = replace(claims, layout=lists, scenario=futures[future], period=period.period - 1)
        for plan, workload in now.workloads():
            demand_rps = plan.demand_rps * plan.served_fraction
            if not demand_rps > 0:
                continue
            fraction = _fraction(case, plan, workload, now)
            carried.setdefault(plan.name, []).append((fraction, period.period, future, plan))
            if period.period == 1:
                asked_rps += probability * demand_rps
                carried_rps += probability * demand_rps * fraction
    told = {one.name: one for one in case.workloads}
    if list(told) != [name for name in claims.scenario.workloads if name in carried]:
        yield f"its workloads are {', '.join(told) or 'none'}, the plan serves {', '.join(carried) or 'none'}"
        return
    for name, fractions in carried.items():
        one, fraction = told[name], min(found[0] for found in fractions)
        if not agree(one.served_fraction, fraction):
            yield f"{name}: served_fraction is {number(one.served_fraction)}, computed {number(fraction)}"
            continue
        worst = [
            (number_of_period, future, () if fraction == 1.0 else _limits(plan))
            for found, number_of_period, future, plan in fractions
            if agree(found, fraction)
        ]
        if (one.period, one.future, one.bound_by) not in worst:
            number_of_period, future, bound_by = worst[0]
            when = f"period {number_of_period}{f' of {future}' if future else ''}"
            yield f"{name}: is said of another time or other limits than {when}, {', '.join(bound_by) or 'none'}"
    true = carried_rps / asked_rps if asked_rps else 1.0
    if not agree(case.served_fraction, true):
        yield f"served_fraction is {number(case.served_fraction)}, its workloads come to {number(true)}"
    holds = all(one.served_fraction == 1.0 for one in case.workloads)
    for what, remedy in (("repaired", case.repaired), ("robust", case.robust)):
        if remedy is None and not holds:
            continue
        if remedy is None or not 0 <= remedy.usd_per_hour_more < inf:
            yield f"{what} is {remedy}, expected what it costs more"
        elif holds and (remedy.usd_per_hour_more or remedy.servers or not remedy.is_proven):
            yield f"{what} names another plan, and the plan itself holds"


def _limits(plan: WorkloadPlan) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(group.limit) for group in plan.replica_groups if group.limit))


def _fraction(case: Stress, plan: WorkloadPlan, workload: Workload, claims: Claims) -> float:
    """Of a workload's demand in the case, what the plan's replicas carry within its targets."""
    load = case.demand_factor / case.speed_factor * plan.demand_rps * plan.served_fraction
    classes = workload.request_classes
    rates = [_rates_rps(case, group, workload, claims) for group in plan.replica_groups]
    replicas = [group.replicas for group in plan.replica_groups]
    peak = load * least_peak([one.share_fraction for one in classes], replicas, rates)
    return 1.0 if peak * (1 - TOLERANCE) < 1 else 1 / peak


def _rates_rps(case: Stress, group: ReplicaGroup, workload: Workload, claims: Claims) -> list[float]:
    """[R] what a replica of full speed sustains within targets as tight as a slower one finds them."""
    if case.speed_factor == 1.0 or group.model is None:
        return [group.rate_rps.get(one.name, 0.0) for one in workload.request_classes]
    targets = tuple(one._replace(limit_ms=one.limit_ms * case.speed_factor) for one in workload.targets)
    hurried = changed(workload, targets=targets)
    offer = claims.scenario.inventory.get(group.offer)
    away_ms = claims.scenario.round_trip_ms(workload, offer) if offer else 0.0
    return true_rates_rps(group, hurried.with_network(away_ms), claims)
