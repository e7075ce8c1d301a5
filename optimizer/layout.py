"""The plan: counts of servers and of replica groups, what they cost and what is proven (schema_version 1)."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer

from optimizer.plan_notes import Infeasibility, Part, Stress

Term = Literal["own", "buy", "rent", "reserve", "spot"]
Status = Literal["optimal", "feasible", "infeasible", "no_plan"]


class Cost(Part):
    """Money, USD; the hourly and monthly figures are the total divided by the horizon (730 h a month)."""

    usd_per_hour: float
    usd_per_month: float
    usd_over_horizon: float
    capex_usd: float
    """Prices paid, gross of residual value."""
    bound_usd_per_hour: float
    """No plan costs less; proven."""


class Servers(Part):
    """Servers of one offer on one term."""

    offer: str
    term: Term
    gpu: str
    gpus_per_server: int
    term_months: float | None = None
    """Length of a reserved term."""
    count: int
    idle: int = 0
    """Of `count`: servers that run nothing: spares of spot servers, those that stand by for servers that fail, or what
    was ordered and is not needed now."""
    stand_by: int = 0
    """Of `idle`: servers that are on, to take the place of one that fails."""
    usd_per_hour: float
    """Of one server: over the horizon, divided by its hours; with several periods of an hour of use in this one."""

    @property
    def in_use(self) -> int:
        """Servers that run something; they come first among the servers of an offer."""
        return self.count - self.idle


class Purchase(Part):
    """Servers bought at the start of a period."""

    offer: str
    count: int
    usd: float
    """Paid for all of them, gross of residual value."""
    arrives: int
    """First period in which they can serve, counted from 1."""


class Commitment(Part):
    """Servers reserved from the start of a period on."""

    offer: str
    term_months: float
    terms: int
    """Whole terms in a row."""
    count: int
    usd: float
    """To be paid for all of them over these terms, used or not."""


class Placement(Part):
    """Where one replica runs."""

    replica: int
    servers: tuple[int, ...]
    """Indices of the offer's servers, from 0; more than one when the replica spans servers. With `stages` one for each
    of them, among the servers of its own offer."""
    rack: str | None = None
    """Of its server, where the offer names racks and it matters; which servers are in one rack follows from it."""


class GroupMemory(Part):
    """Per GPU, of the rank that limits, GiB."""

    budget_gib: float
    weights_gib: float
    activation_gib: float
    non_torch_gib: float
    cuda_graph_gib: float
    kv_cache_gib: float
    margin_gib: float
    """By which kv_cache_gib may be off, about nine times in ten; the replica fits even then."""
    kv_cache_tokens: int
    """Whole replica."""
    kv_bytes_per_token: float
    max_concurrency: float
    """Requests of max_model_len that fit at once: the worst case."""
    typical_concurrency: float
    """Requests of the scenario's mean sizes that fit at once: what engines admit by."""


class Drafts(Part):
    """How replicas draft tokens."""

    method: Literal["mtp", "eagle", "ngram", "draft_model"]
    tokens: int
    """In a step."""
    acceptance_fraction: float
    """Chance that a drafted token is accepted where those before it were."""
    estimated: bool
    """The chance is a published one, not stated for these requests."""
    draft: str | None
    """Repository of the head, or the model that drafts, where it has its own."""


class PipelineStage(Part):
    """One stage of replicas that stand on several offers; it takes `tp` GPUs of one server."""

    offer: str
    gpu: str
    tp: int
    layers: tuple[int, int]
    """First and last, both included."""
    weight_dtype: str
    """Of these layers."""
    memory: GroupMemory
    """As if the other stages held as much: the replica's own is the least of its stages'."""


