"""A workload: what must be served, how fast, and in which ways it may be."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic_core import InitErrorDetails

from optimizer.scenario.fields import (
    MOST_TOKENS,
    ByName,
    Choice,
    Count,
    Flag,
    Known,
    Measured,
    OneOrMore,
    Several,
    Surroundings,
    Text,
)
from optimizer.scenario.part import Part
from optimizer.scenario.pipelines import ENGINES_OF_UNEQUAL_STAGES
from optimizer.scenario.problems import problem
from optimizer.scenario.quantities import FACTOR, NUMBER, PER_PERIOD, RATE, RATIO
from optimizer.scenario.speculation import ENGINES_THAT_DRAFT, Speculation
from optimizer.scenario.targets import Target, Targets
from optimizer.scenario.traffic import (
    BURSTY_CV,
    POISSON_CV,
    ArrivalProcess,
    Arrivals,
    ObservedTokens,
    Percent,
    RequestClass,
    Requests,
    TokenSize,
    Trace,
    TrafficClass,
)
from optimizer.scenario.words import did_you_mean, shown

SINGLE_CLASS = "all"
"""Name of the only request class of a workload that does not name classes."""
DEFAULT_PRIORITY = 1
WITHOUT_FRACTION = "llamacpp"
"""The engine that is told no fraction of the memory."""
_SHARES_TOLERANCE = 1e-6
_MOST_GPUS = 4096

ModelId = Annotated[str, Known("model", lambda rest: (rest.models, rest.catalog.models), "models", ("Qwen/Qwen3-32B",))]
GpuId = Annotated[str, Known("GPU", lambda rest: (rest.catalog.gpus,), "gpus", ("h100-sxm", "a100-80gb-sxm"))]
EngineId = Annotated[str, Known("engine", lambda rest: (rest.catalog.engines,), "engines", ("vllm", "sglang"))]
WeightDtype = Annotated[
    str, Known("weight format", lambda rest: (rest.catalog.formats,), "formats", ("bf16", "fp8", "awq-int4"))
]
KvCacheDtype = Annotated[
    str, Known("KV cache format", lambda rest: (rest.catalog.kv_formats,), "formats", ("auto", "fp8"))
]
Degrees = Annotated[tuple[Annotated[int, Count(at_most=_MOST_GPUS)], ...], OneOrMore()]


Spare = Literal["none", "n+1", "rack", "region"]
SPARES: tuple[Spare, ...] = ("none", "n+1", "rack", "region")


class MeasuredReplica(Part):
    """A replica whose rates were measured rather than predicted."""

    gpu: GpuId
    """The card it ran on; it may run on any offer of that card."""
    gpus: Annotated[int, Count(at_most=_MOST_GPUS)]
    """GPUs of the replica, all in one server."""
    requests_per_s: Annotated[Mapping[str, Annotated[float, Measured(NUMBER, at_least=0)]], ByName("request classes")]
    """What it sustains of each request class when it serves nothing else, in requests per second."""


class WorkloadFields(Part):
    """Any workload field; what stands under `defaults` holds for every workload that does not say otherwise."""

    models: Annotated[tuple[ModelId, ...], OneOrMore()] | None = Field(default=None, alias="model")
    """The model, or a list of models of which any will do."""
    requests: Requests | None = None
    """How often requests arrive: `6/s`, `{users: 80, think_time: 20s}` or `{tokens_per_day: 900M, window: 8h}`."""
    requests_per_period_rps: (
        Annotated[tuple[Annotated[float, Measured(RATE, at_least=0)], ...], Several("rates")] | None
    ) = Field(default=None, alias="requests_per_period")
    """The mean rate in each period, instead of `requests` and `growth`."""
    peak_factor: Annotated[float, Measured(FACTOR, above=0)] = Field(default=1.0, alias="peak")
    """Capacity holds mean × peak, such as `2.5x`; default `1x`."""
    growth_fraction_per_period: Annotated[float, Measured(PER_PERIOD, above=-1)] | None = Field(
        default=None, alias="growth"
    )
    """Compound growth of the rate from period to period, such as `10%/period`."""
    input_tokens: TokenSize | None = None
    """Tokens of a request's prompt, such as `1800` or `{p50: 900, p95: 6k}`."""
    output_tokens: TokenSize | None = None
    """Tokens of its answer."""
    classes: Annotated[Mapping[str, TrafficClass], ByName("request classes")] | None = None
    """Kinds of requests by name, instead of `input_tokens` and `output_tokens`."""
    trace: Trace | None = None
    """Path of a CSV file of requests, instead of rates and sizes."""
    arrivals: Arrivals | None = None
    """How evenly requests arrive: `poisson`, `bursty` or `{process: bursty, cv: 3}`; default: as the trace says, or
    `poisson`."""
    prefix_hit_fraction: Percent = Field(default=0.0, alias="prefix_hit")
    """Part of the prompt that is already in the prefix cache, such as `30%`; default `0%`."""
    longest_request_tokens: Annotated[int, Count(at_most=MOST_TOKENS)] | None = Field(default=None, alias="max_context")
    """Longest request (input and output) that must be accepted; default: 99th percentile of input + that of output."""
    targets: Annotated[tuple[Target, ...], Targets()] = Field(default=(), alias="slo")
    """Latency targets such as `{ttft_p95: 1s, tpot_p95: 50ms}`, or `throughput` for none."""
    weight_dtypes: Annotated[tuple[WeightDtype, ...], OneOrMore()] | None = None
    """Weight formats to choose from; default: every format that passes `min_quality` and the card supports."""
    kv_cache_dtypes: Annotated[tuple[KvCacheDtype, ...], OneOrMore()] | None = None
    """KV cache formats to choose from; default: every format that passes `min_quality` and the card supports."""
    min_quality_fraction: Annotated[float, Measured(RATIO, above=0, at_most=1)] = Field(
        default=0.97, alias="min_quality"
    )
    """Least benchmark average relative to bf16, such as `98%`; default `97%`."""
    engines: Annotated[tuple[EngineId, ...], OneOrMore()] = ("vllm",)
    """Serving engines to choose from; default `[vllm]`."""
    speculative: Speculation | None = None
    """Drafting of tokens that replicas may use, such as `{method: mtp, tokens: 2, acceptance: 80%}`; default: none."""
    tp: Degrees | None = None
    """Tensor-parallel degrees to choose from; default: all that fit."""
    pp: Degrees | None = None
    """Pipeline-parallel degrees to choose from; default: all that fit."""
    dp: Degrees | None = None
    """Attention data-parallel degrees inside a replica to choose from; default: all that make sense."""
    max_batch_size: Degrees | None = None
    """Numbers of concurrent sequences to choose from; default: all."""
    max_num_batched_tokens: Annotated[tuple[Annotated[int, Count(at_most=MOST_TOKENS)], ...], OneOrMore()] | None = None
    """Tokens of one step to choose from, such as `[2048, 8192]`; default: the engine's own and some around it."""
    gpu_memory_utilization: Annotated[float, Measured(RATIO, above=0, at_most=1)] | None = None
    """The engine's own fraction of memory, such as `90%`; default: the engine's own, or more where memory is short."""
    max_gpus_per_replica: Annotated[int, Count(at_most=_MOST_GPUS)] = 16
    """Largest replica to consider; default 16."""
    margin_fraction: Annotated[float, Measured(RATIO, at_least=0, at_most=0.95)] = Field(default=0.0, alias="margin")
    """Part of every latency target that predictions must stay below it, such as `10%`; `solve --validate` raises it."""
    single_format: Annotated[bool, Flag()] = True
    """One weight format for the whole workload; default true."""
    heterogeneous_pipelines: Annotated[bool, Flag()] | None = None
    """Also plan replicas whose pipeline stages stand on different offers, with layers and on vLLM formats of their own;
    default false. On vLLM and llama.cpp."""
    priority: Annotated[int, Count(at_least=0)] = DEFAULT_PRIORITY
    """When not everything fits, lower numbers are served first; default 1."""
    region: Annotated[str, Text()] | None = None
    """Where its users are, such as `eu-west`: `region_latency` counts to replicas elsewhere; default: nothing does."""
    residency: Annotated[tuple[Annotated[str, Text()], ...], OneOrMore()] | None = None
    """Regions in which it may be served, such as `[eu-west, eu-north]`; default: all."""
    spare: Annotated[Spare, Choice(SPARES)] = "none"
    """Capacity survives the loss of any one server (`n+1`), of any one `rack` or of any one `region`; default `none`.
    An offer that does not say its racks is one rack, and those that do not say their region are one region."""
    measured: Annotated[tuple[MeasuredReplica, ...], Several("measured replicas")] | None = None
    """Measured replicas; with them, no replica of this workload is predicted, and `slo` may be left out."""


