"""A plan under traffic: its workloads' requests drawn, routed over its replica groups, and served step by step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from catalog import Catalog
from catalog.units import MS_PER_S
from optimizer.candidates import linked_spec, token_mix
from optimizer.errors import Fault, InputError, Location
from optimizer.layout import Layout, ReplicaGroup, WorkloadPlan
from optimizer.memory import replica_memory
from optimizer.performance import Statistic
from optimizer.scenario import Scenario, Workload
from optimizer.scenario.traces import TraceError, read_trace
from optimizer.scenario.traffic import BURSTY_CV, POISSON_CV, ArrivalProcess
from optimizer.serving_config import (
    FloatArray,
    IntArray,
    drafter_of,
    links_on,
    one_configuration,
    sequences_per_rank,
)
from optimizer.simulation.arrivals import arrival_times_ms, scaled_to
from optimizer.simulation.attainment import Attainment, attainment
from optimizer.simulation.outcome import Outcome, SimulatedMetric
from optimizer.simulation.pipeline import pipeline_replica
from optimizer.simulation.replica import SimulatedReplica, simulated_replica
from optimizer.simulation.requests import Requests, TokenSizes
from optimizer.simulation.routing import joined, split_at_random, to_least_loaded

DURATION_S = 900.0
WARM_UP_FRACTION = 0.2
"""Of the duration, at its start: left out, as the replicas begin empty."""
MOST_REQUESTS = 20_000_000
"""Of a workload, as their times and sizes are held in memory."""
MOST_REPLICAS = 8
"""Of a group that are simulated; the others are alike."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What arrives."""

    arrivals: ArrivalProcess | None = None
    """None = as the scenario says of each workload, of which a trace gives rate and cv."""
    cv: float | None = None
    """Of the gaps between bursty arrivals; None = `BURSTY_CV`."""
    rate_rps: Mapping[str, float] | None = None
    """Workload -> requests/s of all its classes, instead of what was planned for."""
    trace: FloatArray | None = None
    """[n, 3] arrived at (s), input and output tokens, for arrivals "trace"."""
    duration_s: float = DURATION_S
    seed: int = 0

    def cv_of(self, workload: Workload) -> float | None:
        """Coefficient of variation of the gaps between a workload's requests; None where a trace is replayed."""
        if self.arrivals is None:
            return workload.arrival_cv
        return {"poisson": POISSON_CV, "bursty": self.cv or BURSTY_CV}.get(self.arrivals)


@dataclass(frozen=True, slots=True)
class ClassOutcome:
    """The requests of one class that arrived after the warm-up."""

    name: str
    requests: int
    statistics: Mapping[SimulatedMetric, Mapping[Statistic, float]]
    """Of TTFT, TPOT and E2E, ms; ITL is that of the workload."""
    targets: tuple[Attainment, ...]


@dataclass(frozen=True, slots=True)
class WorkloadOutcome:
    """One workload under traffic."""

    name: str
    when: str
    """The period, and the future, where there are several: that in which its replicas are busiest."""
    rate_rps: float
    """Offered to all replicas together."""
    arrival_cv: float | None
    """Of the gaps between them; None where a trace was replayed."""
    replicas: int
    simulated: int
    """Of them; the others are alike, and get requests of their own."""
    classes: tuple[ClassOutcome, ...]
    """One named `all` stands first where there are several."""
    itl_ms: Mapping[Statistic, float]
    preemptions: int
    refused: int
    """Requests longer than the replicas accept; only a trace has them."""
    ttft_p95_ms: float
    """Of all classes together, every request sent to a replica of its group at random."""
    pooled_ttft_p95_ms: float
    """With every request sent to the least loaded replica of its group instead."""

    @property
    def missed(self) -> tuple[Attainment, ...]:
        """Targets that are missed beyond what chance explains."""
        return tuple(target for one in self.classes for target in one.targets if target.missed)


@dataclass(frozen=True, slots=True)
class PlanOutcome:
    """A plan under traffic."""

    traffic: Traffic
    workloads: tuple[WorkloadOutcome, ...]
    not_simulated: Mapping[str, str]
    """Workload -> why not: of the steps of measured replicas nothing is known; or no request was seen."""

    @property
    def holds(self) -> bool:
        """No target is missed beyond what chance explains."""
        return not any(one.missed for one in self.workloads)


