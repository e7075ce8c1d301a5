"""What a plan takes for granted, in sentences a buyer can check."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from catalog import Catalog
from optimizer.checkpoints import checkpoint_of
from optimizer.formulation import HOST_SHARE_OTHER, HOST_SHARE_SXM
from optimizer.layout import Drafts, PeriodPlan, PipelineStage, ReplicaGroup, Servers
from optimizer.performance.bands import POINT_ESTIMATE
from optimizer.scenario import Failures, Offer, Scenario, Spot
from optimizer.scenario.quantities import RATIO
from optimizer.scenario.traffic import POISSON_CV


def assumptions(scenario: Scenario, catalog: Catalog, periods: Sequence[PeriodPlan]) -> tuple[str, ...]:
    """Of what was predicted, converted, priced and powered in this plan; each said once."""
    servers = [row for period in periods for row in period.servers]
    workloads = [plan for period in periods for plan in period.workloads]
    away = [
        f"{plan.name} is reached over {figure:g} ms to {group.offer}, which its ttft and e2e targets leave time for"
        for plan in workloads
        for group in plan.replica_groups
        if (figure := scenario.round_trip_ms(scenario.workloads[plan.name], scenario.inventory[group.offer]))
    ]
    groups = [group for plan in workloads for group in plan.replica_groups if group.model is not None]
    of_servers = _of_servers(scenario, catalog, servers)
    return tuple(dict.fromkeys((*_of_predictions(scenario, catalog, groups), *away, *of_servers)))


def _of_predictions(scenario: Scenario, catalog: Catalog, groups: Sequence[ReplicaGroup]) -> Iterator[str]:
    if not groups:
        return
    sources = ", ".join(sorted({group.source for group in groups}))
    share = f"{scenario.max_utilization_fraction:.0%}"
    bursty = {name: w.arrival_cv for name, w in scenario.workloads.items() if w.arrival_cv != POISSON_CV}
    predicted = sum(workload.measured is None for workload in scenario.workloads.values())
    evenly = "as stated" if len(bursty) == predicted else "at random (Poisson)"
    yield (
        f"rates and latencies are predicted ({sources}): the largest rate at which one replica holds its targets when "
        f"requests arrive {evenly}, of which {share} is planned on; latencies are those at that rate"
    )
    for name, cv in bursty.items():
        yield f"{name}: requests come to each replica in bursts, with gaps of cv {cv:g} (1 = at random)"
    for group in groups:
        if group.speculative is not None:
            yield _drafts(group, group.speculative)
    for group in groups:
        if group.stages is not None:
            yield from _pipeline(group, group.stages, catalog)
    if scenario.confidence_fraction not in (None, POINT_ESTIMATE):
        yield (
            f"planned on rates and latencies that {scenario.confidence_fraction:.1%} of measurements were better than, "
            "by the errors of past predictions; measured replicas are planned on as they were measured"
        )
    yield from _of_checkpoints(scenario, catalog, groups)
    if lossy := _named(group for group in groups if group.quality is not None and group.quality < 1):
        yield f"the quality of {lossy} is a benchmark average relative to bf16, not measured on your task"


def _of_checkpoints(scenario: Scenario, catalog: Catalog, groups: Sequence[ReplicaGroup]) -> Iterator[str]:
    """Where weights come from that are not the model as its makers publish it."""
    unknown, made = [], []
    for group in groups:
        model, engine = catalog.models[str(group.model)], catalog.engines[str(group.engine)]
        found = checkpoint_of(model, str(group.weight_dtype), engine, scenario)
        if found is None:
            unknown.append(group)
        elif found.is_quantized:
            made.append(group)
        elif found.repository != group.model:
            yield f"{_named([group])} is loaded from {found.repository}"
    if made:
        yield f"the engine itself quantizes {_named(made)} while it loads the 16-bit weights"
    if unknown:
        yield f"no checkpoint of {_named(unknown)} is known: one must be made, or named under `models` of the scenario"


def _named(groups: Iterable[ReplicaGroup]) -> str:
    return ", ".join(sorted({f"{group.model} in {group.weight_dtype}" for group in groups}))


def _pipeline(group: ReplicaGroup, stages: Sequence[PipelineStage], catalog: Catalog) -> Iterator[str]:
    cards = " and ".join(dict.fromkeys(stage.gpu for stage in stages))
    in_turn = catalog.engines[str(group.engine)].stages_take_turns
    pace = "passes its stages one after the other" if in_turn else "runs at the pace of its slowest stage"
    yield (
        f"{group.model} over stages on {cards} {pace}, prompts too, and hands over "
        "through the slowest network among its offers; no measurement of such pipelines went into the prediction"
    )
    if len({stage.weight_dtype for stage in stages}) > 1:
        yield (
            f"{group.model} in {group.weight_dtype}, layer by layer: its quality is the mean over layers, an estimate, "
            "for not every layer loses alike"
        )


def _drafts(group: ReplicaGroup, drafts: Drafts) -> str:
    known = "as published, not seen on your requests" if drafts.estimated else "as stated"
    return (
        f"{group.model} drafts {drafts.tokens} tokens a step by {drafts.method}, each accepted with "
        f"{drafts.acceptance_fraction:.0%} ({known}); no measurement of drafts went into the prediction or its band"
    )


def _of_servers(scenario: Scenario, catalog: Catalog, servers: Sequence[Servers]) -> Iterator[str]:
    for row in servers:
        offer = scenario.inventory[row.offer]
        if row.term in ("rent", "reserve", "spot") and offer.price_source:
            yield f"{row.offer}: {offer.price_source}"
        if row.term in ("own", "buy") and offer.power_kw_per_server is None and _power_matters(scenario):
            sxm = catalog.gpus[offer.gpu].form_factor == "sxm"
            host_share, how = (HOST_SHARE_SXM, "as in a DGX H100") if sxm else (HOST_SHARE_OTHER, "an estimate")
            yield f"{row.offer}: the host draws {host_share:.0%} of its GPUs' rated power ({how}); `power` replaces it"
        if row.term in ("own", "buy") and not (
            scenario.facility.power_price_usd_per_kwh or scenario.facility.opex_usd_per_server_month
        ):
            yield f"{row.offer}: costs nothing to run, as `facility` states neither power_price nor opex"
        if row.term == "spot" and offer.spot is not None:
            yield f"{row.offer}: {_spares(offer.spot)}"
        if row.term != "spot" and offer.failures is not None:
            yield f"{row.offer}: {_failures(offer.failures)}"
        if row.term == "buy" and scenario.periods == 1 and (months := _lead_time_months(offer)):
            yield f"{row.offer}: bought servers arrive {months:g} months after the order; the plan starts with them"


def _spares(spot: Spot) -> str:
    if spot.interruptions_per_hour is None:
        return "how often spot servers are taken away is not stated, so no spares are planned; `interruption` does it"
    return (
        f"spot servers are taken away {spot.interruptions_per_hour:.3g} times an hour and another serves "
        f"{spot.recovery_hours:.3g} h later; {RATIO.text(spot.availability_fraction)} of the time the spares are enough"
    )


def _failures(failures: Failures) -> str:
    return (
        f"a server fails every {failures.mtbf_hours:,.4g} h and serves again {failures.repair_hours:.3g} h later, each "
        f"independently; {RATIO.text(failures.availability_fraction)} of the time no more are down than stand by"
    )


def _power_matters(scenario: Scenario) -> bool:
    return bool(scenario.facility.power_price_usd_per_kwh) or scenario.facility.power_cap_kw is not None


def _lead_time_months(offer: Offer) -> float:
    return (offer.buy.lead_time_months if offer.buy else None) or 0.0