def _file_syntax(schema: dict[str, Any]) -> None:
    """The defaults may say what a workload leaves out."""
    del schema["required"]


class Workload(WorkloadFields):
    """One workload, complete."""

    model_config = ConfigDict(json_schema_extra=_file_syntax)

    models: Annotated[tuple[ModelId, ...], OneOrMore()] = Field(alias="model")
    """The model, or a list of models of which any will do."""

    @classmethod
    def together(cls, keys: frozenset[str]) -> Iterator[InitErrorDetails]:
        yield from _one_way_to_give_sizes(keys)
        yield from _one_way_to_give_rates(keys)
        if "slo" not in keys and "measured" not in keys:
            yield problem(
                "'slo' is missing: latency targets such as {ttft_p95: 1s}, or throughput for none", at_key=True
            )

    def consistent(self, surroundings: Surroundings) -> Iterator[InitErrorDetails]:
        yield from self._shares_sum_to_one()
        yield from self._context_is_possible(surroundings)
        yield from self._measured_classes_exist(surroundings)
        yield from self._only_for_predictions()
        yield from self._fraction_is_of_one_engine()
        yield from self._trace_is_there()
        yield from self._drafts_are_possible(surroundings)
        yield from self._stages_may_differ()
        yield from self._periods_match(surroundings)

    @cached_property
    def request_classes(self) -> tuple[RequestClass, ...]:
        """Kinds of requests with their mean sizes; a workload without classes has one, named `all`."""
        if self.classes is not None:
            return tuple(
                _request_class(name, kind.share_fraction, kind.input_tokens, kind.output_tokens)
                for name, kind in self.classes.items()
            )
        sizes = self.trace or self
        assert sizes.input_tokens is not None
        assert sizes.output_tokens is not None
        return (_request_class(SINGLE_CLASS, 1.0, sizes.input_tokens, sizes.output_tokens),)

    @property
    def mean_rps(self) -> float:
        """Mean requests per second, of the first period where there are several."""
        if self.trace is not None:
            return self.trace.rate_rps
        if self.requests_per_period_rps is not None:
            return self.requests_per_period_rps[0]
        assert self.requests is not None
        tokens = sum(one.share_fraction * (one.input_tokens + one.output_tokens) for one in self.request_classes)
        return self.requests.mean_rps(tokens)

    @property
    def arrival_process(self) -> ArrivalProcess:
        """As stated; a trace speaks for itself, and without one requests arrive at random."""
        if self.arrivals is not None:
            return self.arrivals.process
        return "poisson" if self.trace is None else "trace"

    @property
    def arrival_cv(self) -> float:
        """Coefficient of variation of the gaps between arrivals; 1 = Poisson."""
        if self.arrival_process == "trace":
            assert self.trace is not None
            return self.trace.cv
        if self.arrival_process == "poisson":
            return POISSON_CV
        return (self.arrivals.cv if self.arrivals is not None else None) or BURSTY_CV

    @property
    def demand_rps(self) -> float:
        """Requests per second that capacity must hold: mean × peak."""
        return self.mean_rps * self.peak_factor

    def demand_in(self, period: int) -> float:
        """Requests per second that capacity must hold in a period, counted from 0; growth compounds."""
        if self.requests_per_period_rps is not None:
            return self.requests_per_period_rps[period] * self.peak_factor
        return self.demand_rps * (1 + (self.growth_fraction_per_period or 0.0)) ** period

    def with_network(self, round_trip_ms: float) -> Workload:
        """The same with targets that leave time for the network: it delays the first token, not those that follow."""
        if not round_trip_ms:
            return self
        targets = tuple(
            target if target.metric == "tpot" else target._replace(limit_ms=target.limit_ms - round_trip_ms)
            for target in self.targets
        )
        return self.model_copy(update={"targets": targets})

    @property
    def planned_targets(self) -> tuple[Target, ...]:
        """The targets that predictions must hold: less the margin."""
        return tuple(t._replace(limit_ms=t.limit_ms * (1.0 - self.margin_fraction)) for t in self.targets)

    @property
    def typical_longest_tokens(self) -> int:
        """99th percentile of input + that of output, of the largest class, rounded up."""
        sizes = self.classes.values() if self.classes is not None else (self.trace or self,)
        return max(math.ceil(one.input_tokens.p99_tokens) + math.ceil(one.output_tokens.p99_tokens) for one in sizes)  # type: ignore[union-attr]

    @property
    def max_context_tokens(self) -> int:
        """Longest request, input and output together, that every replica must accept."""
        return self.longest_request_tokens or self.typical_longest_tokens

    def _shares_sum_to_one(self) -> Iterator[InitErrorDetails]:
        total = sum(kind.share_fraction for kind in (self.classes or {}).values())
        if self.classes and abs(total - 1) > _SHARES_TOLERANCE:
            yield problem(
                f"the shares of the classes must sum to 100%; these sum to {100 * total:.6g}%", "classes", at_key=True
            )

    def _context_is_possible(self, surroundings: Surroundings) -> Iterator[InitErrorDetails]:
        mean = max(one.input_tokens + one.output_tokens for one in self.request_classes)
        asked = self.longest_request_tokens
        if asked is not None and asked < mean:
            yield problem(
                f"must hold at least a mean request, input and output together: {math.ceil(mean):,} tokens;"
                f" this is {asked:,}",
                "max_context",
            )
        if self.measured is not None:
            return
        known = [surroundings.models.get(model) or surroundings.catalog.models.get(model) for model in self.models]
        limits = {model.id: model.max_context_tokens for model in known if model is not None}
        if len(limits) < len(known) or self.max_context_tokens <= max(limits.values()):
            return
        model, limit = max(limits.items(), key=lambda item: item[1])
        if asked is not None:
            yield problem(f"beyond what {model} can hold, {limit:,} tokens; this is {asked:,}", "max_context")
        else:
            yield problem(
                f"the longest requests, {self.max_context_tokens:,} tokens (99th percentiles of input and output),"
                f" are beyond what {model} can hold, {limit:,}; make them smaller or state max_context",
                "classes" if self.classes is not None else "input_tokens" if self.trace is None else "trace",
            )

    def _measured_classes_exist(self, surroundings: Surroundings) -> Iterator[InitErrorDetails]:
        known = [one.name for one in self.request_classes]
        for index, replica in enumerate(self.measured or ()):
            for name in replica.requests_per_s:
                if name not in known:
                    near = surroundings.suggestions.meant(name, "request class", known)
                    hint = did_you_mean(near) or f"; the classes of this workload: {', '.join(known)}"
                    message = f"unknown request class {shown(name)}{hint}"
                    yield problem(message, "measured", index, "requests_per_s", name, at_key=True)

    def _only_for_predictions(self) -> Iterator[InitErrorDetails]:
        if self.measured is not None and self.margin_fraction:
            yield problem("a margin is for predicted latencies; these replicas were measured", "margin", at_key=True)
        if self.measured is not None and self.arrivals is not None:
            what = "arrivals change what is predicted; these replicas were measured, under arrivals of their own"
            yield problem(what, "arrivals", at_key=True)

        if self.measured is not None and self.heterogeneous_pipelines:
            what = "these replicas were measured, each on cards of one type"
            yield problem(what, "heterogeneous_pipelines", at_key=True)
        if self.measured is not None and self.speculative is not None:
            yield problem("these replicas were measured, with or without drafts", "speculative", at_key=True)

    def _drafts_are_possible(self, surroundings: Surroundings) -> Iterator[InitErrorDetails]:
        if self.speculative is None:
            return
        if not set(self.engines) & set(ENGINES_THAT_DRAFT):
            what = f"drafts are planned on {', '.join(ENGINES_THAT_DRAFT)} only; name one of them in engines"
            yield problem(what, "speculative", at_key=True)
        known = [surroundings.models.get(model) or surroundings.catalog.models.get(model) for model in self.models]
        if self.speculative.method == "mtp" and not any(model is None or model.mtp_layers for model in known):
            what = f"{', '.join(self.models)}: no layers for multi-token prediction; use eagle or ngram, or none"
            yield problem(what, "speculative", at_key=True)

    def _stages_may_differ(self) -> Iterator[InitErrorDetails]:
        if self.heterogeneous_pipelines and not set(self.engines) & set(ENGINES_OF_UNEQUAL_STAGES):
            known = " and ".join(ENGINES_OF_UNEQUAL_STAGES)
            what = f"pipelines whose stages differ are planned on {known} only; name one of them in engines"
            yield problem(what, "heterogeneous_pipelines", at_key=True)

    def _trace_is_there(self) -> Iterator[InitErrorDetails]:
        if self.arrival_process == "trace" and self.trace is None:
            yield problem("arrivals of a trace need a trace; give `trace`, or bursty with a cv", "arrivals")

    def _fraction_is_of_one_engine(self) -> Iterator[InitErrorDetails]:
        if self.gpu_memory_utilization is None:
            return
        if len(self.engines) > 1:
            several = ", ".join(self.engines)
            yield problem(
                f"means another thing to each engine; name one engine instead of {several}, or leave it out",
                "gpu_memory_utilization",
            )
        elif self.engines == (WITHOUT_FRACTION,):
            yield problem(
                f"{WITHOUT_FRACTION} takes no fraction: its cache is as large as asked for; leave it out",
                "gpu_memory_utilization",
            )

    def _periods_match(self, surroundings: Surroundings) -> Iterator[InitErrorDetails]:
        periods, rates = surroundings.periods, self.requests_per_period_rps
        if periods is not None and rates is not None and len(rates) != periods:
            yield problem(
                f"one rate for each of the {periods} periods is expected; these are {len(rates)}", "requests_per_period"
            )


