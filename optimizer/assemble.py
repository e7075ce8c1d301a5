"""A layout from a decision: groups with their figures, placed on servers, with what they cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from catalog import Catalog
from catalog.units import HOURS_PER_MONTH
from optimizer.candidates import Candidates, Ratings, ReplicaFigures, ReplicaSpec, replica_figures
from optimizer.candidates.ratings import figures_key, shared_key
from optimizer.formulation import Instance, Orders
from optimizer.layout import (
    Commitment,
    Cost,
    Drafts,
    FuturePlan,
    PeriodPlan,
    PipelineStage,
    Placement,
    Purchase,
    ReplicaGroup,
    Servers,
    WorkloadPlan,
)
from optimizer.placed import placements_of
from optimizer.scenario import Scenario, Speculation, Workload, futures_of
from optimizer.serving_config import FloatArray, IntArray
from optimizer.solve import Decision, fewest_orders, fewest_terms, standing_by


@dataclass(frozen=True, slots=True)
class Assembled:
    """The parts of a layout that a decision determines."""

    periods: tuple[PeriodPlan, ...]
    """Of the likeliest future, where there are several."""
    futures: tuple[FuturePlan, ...]
    cost: Cost
    """What is expected."""
    extrapolated: Mapping[str, tuple[str, ...]]
    """Workload -> in what its figures go beyond what the performance model was fitted on."""


@dataclass(frozen=True, slots=True)
class _Fleet:
    """What servers there are."""

    n_servers: IntArray  # [H] that run something or stand by
    n_spares: IntArray  # [H] beyond them, for spot servers that are taken away
    n_stand_by: IntArray  # [H] of n_servers
    n_ordered: IntArray  # [O]


def assemble(
    scenario: Scenario,
    catalog: Catalog,
    candidates: Sequence[Candidates],
    inst: Instance,
    decision: Decision,
    bound_usd_per_hour: float,
    ratings: Ratings | None = None,
) -> Assembled:
    """Futures and periods in order; groups in that of workloads and candidates, servers in that of offers and terms.

    `inst` asks for what is served, which may be less than the scenario asks for. `ratings` keeps the figures shown.
    """
    specs = [spec for c in candidates for spec in c.specs] * inst.horizon.n_states
    placements, needed = placements_of(inst, specs, decision)
    n_servers = fewest_terms(inst, decision.n_servers, needed)
    fleet = _Fleet(
        n_servers=n_servers,
        n_spares=inst.spot.all_needed(n_servers),
        n_stand_by=standing_by(inst, n_servers, needed),
        n_ordered=fewest_orders(inst, decision.n_ordered, n_servers),
    )
    workloads, extrapolated = _workloads(scenario, catalog, candidates, inst, decision, placements, ratings)
    offers = list(scenario.inventory)
    states = [
        PeriodPlan(
            period=t + 1,
            starts_month=t * inst.horizon.period_months,
            months=inst.horizon.period_months,
            servers=_servers(scenario, inst, state, fleet),
            workloads=workloads[state],
            purchases=_purchases(inst.orders, offers, t, fleet.n_ordered),
            commitments=_commitments(inst.orders, offers, t, fleet.n_ordered),
        )
        for state in range(inst.horizon.n_states)
        for t in (inst.horizon.period_of(state),)
    ]
    n_periods = inst.horizon.n_periods
    periods = [tuple(states[first : first + n_periods]) for first in range(0, len(states), n_periods)]
    capex_usd = float(inst.capex_usd @ n_servers + inst.orders.capex_usd @ fleet.n_ordered)
    # Summed server by server: a plan that only rents costs exactly the sum of what is rented.
    of_term = (n_servers + fleet.n_spares) * inst.usd_per_hour
    of_orders = float(inst.orders.usd_per_hour @ fleet.n_ordered)
    futures = _futures(inst, periods, of_term, of_orders)
    cost = _cost(float(sum(of_term)) + of_orders, capex_usd, bound_usd_per_hour, scenario.horizon_months)
    return Assembled(periods[int(np.argmax(inst.horizon.probabilities))], futures, cost, extrapolated)


def _futures(
    inst: Instance, periods: Sequence[tuple[PeriodPlan, ...]], of_term: FloatArray, of_orders: float
) -> tuple[FuturePlan, ...]:
    """What each future costs if it comes; `of_term` [H] is what terms add to the expected dollars an hour."""
    horizon = inst.horizon
    future = np.array([horizon.future_of(term.state) for term in inst.terms], np.int64)
    usd_per_hour = np.bincount(future, of_term, minlength=horizon.n_futures) / horizon.probabilities + of_orders
    return tuple(
        FuturePlan(name=name, probability=probability, usd_per_hour=float(usd), periods=plans)
        for name, probability, usd, plans in zip(
            horizon.future_names, horizon.probabilities, usd_per_hour, periods, strict=False
        )
    )


def _workloads(
    scenario: Scenario,
    catalog: Catalog,
    candidates: Sequence[Candidates],
    inst: Instance,
    decision: Decision,
    placements: Mapping[int, tuple[Placement, ...]],
    ratings: Ratings | None,
) -> tuple[list[tuple[WorkloadPlan, ...]], dict[str, tuple[str, ...]]]:
    """How workloads are served in each state, and in what their figures go beyond what was measured."""
    load_rps = _loads(inst, decision)
    n_asked = len(candidates) * inst.horizon.n_states
    futures = futures_of(scenario)
    planned_rps = np.bincount(inst.workload_of_demand, inst.demand_rps, minlength=n_asked)
    offers, used = list(scenario.inventory), _used(candidates, decision)
    figures = _figures(scenario, catalog, candidates, used, ratings)
    groups: dict[int, list[ReplicaGroup]] = {}
    for k, asked, i in used:
        c = candidates[asked % len(candidates)]
        names = [r.name for r in scenario.workloads[c.workload].request_classes]
        groups.setdefault(asked, []).append(
            _group(
                spec=c.specs[i],
                offer=offers[int(c.offer[i])],
                figures=figures.get((asked % len(candidates), i)),
                load_rps={name: load_rps.get((k, r), 0.0) for r, name in enumerate(names)},
                rate_rps=dict(zip(names, c.rate_rps[i].tolist(), strict=True)),
                placements=placements[k],
            )
        )
    states: list[tuple[WorkloadPlan, ...]] = []
    for state in range(inst.horizon.n_states):
        workloads, period = futures[inst.horizon.future_of(state)].workloads, inst.horizon.period_of(state)
        plans = []
        for asked, c in enumerate(candidates, start=state * len(candidates)):
            asked_rps, served_rps = workloads[c.workload].demand_in(period), float(planned_rps[asked])
            plans.append(
                WorkloadPlan(
                    name=c.workload,
                    demand_rps=asked_rps,
                    served_fraction=1.0 if math.isclose(served_rps, asked_rps) else served_rps / asked_rps,
                    replica_groups=tuple(groups.get(asked, ())),
                )
            )
        states.append(tuple(plans))
    return states, _departures(candidates, figures)


def _used(candidates: Sequence[Candidates], decision: Decision) -> list[tuple[int, int, int]]:
    """(candidate k, state and workload counted through, candidate of its workload) of what has replicas."""
    ends = np.cumsum([len(c.specs) for c in candidates])
    used = np.flatnonzero(decision.n_replicas)
    state, here = np.divmod(used, int(ends[-1]))
    workload = np.searchsorted(ends, here, side="right")
    of_workload = here - np.concatenate([[0], ends])[workload]
    asked = state * len(candidates) + workload
    return list(zip(used.tolist(), asked.tolist(), of_workload.tolist(), strict=True))


def _figures(
    scenario: Scenario,
    catalog: Catalog,
    candidates: Sequence[Candidates],
    used: Sequence[tuple[int, int, int]],
    ratings: Ratings | None,
) -> dict[tuple[int, int], ReplicaFigures]:
    """(workload, its candidate) -> figures, of the predicted ones in use; computed together, or remembered."""
    offers = list(scenario.inventory.values())
    asked: dict[tuple[int, int], tuple[ReplicaSpec, Workload]] = {}
    for _, of_state, i in used:
        w = of_state % len(candidates)
        spec = candidates[w].specs[i]
        if spec.model is not None:
            workload, offer = scenario.workloads[candidates[w].workload], offers[int(candidates[w].offer[i])]
            asked[w, i] = (spec, workload.with_network(scenario.round_trip_ms(workload, offer)))
    if ratings is None:
        return dict(zip(asked, replica_figures(list(asked.values()), catalog), strict=True))
    shared, kept = shared_key(scenario, catalog), ratings.figures

    def remembered(spec: ReplicaSpec, workload: Workload) -> ReplicaFigures:
        return kept.get(figures_key(shared, workload, spec), lambda: replica_figures([(spec, workload)], catalog)[0])

    return {key: remembered(*one) for key, one in asked.items()}


def _departures(
    candidates: Sequence[Candidates], figures: Mapping[tuple[int, int], ReplicaFigures]
) -> dict[str, tuple[str, ...]]:
    """Workload -> in what the figures [workload, candidate] go beyond what was measured; absent = in nothing."""
    departures: dict[str, tuple[str, ...]] = {}
    for (w, _), found in sorted(figures.items(), key=lambda item: item[0]):
        if found.extrapolated:
            name = candidates[w].workload
            departures[name] = tuple(dict.fromkeys((*departures.get(name, ()), *found.extrapolated)))
    return departures


def _servers(scenario: Scenario, inst: Instance, state: int, fleet: _Fleet) -> tuple[Servers, ...]:
    """Servers in service in a state: those that run something, spares, and what was ordered and is not needed."""
    n_offers, orders, rows = len(scenario.inventory), inst.orders, []
    serves = orders.serves(inst.horizon.period_of(state))
    for h, term in enumerate(inst.terms):
        if term.state != state:
            continue
        more = int(fleet.n_spares[h])
        if term.term in ("buy", "reserve") and len(fleet.n_ordered):
            here = serves & (orders.offer == inst.offer_of_term[h] % n_offers)
            here &= np.array([months == term.term_months for months in orders.term_months], bool)
            more = int(fleet.n_ordered[here].sum() - fleet.n_servers[h])
        if count := int(fleet.n_servers[h]) + more:
            offer = scenario.inventory[term.offer]
            rows.append(
                Servers(
                    offer=term.offer,
                    term=term.term,
                    gpu=offer.gpu,
                    gpus_per_server=offer.gpus_per_server,
                    term_months=term.term_months,
                    count=count,
                    idle=more + int(fleet.n_stand_by[h]),
                    stand_by=int(fleet.n_stand_by[h]),
                    usd_per_hour=term.usd_per_hour,
                )
            )
    return tuple(rows)


def _purchases(orders: Orders, offers: Sequence[str], period: int, n_ordered: IntArray) -> tuple[Purchase, ...]:
    return tuple(
        Purchase(
            offer=offers[orders.offer[o]],
            count=int(n_ordered[o]),
            usd=float(n_ordered[o] * orders.usd[o]),
            arrives=int(orders.first[o]) + 1,
        )
        for o in np.flatnonzero(n_ordered)
        if orders.period[o] == period and orders.term_months[o] is None
    )


def _commitments(orders: Orders, offers: Sequence[str], period: int, n_ordered: IntArray) -> tuple[Commitment, ...]:
    return tuple(
        Commitment(
            offer=offers[orders.offer[o]],
            term_months=months,
            terms=int(orders.terms[o]),
            count=int(n_ordered[o]),
            usd=float(n_ordered[o] * orders.usd[o]),
        )
        for o in np.flatnonzero(n_ordered)
        if orders.period[o] == period and (months := orders.term_months[o]) is not None
    )


def _loads(inst: Instance, decision: Decision) -> dict[tuple[int, int], float]:
    """(candidate, class of its workload) -> requests/s, where there are any."""
    carried = np.flatnonzero(decision.load_share)
    demand = inst.demand_of_load[carried]
    rps = (decision.load_share[carried] * inst.demand_rps[demand]).tolist()
    candidate, of_class = inst.candidate_of_load[carried].tolist(), inst.class_of_demand[demand].tolist()
    return {(k, r): load for k, r, load in zip(candidate, of_class, rps, strict=True)}


def _group(
    *,
    spec: ReplicaSpec,
    offer: str,
    figures: ReplicaFigures | None,
    load_rps: dict[str, float],
    rate_rps: dict[str, float],
    placements: Sequence[Placement],
) -> ReplicaGroup:
    total_rps = sum(load_rps.values())
    busy = sum(rps / rate_rps[name] for name, rps in load_rps.items() if rps > 0)
    return ReplicaGroup(
        offer=offer,
        gpu=spec.gpu,
        gpus_per_replica=spec.gpus,
        replicas=len(placements),
        model=spec.model,
        weight_dtype=spec.weight_dtype,
        kv_cache_dtype=spec.kv_cache_dtype,
        engine=spec.engine,
        engine_version=figures.engine_version if figures else None,
        tp=spec.tp,
        pp=spec.pp,
        dp=spec.dp,
        ep=spec.ep,
        max_batch_size=spec.max_batch_size,
        max_model_len=spec.max_model_len,
        max_num_batched_tokens=figures.max_num_batched_tokens if figures else None,
        gpu_memory_utilization=figures.gpu_memory_utilization if figures else None,
        speculative=None if spec.speculation is None else _drafts(spec.speculation),
        load_rps=total_rps,
        capacity_rps=total_rps / busy * len(placements),
        utilization=busy / len(placements),
        class_rps=load_rps,
        rate_rps=rate_rps,
        placement=tuple(placements),
        ttft_ms=figures.ttft_ms if figures else None,
        tpot_ms=figures.tpot_ms if figures else None,
        e2e_ms=figures.e2e_ms if figures else None,
        ttft_interval_ms=figures.ttft_interval_ms if figures else None,
        tpot_interval_ms=figures.tpot_interval_ms if figures else None,
        extrapolated=figures.extrapolated if figures else (),
        quality=figures.quality_fraction if figures else None,
        memory=figures.memory if figures else None,
        limit=spec.limit,
        source=figures.source if figures else "measured",
        stages=_pipeline(spec, figures) if figures and spec.stages else None,
    )


def _pipeline(spec: ReplicaSpec, figures: ReplicaFigures) -> tuple[PipelineStage, ...]:
    return tuple(
        PipelineStage(
            offer=stage.offer,
            gpu=stage.gpu,
            tp=spec.gpus // len(spec.stages),
            layers=(stage.first_layer, stage.last_layer),
            weight_dtype=stage.weight_dtype,
            memory=memory,
        )
        for stage, memory in zip(spec.stages, figures.of_stages, strict=True)
    )


def _drafts(speculation: Speculation) -> Drafts:
    return Drafts(
        method=speculation.method,
        tokens=speculation.tokens,
        acceptance_fraction=speculation.likely_fraction,
        estimated=speculation.acceptance_fraction is None,
        draft=speculation.draft,
    )


def _cost(usd_per_hour: float, capex_usd: float, bound_usd_per_hour: float, horizon_months: float) -> Cost:
    usd_per_month = usd_per_hour * HOURS_PER_MONTH
    return Cost(
        usd_per_hour=usd_per_hour,
        usd_per_month=usd_per_month,
        usd_over_horizon=usd_per_month * horizon_months,
        capex_usd=capex_usd,
        bound_usd_per_hour=min(bound_usd_per_hour, usd_per_hour),
    )
