"""What arrives: request rates and how evenly they come, token sizes, classes and traces."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, GetJsonSchemaHandler, SerializerFunctionWrapHandler, model_serializer
from pydantic_core import CoreSchema, InitErrorDetails

from catalog.units import SECONDS_PER_HOUR
from optimizer.scenario.fields import MOST_TOKENS, Choice, Count, Measured, Surroundings
from optimizer.scenario.part import Part
from optimizer.scenario.problems import problem
from optimizer.scenario.quantities import COUNT, DURATION_HOURS, DURATION_S, NUMBER, RATE, RATIO
from optimizer.scenario.words import shown

_Z95 = 1.6448536269514722
"""Standard normal quantile of 95 %: `statistics.NormalDist().inv_cdf(0.95)`."""
_Z99 = 2.3263478740408408
"""Of 99 %."""

POISSON_CV = 1.0
"""Coefficient of variation of the gaps between requests that arrive at random."""
BURSTY_CV = 2.0
"""In bursty traffic, where nothing else is said: twice that of random arrivals, an estimate. BurstGPT
(arXiv:2401.17644) fits gamma gaps to recorded traffic of language models and finds it burstier than Poisson."""
MOST_CV = 10.0
"""Beyond it nearly all requests come in a few crowds, and a mean rate says little."""

ArrivalProcess = Literal["poisson", "bursty", "trace"]
ARRIVAL_PROCESSES: tuple[ArrivalProcess, ...] = ("poisson", "bursty", "trace")
Burstiness = Annotated[float, Measured(NUMBER, at_least=POISSON_CV, at_most=MOST_CV)]
Rate = Annotated[float, Measured(RATE, above=0)]
Tokens = Annotated[int, Count(at_least=1, at_most=MOST_TOKENS)]
TokenStatistic = Annotated[float, Measured(COUNT, at_least=0, at_most=MOST_TOKENS)]
Percent = Annotated[float, Measured(RATIO, at_least=0, at_most=1)]


@dataclass(frozen=True, slots=True)
class RequestClass:
    """Requests of one kind, as the rest of the program sees them."""

    name: str
    share_fraction: float
    input_tokens: float
    """Mean."""
    output_tokens: float
    """Mean."""
    input_sigma: float = 0.0
    """Standard deviation of the logarithm of the input; 0 = all alike."""
    output_sigma: float = 0.0
    """Of the output."""


class TokenSize(Part):
    """Tokens of a request: always the same number, or log-normal with the given median and 95th percentile.

    With σ = ln(p95 / p50) / z₀.₉₅, the mean is p50 · exp(σ² / 2) and the 99th percentile p50 · exp(z₀.₉₉ · σ).
    """

    p50_tokens: Tokens = Field(alias="p50")
    """Median."""
    p95_tokens: Tokens = Field(alias="p95")
    """95th percentile."""

    @classmethod
    def from_scalar(cls, value: object) -> object:
        tokens = Count(at_least=1, at_most=MOST_TOKENS).parse(value)
        return {"p50": tokens, "p95": tokens}

    def consistent(self, surroundings: Surroundings) -> Iterator[InitErrorDetails]:  # noqa: ARG002
        if self.p95_tokens < self.p50_tokens:
            yield problem(f"p95 must be at least p50; {self.p95_tokens:,} is less than {self.p50_tokens:,}", "p95")

    @property
    def sigma(self) -> float:
        """Standard deviation of the logarithm; 0 for a fixed size."""
        return math.log(self.p95_tokens / self.p50_tokens) / _Z95

    @property
    def mean_tokens(self) -> float:
        return self.p50_tokens * math.exp(self.sigma**2 / 2)

    @property
    def p99_tokens(self) -> float:
        return self.p50_tokens * math.exp(_Z99 * self.sigma)

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler) -> Any:
        return self.p50_tokens if self.p50_tokens == self.p95_tokens else handler(self)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        spread = handler.resolve_ref_schema(handler(schema))
        return {"title": cls.__name__, "anyOf": [spread["properties"]["p50"], spread]}


class TrafficClass(Part):
    """Requests of one kind within a workload."""

    share_fraction: Percent = Field(alias="share")
    """Of the workload's requests, such as `60%`; shares sum to 100 %."""
    input_tokens: TokenSize
    """Tokens of a request's prompt, such as `1800` or `{p50: 900, p95: 6k}`."""
    output_tokens: TokenSize
    """Tokens of its answer."""