def _request_class(
    name: str, share_fraction: float, inputs: TokenSize | ObservedTokens, outputs: TokenSize | ObservedTokens
) -> RequestClass:
    return RequestClass(name, share_fraction, inputs.mean_tokens, outputs.mean_tokens, inputs.sigma, outputs.sigma)


def _one_way_to_give_sizes(keys: frozenset[str]) -> Iterator[InitErrorDetails]:
    plain = sorted(keys & {"input_tokens", "output_tokens"})
    given = [*plain[:1], *(key for key in ("classes", "trace") if key in keys)]
    if len(given) > 1:
        yield problem(f"'{given[1]}' stands instead of '{given[0]}'; give one of them", given[1], at_key=True)
    elif not given:
        yield problem("token sizes are missing: input_tokens and output_tokens, or classes, or trace", at_key=True)
    elif len(plain) == 1:
        (lacking,) = {"input_tokens", "output_tokens"} - keys
        yield problem(f"'{lacking}' is missing; input_tokens and output_tokens go together", at_key=True)


def _one_way_to_give_rates(keys: frozenset[str]) -> Iterator[InitErrorDetails]:
    given = [key for key in ("requests", "requests_per_period", "trace") if key in keys]
    if len(given) > 1:
        yield problem(f"'{given[1]}' stands instead of '{given[0]}'; give one of them", given[1], at_key=True)
    elif not given:
        yield problem("'requests' is missing: how often requests arrive, such as 6/s", at_key=True)
    if "growth" in keys and "requests" not in keys and given:
        yield problem(f"growth goes with 'requests', not with '{given[0]}'", "growth", at_key=True)