def simulate_plan(layout: Layout, scenario: Scenario, catalog: Catalog, traffic: Traffic) -> PlanOutcome:
    """Every workload of a plan whose replicas were predicted; the same seed gives the same outcome.

    Groups get their share of every class by the plan's `class_rps`, and a replica of a group is chosen at random. Over
    several periods each workload is seen in the one in which it is busiest.
    InputError when the traffic and the plan do not go together.
    """
    if layout.cost is None:
        raise InputError(f"{layout.scenario}: there is no plan to simulate; its status is {layout.status}")
    outcomes: list[WorkloadOutcome] = []
    not_simulated: dict[str, str] = {}
    for when, plan in busiest(layout):
        if any(group.model is None for group in plan.replica_groups):
            not_simulated[plan.name] = "its replicas were measured, not predicted"
            continue
        rng = np.random.default_rng([traffic.seed, len(outcomes)])
        outcome = SimulatedWorkload(plan, scenario, catalog).under(traffic, rng, when)
        if not any(one.requests for one in outcome.classes):
            not_simulated[plan.name] = f"none of its requests is seen in {traffic.duration_s:g} s; simulate longer"
            continue
        outcomes.append(outcome)
    return PlanOutcome(traffic, tuple(outcomes), not_simulated)


def busiest(layout: Layout) -> Iterator[tuple[str, WorkloadPlan]]:
    """Every workload that is served, where its replicas are busiest: `period 3`, `high, period 3`, or "" of one state.

    Rates hold latencies up to full use, so that where a workload is busiest it is slowest.
    """
    spans: list[tuple[str, tuple[WorkloadPlan, ...]]] = [
        (f"{future.name}, period {one.period}", one.workloads) for future in layout.futures for one in future.periods
    ]
    spans = spans or [(f"period {one.period}", one.workloads) for one in layout.periods] or [("", layout.workloads)]
    for name in dict.fromkeys(plan.name for _, plans in spans for plan in plans):
        found = [
            (max(group.utilization for group in plan.replica_groups), when, plan)
            for when, plans in spans
            for plan in plans
            if plan.name == name and plan.replica_groups
        ]
        if found:
            _, when, plan = max(found, key=lambda one: one[0])
            yield when, plan


def traffic_of(
    layout: Layout,
    *,
    arrivals: ArrivalProcess | None,
    cv: float | None,
    rate_rps: float | None,
    trace: Path | None,
    duration_s: float,
    seed: int,
) -> Traffic:
    """The traffic that was asked for; InputError when the parts do not go together.

    A rate and a trace are those of one workload, so that a plan with several cannot tell whose.
    """
    chosen: ArrivalProcess | None = arrivals or ("trace" if trace is not None else None)
    names = [plan.name for _, plan in busiest(layout)]
    faults = []
    if duration_s <= 0:
        faults.append("--duration must be more than 0s")
    if rate_rps is not None and rate_rps <= 0:
        faults.append("--rate must be more than 0/s")
    if chosen == "trace" and trace is None:
        faults.append("arrivals of a trace need --trace FILE")
    if chosen != "trace" and trace is not None:
        faults.append(f"--trace goes with --arrivals trace, not with {chosen}")
    if cv is not None and chosen != "bursty":
        faults.append(f"--cv goes with --arrivals bursty, not with {chosen or 'those of the scenario'}")
    if (rate_rps is not None or trace is not None) and len(names) != 1:
        faults.append(f"--rate and --trace are those of one workload; this plan has {len(names)}: {', '.join(names)}")
    if faults:
        raise InputError([Fault(fault) for fault in faults])
    try:
        table = read_trace(trace) if trace is not None else None
    except TraceError as error:
        raise InputError([Fault(fault, Location(str(trace))) for fault in error.faults]) from None
    if table is not None and (len(table) < 2 or np.ptp(table[:, 0]) <= 0):
        raise InputError([Fault("at least two requests at different times are needed", Location(str(trace)))])
    rates = {names[0]: rate_rps} if rate_rps is not None else None
    if table is not None:
        duration_s = min(duration_s, _length_s(table[:, 0], rate_rps))
    return Traffic(chosen, cv, rates, table, duration_s, seed)


def _length_s(arrived_s: FloatArray, rate_rps: float | None) -> float:
    """Time that a trace takes, one gap after its last request included; at a rate of its own, or the one asked for."""
    recorded_s = float(np.ptp(arrived_s)) * len(arrived_s) / (len(arrived_s) - 1)
    return recorded_s if rate_rps is None else len(arrived_s) / rate_rps