class Requests(Part):
    """How often requests arrive: a rate, users who pause between requests, or tokens a day."""

    rate_rps: Rate | None = Field(default=None, alias="rate")
    """Mean rate; `requests: 6/s` is short for `requests: {rate: 6/s}`."""
    users: Annotated[float, Measured(COUNT, above=0)] | None = None
    """Concurrent users; they bring users / think_time requests per second."""
    think_time_s: Annotated[float, Measured(DURATION_S, above=0)] | None = Field(default=None, alias="think_time")
    """From one request of a user to the next, such as `20s`."""
    tokens_per_day: Annotated[float, Measured(COUNT, above=0)] | None = None
    """Input and output tokens together, such as `900M`."""
    window_hours: Annotated[float, Measured(DURATION_HOURS, above=0, at_most=24)] | None = Field(
        default=None, alias="window"
    )
    """Hours of the day over which they arrive, such as `8h`; default `24h`."""

    @classmethod
    def from_scalar(cls, value: object) -> object:
        Measured(RATE, above=0).parse(value)
        return {"rate": value}

    @classmethod
    def together(cls, keys: frozenset[str]) -> Iterator[InitErrorDetails]:
        ways = {"rate": {"rate"}, "users": {"users", "think_time"}, "tokens_per_day": {"tokens_per_day", "window"}}
        chosen = [name for name, members in ways.items() if members & keys]
        if len(chosen) != 1:
            ways_to_write = "a rate such as 6/s, {users, think_time}, or {tokens_per_day, window}"
            yield problem(f"requests are given in exactly one way: {ways_to_write}", at_key=True)
        elif chosen == ["users"] and (lacking := ways["users"] - keys):
            yield problem(
                f"'{lacking.pop()}' is missing: users bring users / think_time requests per second", at_key=True
            )
        elif chosen == ["tokens_per_day"] and "tokens_per_day" not in keys:
            yield problem("'tokens_per_day' is missing: the tokens that arrive within the window", at_key=True)

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler) -> Any:
        written = {key: value for key, value in handler(self).items() if value is not None}
        return written["rate"] if written.keys() == {"rate"} else written

    def mean_rps(self, tokens_per_request: float) -> float:
        """Mean requests per second, when one request has that many tokens, input and output together."""
        if self.rate_rps is not None:
            return self.rate_rps
        if self.users is not None and self.think_time_s is not None:
            return self.users / self.think_time_s
        assert self.tokens_per_day is not None
        hours = 24.0 if self.window_hours is None else self.window_hours
        return self.tokens_per_day / tokens_per_request / (hours * SECONDS_PER_HOUR)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        mapping = handler.resolve_ref_schema(handler(schema))
        return {"title": cls.__name__, "anyOf": [Measured(RATE).__get_pydantic_json_schema__(schema, handler), mapping]}


class Arrivals(Part):
    """How evenly requests arrive: gaps between them are gamma distributed, with a coefficient of variation.

    1 is Poisson. The `--burstiness` of `vllm bench serve` is the shape of the same distribution, 1 / cv².
    """

    process: Annotated[ArrivalProcess, Choice(ARRIVAL_PROCESSES)]
    """`poisson` (at random), `bursty`, or `trace` (as bursty as the workload's trace)."""
    cv: Burstiness | None = None
    """Of the gaps between bursty arrivals, 1 to 10; default 2. `vllm bench --burstiness B` is cv = 1 / √B."""

    @classmethod
    def from_scalar(cls, value: object) -> object:
        return {"process": Choice(ARRIVAL_PROCESSES).parse(value)}

    def consistent(self, surroundings: Surroundings) -> Iterator[InitErrorDetails]:  # noqa: ARG002
        if self.cv is not None and self.process != "bursty":
            yield problem(f"cv goes with process bursty, not with {self.process}", "cv", at_key=True)

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler) -> Any:
        return self.process if self.cv is None else handler(self)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        mapping = handler.resolve_ref_schema(handler(schema))
        return {"title": cls.__name__, "anyOf": [mapping["properties"]["process"], mapping]}


class ObservedTokens(Part):
    """Token sizes seen in a trace."""

    mean_tokens: TokenStatistic = Field(alias="mean")
    p50_tokens: TokenStatistic = Field(alias="p50")
    p95_tokens: TokenStatistic = Field(alias="p95")
    p99_tokens: TokenStatistic = Field(alias="p99")

    @property
    def sigma(self) -> float:
        """Standard deviation of the logarithm of the log-normal through the median and the 95th percentile."""
        return math.log(self.p95_tokens / self.p50_tokens) / _Z95 if self.p95_tokens > self.p50_tokens > 0 else 0.0


class Trace(Part):
    """What a trace file holds, kept in the plan so that the file is not needed again.

    In a scenario it is the path of a CSV file, plain or gzipped, with the columns arrived_at (seconds),
    num_prefill_tokens and num_decode_tokens.
    """

    requests: Annotated[int, Count(at_least=2, at_most=MOST_TOKENS)]
    """Number of requests."""
    rate_rps: Rate = Field(alias="rate")
    """Mean rate over the span of the trace."""
    input_tokens: ObservedTokens
    """Prompt sizes."""
    output_tokens: ObservedTokens
    """Answer sizes."""
    cv: Burstiness = POISSON_CV
    """Of the gaps between requests, without what comes from slow changes of the rate."""

    @classmethod
    def from_scalar(cls, value: object) -> object:
        raise ValueError(f"the path of a CSV file is expected, such as ./requests.csv.gz; this is {shown(value)}")

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        statistics = handler.resolve_ref_schema(handler(schema))
        return {"title": cls.__name__, "anyOf": [{"type": "string", "examples": ["./requests.csv.gz"]}, statistics]}