class ReplicaGroup(Part):
    """Equal replicas of one workload on one offer, or with `stages` on several, of which this is the first stage's.

    Null = unknown because the replica was measured, not predicted.
    """

    offer: str
    gpu: str
    gpus_per_replica: int
    replicas: int
    model: str | None
    weight_dtype: str | None
    """Where layers differ, the formats of the stages in their order, joined by `+`."""
    kv_cache_dtype: str | None
    engine: str | None
    engine_version: str | None
    tp: int | None
    pp: int | None
    dp: int | None
    ep: int | None
    max_batch_size: int | None
    max_model_len: int | None
    max_num_batched_tokens: int | None = None
    """Tokens of one step."""
    gpu_memory_utilization: float | None = None
    """The engine's own fraction, whatever it calls it (mem_fraction_static, free_gpu_memory_fraction)."""
    speculative: Drafts | None = None
    """Null = no tokens are drafted."""
    load_rps: float
    """Of the group."""
    capacity_rps: float
    """Of the group at the load's own class mix, before max_utilization."""
    utilization: float
    """Σ_r load_r / rate_r ÷ replicas."""
    class_rps: dict[str, float]
    """Load of each request class on this group."""
    rate_rps: dict[str, float]
    """What one replica sustains of each class when it serves nothing else; classes time-share."""
    placement: tuple[Placement, ...]
    ttft_ms: dict[str, float | None] | None
    """Statistic (mean, p50, p90, p95, p99) -> predicted at full capacity; the worst class. A statistic is null where
    nothing bounds it: without a target a replica is planned full, and its queue has no end."""
    tpot_ms: dict[str, float | None] | None
    e2e_ms: dict[str, float | None] | None
    ttft_interval_ms: tuple[float, float] | None
    """80 % interval of the mean."""
    tpot_interval_ms: tuple[float, float] | None
    extrapolated: tuple[str, ...]
    """In what the prediction goes beyond what was measured, which widens the intervals: an `engine`, a `generation` of
    cards, a `pair` of both, or a width of `weights` never measured; `pipeline` stages; more `concurrency`."""
    quality: float | None
    """Benchmark average relative to bf16, 0 to 1."""
    memory: GroupMemory | None
    limit: str | None
    """What binds: memory, ttft, tpot, max_num_seqs …"""
    source: str
    """Where the rates come from: the calibration's name, or `measured`."""
    stages: tuple[PipelineStage, ...] | None = None
    """Of replicas whose pipeline stages differ; not written otherwise."""

    @property
    def memories(self) -> tuple[tuple[str, GroupMemory], ...]:
        """GPU type and memory of each kind of rank: one, or where stages differ one a stage; none where unknown."""
        if self.stages is not None:
            return tuple((stage.gpu, stage.memory) for stage in self.stages)
        return () if self.memory is None else ((self.gpu, self.memory),)

    @property
    def offers(self) -> str:
        """Its offer, or where stages differ a line for each with its layers: `old: layers 0–23`."""
        stages = self.stages or ()
        return "\n".join(f"{s.offer}: layers {s.layers[0]}–{s.layers[1]}" for s in stages) or self.offer

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        return {key: value for key, value in written.items() if key != "stages" or value is not None}


class WorkloadPlan(Part):
    """How one workload is served."""

    name: str
    demand_rps: float
    """Requests × peak."""
    served_fraction: float = 1.0
    """Part of the demand that is served, alike for every class; below 1 only with `objective: served`."""
    replica_groups: tuple[ReplicaGroup, ...]


class ServedLevel(Part):
    """With `objective: served`, what is served of the workloads of one priority; those before it come first.

    Over several periods rates are means over all of them.
    """

    priority: int
    demand_rps: float
    served_rps: float
    bound_rps: float
    """No plan that serves as much of the priorities before serves more of this one; proven."""


class PeriodPlan(Part):
    """What is in service, what runs where, and what is ordered at the start of a period."""

    period: int
    """Counted from 1."""
    starts_month: float
    """Months from the start of the horizon."""
    months: float
    servers: tuple[Servers, ...]
    workloads: tuple[WorkloadPlan, ...]
    purchases: tuple[Purchase, ...] = ()
    commitments: tuple[Commitment, ...] = ()


class FuturePlan(Part):
    """The plan if demand turns out in one of its ways; what is ordered is the same in all of them."""

    name: str
    probability: float
    usd_per_hour: float
    """Over the horizon, divided by its hours, orders included."""
    periods: tuple[PeriodPlan, ...]


