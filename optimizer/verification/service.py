"""Is every request class served in full, by replicas that are not too busy?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from optimizer.layout import ReplicaGroup, WorkloadPlan
from optimizer.scenario import Scenario, Workload, futures_of
from optimizer.scenario.pipelines import formats_by_layer
from optimizer.verification.claims import NOTHING, Claims, agree, exceeds, number


def service(claims: Claims) -> Iterator[str]:
    """Demand, its split over replica groups, and how busy that keeps them."""
    yield from _everyone(claims)
    for planned, workload in claims.workloads():
        demand_rps = claims.demand_rps(workload)
        if not agree(planned.demand_rps, demand_rps):
            yield (
                f"{planned.name}: demand_rps is {number(planned.demand_rps)}, requests × peak are {number(demand_rps)}"
            )
        yield from _classes(planned, workload, demand_rps)
        if not 0 <= planned.served_fraction <= 1:
            yield f"{planned.name}: served_fraction is {number(planned.served_fraction)}, expected 0 to 1"
        if planned.served_fraction != 1 and claims.scenario.objective != "served":
            share = f"{planned.served_fraction:.4%}"
            yield f"{planned.name}: {share} of the demand is served; the objective is not `served`"
        formats = set(map(_format, planned.replica_groups))
        if workload.single_format and len(formats) > 1:
            listed = ", ".join(sorted(formats))
            yield f"{planned.name}: single_format is asked for, and its replicas use {listed}"
    for name, workload, group in claims.groups():
        yield from _load(name, workload, group, claims.scenario.max_utilization_fraction)


def _format(group: ReplicaGroup) -> str:
    """Of the weights; where layers differ, with the layers of each, for that is another checkpoint."""
    stages = group.stages or ()
    if len({stage.weight_dtype for stage in stages}) < 2:
        return str(group.weight_dtype)
    return formats_by_layer((stage.weight_dtype, *stage.layers) for stage in stages)


def _everyone(claims: Claims) -> Iterator[str]:
    """Every workload of the scenario once, and no other."""
    planned = Counter(workload.name for workload in claims.layout.workloads)
    for name in claims.scenario.workloads:
        if planned[name] != 1:
            yield f"workload {name} stands {planned[name]} times in the plan, expected once"
    for name in planned:
        if name not in claims.scenario.workloads:
            yield f"workload {name} is planned for, and the scenario has none of that name"


def _classes(planned: WorkloadPlan, workload: Workload, demand_rps: float) -> Iterator[str]:
    """Each class gets exactly its share of the demand that is served."""
    for one in workload.request_classes:
        served = sum(group.class_rps.get(one.name, 0.0) for group in planned.replica_groups)
        wanted = demand_rps * one.share_fraction * planned.served_fraction
        if not agree(served, wanted):
            yield f"{planned.name}: {number(served)}/s of class {one.name} are served, demand is {number(wanted)}/s"


def served(claims: Claims) -> Iterator[str]:
    """With `objective: served`, what is served of each priority, in the mean of all periods, and what is proven.

    Where demand may turn out in several ways it is what is expected; of one of them alone it says nothing.
    """
    levels, futures = claims.layout.served, dict(_futures(claims))
    if claims.scenario.demand_scenarios and not claims.layout.futures:
        return
    if claims.scenario.objective != "served":
        if levels:
            yield f"the plan says what is served of {len(levels)} priorities; the objective is not `served`"
        return
    expected = sorted({workload.priority for workload in claims.scenario.workloads.values()})
    if [level.priority for level in levels] != expected:
        yield f"served is of priorities {[level.priority for level in levels]}, the scenario has {expected}"
        return
    for level in levels:
        alike = [
            (probability * futures[future].workloads[plan.name].demand_in(period.period - 1), plan.served_fraction)
            for future, probability, period in claims.layout.states()
            for plan in period.workloads
            if plan.name in claims.scenario.workloads
            and future in futures
            and period.period <= claims.scenario.periods
            and claims.scenario.workloads[plan.name].priority == level.priority
        ]
        n_periods = max(1, len(claims.layout.periods))
        demand = sum(rps for rps, _ in alike) / n_periods
        carried = sum(rps * fraction for rps, fraction in alike) / n_periods
        for what, claimed, true in (("demand", level.demand_rps, demand), ("served", level.served_rps, carried)):
            if not agree(claimed, true):
                name = f"priority {level.priority}: {what}_rps"
                yield f"{name} is {number(claimed)}, its workloads add up to {number(true)}"
        if exceeds(level.served_rps, level.bound_rps):
            yield (
                f"priority {level.priority}: bound_rps {number(level.bound_rps)} is below "
                f"served_rps {number(level.served_rps)}: a plan cannot beat its bound"
            )


def _futures(claims: Claims) -> Iterator[tuple[str | None, Scenario]]:
    """The scenario as demand may turn out, by name; as it is where that is certain."""
    names: list[str | None] = [*claims.scenario.demand_scenarios] or [None]
    yield from zip(names, futures_of(claims.scenario), strict=True)


def _load(name: str, workload: Workload, group: ReplicaGroup, max_utilization: float) -> Iterator[str]:
    """load_rps, utilization and capacity_rps follow from class_rps, rate_rps and replicas.

    Classes time-share a replica: utilization = Σ_r load_r / rate_r ÷ replicas, and the group's capacity at the mix it
    serves is load / utilization.
    """
    classes = {one.name for one in workload.request_classes}
    for key, values in (("class_rps", group.class_rps), ("rate_rps", group.rate_rps)):
        if unknown := sorted(values.keys() - classes):
            yield f"{name}: {key} names {', '.join(unknown)}, which is no class of the workload"
        if lacking := sorted(classes - values.keys()):
            yield f"{name}: {key} lacks {', '.join(lacking)}"
        for one, rps in values.items():
            if not 0 <= rps < float("inf"):
                yield f"{name}: {key} of {one} is {rps}, expected 0 or more"
    busy = 0.0
    for one, rps in group.class_rps.items():
        rate = group.rate_rps.get(one, 0.0)
        if rps > NOTHING and not rate > 0:
            yield f"{name}: {number(rps)} requests/s of class {one} are sent to replicas that cannot serve it"
            return
        busy += rps / rate if rate > 0 else 0.0
    load = sum(group.class_rps.values())
    if not agree(group.load_rps, load):
        yield f"{name}: load_rps is {number(group.load_rps)}, its class_rps add up to {number(load)}"
    if group.replicas < 1:
        return  # said where machines are checked
    utilization = busy / group.replicas
    if not agree(group.utilization, utilization):
        yield f"{name}: utilization is {number(group.utilization)}, load / rate / replicas is {number(utilization)}"
    if exceeds(utilization, max_utilization):
        yield f"{name}: replicas are busy for {number(utilization)}, max_utilization is {number(max_utilization)}"
    if utilization > 0 and not agree(group.capacity_rps, load / utilization):
        capacity = load / utilization
        yield f"{name}: capacity_rps is {number(group.capacity_rps)}, load / utilization is {number(capacity)}"