@dataclass(frozen=True, slots=True)
class Share:
    """What one replica group gets of a workload's requests."""

    replica: SimulatedReplica
    rows: IntArray  # [m] of the workload's requests, ascending
    to_replica: IntArray  # [m]
    replicas: int

    def at_random(self, requests: Requests) -> list[tuple[IntArray, Outcome]]:
        """Rows and outcome of each replica, by the choice that was made."""
        return split_at_random(self.replica, requests.take(self.rows), self.to_replica, self.replicas)

    def to_least_loaded(self, requests: Requests) -> list[tuple[IntArray, Outcome]]:
        """The same with every request sent to the replica that has the fewest."""
        return to_least_loaded(self.replica, requests.take(self.rows), self.replicas)


class SimulatedWorkload:
    """One workload of a plan, ready to be simulated."""

    def __init__(self, plan: WorkloadPlan, scenario: Scenario, catalog: Catalog) -> None:
        self.plan, self.workload = plan, scenario.workloads[plan.name]
        self.groups = plan.replica_groups
        self.classes = [one.name for one in self.workload.request_classes]
        self.replicas = [group_replica(group, self.workload, scenario, catalog) for group in self.groups]
        self.planned_rps = np.array([[group.class_rps.get(one, 0.0) for one in self.classes] for group in self.groups])

    def under(self, traffic: Traffic, rng: np.random.Generator, when: str) -> WorkloadOutcome:
        """What its requests see."""
        requests, refused = self.requests(traffic, rng)
        shares = self.shares_of(requests, rng)
        spread = [part for share in shares for part in share.at_random(requests)]
        pooled = [part for share in shares for part in share.to_least_loaded(requests)]
        begin_ms = traffic.duration_s * WARM_UP_FRACTION * MS_PER_S
        seen, crowded = (after(begin_ms, joined(parts)[1]) for parts in (spread, pooled))
        return WorkloadOutcome(
            name=self.plan.name,
            when=when,
            rate_rps=len(requests) / traffic.duration_s,
            arrival_cv=traffic.cv_of(self.workload),
            replicas=sum(group.replicas for group in self.groups),
            simulated=sum(min(group.replicas, MOST_REPLICAS) for group in self.groups),
            classes=tuple(self.classes_of(seen)),
            itl_ms=seen.statistics()["itl"],
            preemptions=seen.preemptions,
            refused=refused,
            ttft_p95_ms=seen.statistics()["ttft"]["p95"],
            pooled_ttft_p95_ms=crowded.statistics()["ttft"]["p95"],
        )

    def shares_of(self, requests: Requests, rng: np.random.Generator) -> list[Share]:
        """What each group gets, by the plan's `class_rps`, and each of its replicas, at random."""
        by_class = self.planned_rps / np.maximum(self.planned_rps.sum(axis=0), 1e-12)  # [groups, R]
        to_group = _choice(by_class.T[requests.of_class], rng)
        shares = []
        for index, (group, replica) in enumerate(zip(self.groups, self.replicas, strict=True)):
            simulated = min(group.replicas, MOST_REPLICAS)
            to_replica = rng.integers(group.replicas, size=len(requests))
            rows = np.flatnonzero((to_group == index) & (to_replica < simulated))
            shares.append(Share(replica, rows, to_replica[rows], simulated))
        return shares

    def requests(self, traffic: Traffic, rng: np.random.Generator) -> tuple[Requests, int]:
        """The requests of the whole workload, and how many were too long for its replicas."""
        planned_rps = float(self.planned_rps.sum())
        asked_rps = (traffic.rate_rps or {}).get(self.plan.name)
        longest = min(int(group.max_model_len or 0) for group in self.groups)
        cv = traffic.cv_of(self.workload)
        if cv is None:
            return self._of_trace(traffic, asked_rps, longest)
        rate_rps = planned_rps if asked_rps is None else asked_rps
        if rate_rps * traffic.duration_s > MOST_REQUESTS:
            raise InputError(
                f"{self.plan.name}: {rate_rps:,.4g} requests/s for {traffic.duration_s:,.4g} s are more than the "
                f"{MOST_REQUESTS:,} that are simulated; ask for {MOST_REQUESTS / rate_rps:,.3g} s at the most"
            )
        arrived_ms = arrival_times_ms(rate_rps, traffic.duration_s, rng, cv=cv)
        sizes = [
            TokenSizes(
                one.input_tokens * float(np.exp(-(one.input_sigma**2) / 2.0)), one.input_sigma,
                one.output_tokens * float(np.exp(-(one.output_sigma**2) / 2.0)), one.output_sigma,
            )
            for one in self.workload.request_classes
        ]  # fmt: skip
        return Requests.drawn(arrived_ms, self.planned_rps.sum(axis=0), sizes, longest, rng), 0

    def _of_trace(self, traffic: Traffic, asked_rps: float | None, longest_tokens: int) -> tuple[Requests, int]:
        """The recorded requests, as often as they fit into the duration; each of the class nearest in size."""
        assert traffic.trace is not None
        trace = traffic.trace[np.argsort(traffic.trace[:, 0], kind="stable")]
        sizes = np.maximum(trace[:, 1:], 1.0).astype(np.int64)
        arrived_ms = trace[:, 0] * MS_PER_S - trace[0, 0] * MS_PER_S
        if asked_rps is not None:
            arrived_ms = scaled_to(asked_rps, arrived_ms)
        kept = (arrived_ms < traffic.duration_s * MS_PER_S) & (sizes.sum(axis=1) <= longest_tokens)
        refused = int((arrived_ms < traffic.duration_s * MS_PER_S).sum() - kept.sum())
        centres = np.log([[one.input_tokens, one.output_tokens] for one in self.workload.request_classes])
        distance = ((np.log(sizes[kept])[:, None, :] - centres[None, :, :]) ** 2).sum(axis=2)
        served = self.planned_rps.sum(axis=0) > 0
        of_class = np.where(served, distance, np.inf).argmin(axis=1)
        return Requests(arrived_ms[kept], of_class, sizes[kept, 0], sizes[kept, 1]), refused

    def classes_of(self, seen: Outcome) -> Iterator[ClassOutcome]:
        """All together first where there are several, as the targets hold for each by itself."""
        if len(self.classes) > 1:
            yield self._class("all", seen, judged=False)
        for index, name in enumerate(self.classes):
            yield self._class(name, seen.take(np.flatnonzero(seen.of_class == index)), judged=True)

    def _class(self, name: str, seen: Outcome, *, judged: bool) -> ClassOutcome:
        statistics = seen.statistics()
        statistics.pop("itl")
        found = [attainment(t, seen.latency(t.metric), seen.arrived_ms) for t in self.workload.targets if judged]
        return ClassOutcome(name, len(seen.arrived_ms), statistics, tuple(one for one in found if one is not None))