class Alternative(Part):
    """Another plan, of another structure: another set of (workload, offer, model and weight format, degrees)."""

    status: Literal["optimal", "feasible"]
    """`optimal`: no plan without something of each better one is cheaper; `feasible`: the time ended before a proof."""
    gives_up: tuple[str, ...]
    """What the plan uses and this one does without."""
    uses_instead: tuple[str, ...]
    """What it uses and the plan does not."""
    cost: Cost
    """`bound_usd_per_hour` is of plans that do without something of each better one."""
    servers: tuple[Servers, ...]
    workloads: tuple[WorkloadPlan, ...]
    purchases: tuple[Purchase, ...] = ()
    """Where there are several periods; like servers and workloads those of the first one."""
    commitments: tuple[Commitment, ...] = ()
    periods: tuple[PeriodPlan, ...] = ()
    """Every period where there are several."""
    futures: tuple[FuturePlan, ...] = ()
    """Every way in which demand may turn out, where there are several; the periods are those of the likeliest."""


class Layout(Part):
    """A plan, or the proof that there is none."""

    schema_version: Literal[1] = 1
    scenario: str
    status: Status
    gap: float | None
    """(cost − bound) / cost."""
    solve_seconds: float
    solver: str
    cost: Cost | None
    servers: tuple[Servers, ...]
    workloads: tuple[WorkloadPlan, ...]
    served: tuple[ServedLevel, ...] = ()
    """Priorities in order; empty unless the objective is `served`."""
    alternatives: tuple[Alternative, ...] = ()
    """With `--alternatives`, the next best plans of other structures, the cheapest first."""
    stress: tuple[Stress, ...] = ()
    """With `--stress`, what the plan does at higher demand and lower speed, and what would help."""
    purchases: tuple[Purchase, ...] = ()
    """Where there are several periods; like servers and workloads those of the first one: what to do now."""
    commitments: tuple[Commitment, ...] = ()
    periods: tuple[PeriodPlan, ...] = ()
    """Every period where there are several, the first one included."""
    futures: tuple[FuturePlan, ...] = ()
    """Where demand may turn out in several ways, the plan for each; then cost is what is expected, and servers,
    workloads and periods are those of the likeliest."""
    infeasible: Infeasibility | None = None
    warnings: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()
    catalog_version: str
    """Of the shipped catalog; entries of the user's own are part of the inputs."""
    scenario_sha256: str
    inputs: dict[str, Any]
    """The normalised scenario, itself a valid scenario file, so that a plan file alone can be verified and exported."""

    def _repr_html_(self) -> str:
        """What notebooks show. The picture belongs to reports, which stand above plans and are asked for by name."""
        html: str = import_module("optimizer.report.notebook").layout_html(self)
        return html

    def states(self) -> tuple[tuple[str | None, float, PeriodPlan], ...]:
        """(future, how likely it is, period) of all of them; a plan without periods is a single one that is certain."""
        if self.futures:
            return tuple((one.name, one.probability, period) for one in self.futures for period in one.periods)
        only = PeriodPlan(period=1, starts_month=0.0, months=0.0, servers=self.servers, workloads=self.workloads)
        return tuple((None, 1.0, period) for period in self.periods or (only,))

    @property
    def workloads_served(self) -> frozenset[str]:
        """Those of which something is served at some time."""
        return frozenset(
            plan.name
            for _, _, period in self.states()
            for plan in period.workloads
            if plan.demand_rps * plan.served_fraction > 0
        )

    def of_future(self, name: str) -> Layout:
        """The plan with the periods of one of its futures instead of the likeliest; `cost` stays what is expected."""
        (periods,) = (future.periods for future in self.futures if future.name == name)
        return self.model_copy(update={"periods": periods}).of_period(1)

    def of_period(self, period: int) -> Layout:
        """The plan with the lists of a period, counted from 1, on top; a plan without periods is its first."""
        if period == 1 and not self.periods:
            return self
        chosen = self.periods[period - 1]
        lists = ("servers", "workloads", "purchases", "commitments")
        return self.model_copy(update={name: getattr(chosen, name) for name in lists})
