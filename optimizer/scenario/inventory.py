"""What can be had: offers of servers and the terms on which they come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, ValidationInfo
from pydantic_core import InitErrorDetails

from optimizer.scenario.fields import MOST_SERVERS, ByName, Count, Known, Measured, Several, Surroundings, Text
from optimizer.scenario.part import Part
from optimizer.scenario.problems import problem
from optimizer.scenario.quantities import (
    DURATION_HOURS,
    DURATION_MONTHS,
    NETWORK,
    PER_HOUR,
    POWER_OF_SERVER_KW,
    PRICE_OF_SERVER,
    PRICE_PER_HOUR,
    RATIO,
    Quantity,
    per_server,
)
from optimizer.scenario.workload import GpuId

TERMS = ("own", "buy", "rent", "reserve", "spot")
DEFAULT_RECOVERY_HOURS = 0.25
"""Estimate: minutes each for a server to start, for tens of GiB of weights to load and for the engine to warm up."""
DEFAULT_AVAILABILITY = 0.99
HIGHEST_AVAILABILITY = 0.999999
_LONGEST_SOURCE = 500
_MOST_GPUS_PER_SERVER = 1024

InstanceId = Annotated[
    str, Known("instance", lambda rest: (rest.catalog.instances,), "instances", ("aws/us-east-1/p5.48xlarge",))
]
ServerCount = Annotated[int, Count(at_least=0, at_most=MOST_SERVERS)]
HourlyPrice = Annotated[float, Measured(PRICE_PER_HOUR, at_least=0)]


class Buy(Part):
    """Servers for sale."""

    usd_per_server: Annotated[float, Measured(PRICE_OF_SERVER, at_least=0)] = Field(alias="price")
    """Price of a server, such as `$265k/server`."""
    max: ServerCount | None = None
    """Most servers that can be bought over the whole horizon; default: no limit."""
    life_months: Annotated[float, Measured(DURATION_MONTHS, above=0)] = Field(alias="life")
    """Time over which its value falls in a straight line to the residual, such as `48mo`."""
    residual_fraction: Annotated[float, Measured(RATIO, at_least=0, at_most=1)] = Field(default=0.0, alias="residual")
    """Value left at the end of its life, as a part of the price; default `0%`."""
    lead_time_months: Annotated[float, Measured(DURATION_MONTHS, at_least=0)] | None = Field(
        default=None, alias="lead_time"
    )
    """From purchase to arrival; default: none."""

    def consistent(self, surroundings: Surroundings) -> Iterator[InitErrorDetails]:
        horizon = surroundings.horizon_months
        if surroundings.periods == 1 and horizon is not None and self.life_months < horizon:
            yield problem(
                f"a life shorter than the horizon ({DURATION_MONTHS.text(horizon)}) needs periods, so that it can be"
                " replaced; make it longer, shorten the horizon or set periods",
                "life",
            )


def _price_of_instance(schema: dict[str, Any]) -> None:
    """In a file the price may come from the instance."""
    schema["required"].remove("price")


class Rent(Part):
    """Servers by the hour."""

    model_config = ConfigDict(json_schema_extra=_price_of_instance)

    usd_per_server_hour: HourlyPrice = Field(alias="price")
    """Price, such as `$2.40/gpu/h` or `$19.2/server/h`."""
    max: ServerCount | None = None
    """Most servers at a time; default: no limit."""


class Reserve(Part):
    """Servers by the hour, committed for a term."""

    term_months: Annotated[float, Measured(DURATION_MONTHS, above=0)] = Field(alias="term")
    """The commitment, such as `12mo`; whole terms are paid."""
    usd_per_server_hour: HourlyPrice = Field(alias="price")
    """Price while committed, such as `$1.95/gpu/h`."""
    max: ServerCount | None = None
    """Most servers at a time; default: no limit."""

    def consistent(self, surroundings: Surroundings) -> Iterator[InitErrorDetails]:
        horizon = surroundings.horizon_months
        if horizon is not None and self.term_months > horizon:
            yield problem(
                f"the term must not be longer than the horizon, {DURATION_MONTHS.text(horizon)};"
                f" this is {DURATION_MONTHS.text(self.term_months)}",
                "term",
            )


class Spot(Part):
    """Servers by the hour that may be taken away."""

    model_config = ConfigDict(json_schema_extra=_price_of_instance)

    usd_per_server_hour: HourlyPrice = Field(alias="price")
    """Price, such as `$1.10/gpu/h`."""
    interruptions_per_hour: Annotated[float, Measured(PER_HOUR, at_least=0, at_most=1)] | None = Field(
        default=None, alias="interruption"
    )
    """How often a server is taken away, such as `5%/h`; default: not known, and no spares are planned."""
    recovery_hours: Annotated[float, Measured(DURATION_HOURS, above=0)] = Field(
        default=DEFAULT_RECOVERY_HOURS, alias="recovery"
    )
    """From the loss of a server until another serves in its place, such as `15min`, which is the default."""
    availability_fraction: Annotated[float, Measured(RATIO, above=0, at_most=HIGHEST_AVAILABILITY)] = Field(
        default=DEFAULT_AVAILABILITY, alias="availability"
    )
    """Part of the time in which no more servers are missing than there are spares; default `99%`."""
    max: ServerCount | None = None
    """Most servers at a time, spares included; default: no limit."""

    @classmethod
    def from_scalar(cls, value: object) -> object:
        if value in (True, "true"):
            raise ValueError("true takes the price of an `instance`; without one, write {price: $1.10/gpu/h}")
        return super().from_scalar(value)


class Failures(Part):
    """How often a server fails, and for how long; not of spot servers, which have an `interruption` instead."""

    mtbf_hours: Annotated[float, Measured(DURATION_HOURS, above=0)] = Field(alias="mtbf")
    """Mean time between failures of a server, such as `4000h`."""
    repair_hours: Annotated[float, Measured(DURATION_HOURS, above=0)] = Field(alias="mttr")
    """Mean time until it serves again, such as `24h`."""
    availability_fraction: Annotated[float, Measured(RATIO, above=0, at_most=HIGHEST_AVAILABILITY)] = Field(
        default=DEFAULT_AVAILABILITY, alias="availability"
    )
    """Part of the time in which no more servers are down than stand by; default `99%`."""


def _prices_per_server(*prices: tuple[str, Quantity]) -> BeforeValidator:
    """Prices per GPU become prices per server; without a readable `gpus_per_server`, which is reported, 1 stands in."""

    def spread(terms: Any, info: ValidationInfo) -> Any:
        if isinstance(terms, list | tuple):
            return [spread(one, info) for one in terms]
        if not isinstance(terms, Mapping):
            return terms
        gpus = info.data.get("gpus_per_server", 1)
        return {**terms, **{key: per_server(price, terms[key], gpus) for key, price in prices if key in terms}}

    return BeforeValidator(spread)


_HOURLY = _prices_per_server(("price", PRICE_PER_HOUR))


def _power_per_server(value: Any, info: ValidationInfo) -> Any:
    return per_server(POWER_OF_SERVER_KW, value, info.data.get("gpus_per_server", 1))


def _file_syntax(schema: dict[str, Any]) -> None:
    """An instance brings the card and its number."""
    required = schema.pop("required")
    schema["anyOf"] = [{"required": required}, {"required": ["instance"]}]
    spot = schema["properties"]["spot"]
    schema["properties"]["spot"] = {"description": spot.pop("description"), "anyOf": [{"type": "boolean"}, spot]}


class Offer(Part):
    """One kind of server and the terms on which it can be had."""

    model_config = ConfigDict(json_schema_extra=_file_syntax)

    instance: InstanceId | None = Field(default=None, exclude=True)
    """A cloud instance of the price snapshot, such as `aws/us-east-1/p5.48xlarge`, instead of `gpu`,
    `gpus_per_server` and a price; brings its dated on-demand price, reserved prices where listed, and its network."""
    gpu: GpuId
    """The card, as in `gpuplan catalog gpus`."""
    gpus_per_server: Annotated[int, Count(at_most=_MOST_GPUS_PER_SERVER)]
    """GPUs of one server."""
    own: ServerCount | None = None
    """Servers owned already; only their running cost counts, and only while they are used."""
    buy: Annotated[Buy, _prices_per_server(("price", PRICE_OF_SERVER))] | None = None
    """Servers for sale."""
    rent: Annotated[Rent, _HOURLY] | None = None
    """Servers by the hour."""
    reserve: Annotated[tuple[Reserve, ...], Several("reserved terms"), _HOURLY] = ()
    """Servers by the hour, committed for a term."""
    spot: Annotated[Spot, _HOURLY] | None = None
    """Servers by the hour that may be taken away; with an instance, `true` takes its spot price."""
    power_kw_per_server: (
        Annotated[float, Measured(POWER_OF_SERVER_KW, above=0), BeforeValidator(_power_per_server)] | None
    ) = Field(default=None, alias="power")
    """Power of a server at full load, such as `10kW/server`; default: that of its GPUs and a share for the host."""
    network_gbit_per_s: Annotated[float, Measured(NETWORK, above=0)] | None = Field(default=None, alias="network")
    """Network between servers, such as `400Gbit/s`."""
    link_domain_gpus: Annotated[int, Count(at_most=_MOST_GPUS_PER_SERVER)] | None = Field(
        default=None, alias="link_domain"
    )
    """GPUs of the server that the fast link joins, 1 for none; default: as the card has it."""
    region: Annotated[str, Text()] | None = None
    """Where it stands, such as `eu-west`; an instance brings its own. Needed where workloads name regions."""
    racks: Annotated[Mapping[str, Annotated[int, Count(at_most=MOST_SERVERS)]], ByName("racks")] = {}
    """Racks, or other places that fail as a whole, and how many of its servers each holds: `{a1: 4, a2: 4}`. Racks of
    one name are one rack, whichever offers name it. Matters to workloads with `spare: rack`."""
    failures: Failures | None = None
    """How often a server fails, such as `{mtbf: 4000h, mttr: 24h}`; so many stand by as are down at a time."""
    price_source: Annotated[str, Text(_LONGEST_SOURCE)] | None = None
    """Where the prices come from, repeated in the plan's assumptions."""

    @classmethod
    def together(cls, keys: frozenset[str]) -> Iterator[InitErrorDetails]:
        if not keys & {*TERMS, "instance"}:
            yield problem(
                "no terms: at least one of own, buy, rent, reserve or spot is needed, or an instance", at_key=True
            )

    def consistent(self, surroundings: Surroundings) -> Iterator[InitErrorDetails]:  # noqa: ARG002
        room = sum(self.racks.values())
        if self.racks and self.own is not None and self.own > room:
            yield problem(f"the racks hold {room} servers; {self.own} are owned", "racks")
        terms = [entry.term_months for entry in self.reserve]
        for index, months in enumerate(terms):
            if months in terms[:index]:
                yield problem(
                    f"a term of {DURATION_MONTHS.text(months)} is listed twice; terms differ in their length",
                    *("reserve", index, "term"),
                )