def group_replica(group: ReplicaGroup, workload: Workload, scenario: Scenario, catalog: Catalog) -> SimulatedReplica:
    """One replica of a predicted group as its scheduler sees it."""
    if group.stages is not None:
        spec = linked_spec(group, scenario.inventory, catalog.calibration.network_gb_per_s)
        return pipeline_replica(spec, group, token_mix(workload), catalog)
    offer = scenario.inventory[group.offer]
    degrees = {degree: int(getattr(group, degree)) for degree in ("tp", "pp", "dp", "ep")}
    drafts = workload.speculative if group.speculative else None
    one = one_configuration(
        catalog.models[str(group.model)],
        catalog.engines[str(group.engine)],
        group.engine_version,
        catalog.gpus[group.gpu],
        catalog.formats[str(group.weight_dtype)],
        catalog.kv_formats[str(group.kv_cache_dtype)],
        **degrees,
        links=links_on(offer, between_servers=group.gpus_per_replica > offer.gpus_per_server),
        speculation=drafts,
        drafter=drafter_of(drafts, catalog.models),
    )
    places, longest = int(group.max_batch_size or 1), int(group.max_model_len or 1)
    memory = replica_memory(
        one,
        max_model_len=longest,
        max_num_seqs=sequences_per_rank(np.array([places]), one.dp),
        max_num_batched_tokens=group.max_num_batched_tokens,
        gpu_memory_utilization=group.gpu_memory_utilization,
        with_margin=True,
    )
    replica = simulated_replica(one, memory, token_mix(workload), catalog.calibration, max_model_len=longest)
    return replica.with_batch(places)


def _choice(weights: FloatArray, rng: np.random.Generator) -> IntArray:
    """[m] a column for every row of weights [m, n] that sum to one."""
    limits = np.cumsum(weights, axis=1)
    chosen: IntArray = np.minimum((limits < rng.random(len(weights))[:, None]).sum(axis=1), weights.shape[1] - 1)
    return chosen


def after(begin_ms: float, outcome: Outcome) -> Outcome:
    """What arrived from then on, in the order of arrival."""
    rows = np.flatnonzero(outcome.arrived_ms >= begin_ms)
    return outcome.take(rows[np.argsort(outcome.arrived_ms[rows], kind="stable")])
