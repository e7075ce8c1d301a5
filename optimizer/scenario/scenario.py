"""The scenario: what must be served, what can be had, and within which limits."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr
from pydantic_core import InitErrorDetails

from catalog.schema.calibration import PerformanceName
from optimizer.errors import Fault, Location
from optimizer.scenario.document import Positions
from optimizer.scenario.faults import in_file_order
from optimizer.scenario.fields import (
    ByName,
    Choice,
    Count,
    JsonObject,
    Measured,
    OnceOrEach,
    Repository,
    Several,
    Surroundings,
    Text,
)
from optimizer.scenario.inventory import Offer
from optimizer.scenario.part import Part
from optimizer.scenario.problems import problem
from optimizer.scenario.quantities import (
    DURATION_MONTHS,
    DURATION_MS,
    ENERGY_PRICE,
    FACTOR,
    MONEY,
    MONEY_PER_MONTH,
    NUMBER,
    OPEX,
    PER_YEAR,
    POWER_KW,
    RATIO,
)
from optimizer.scenario.support import not_solved_yet
from optimizer.scenario.words import did_you_mean, listed, shown
from optimizer.scenario.workload import Workload, WorkloadFields

MOST_PERIODS = 1000
PROBABILITIES_TOLERANCE = 1e-6
_LONGEST_SCENARIO_NAME = 200
PERFORMANCE_MODELS: tuple[PerformanceName, ...] = ("calibrated", "silicon")
OBJECTIVES = ("cost", "served", "power", "carbon")


class OwnModel(Part):
    """A model beyond the catalog, or where checkpoints of one are."""

    hf_config: (
        Annotated[dict[str, Any], JsonObject("the path of a config.json, or its content,", path="./config.json")] | None
    ) = None
    """Path of a Hugging Face config.json, or its content; a model of the catalog needs none."""
    checkpoints: Annotated[Mapping[str, Annotated[str, Repository()]], ByName("weight formats")] = {}
    """Weight format -> repository that holds the model in it, such as `{awq-int4: Qwen/Qwen3-32B-AWQ}`."""

    @classmethod
    def together(cls, keys: frozenset[str]) -> Iterator[InitErrorDetails]:
        if not keys & {"hf_config", "checkpoints"}:
            yield problem("nothing is said: give hf_config, checkpoints or both", at_key=True)

    def consistent(self, surroundings: Surroundings) -> Iterator[InitErrorDetails]:
        known = surroundings.catalog.formats
        for name in self.checkpoints:
            if name not in known:
                near = did_you_mean(surroundings.suggestions.meant(name, "weight format", known))
                hint = near or "; `gpuplan catalog formats` lists those there are"
                yield problem(f"unknown weight format {shown(name)}{hint}", "checkpoints", name, at_key=True)


class Facility(Part):
    """What it costs to run owned and bought servers."""

    power_price_usd_per_kwh: Annotated[float, Measured(ENERGY_PRICE, at_least=0)] = Field(
        default=0.0, alias="power_price"
    )
    """Price of electricity, such as `$0.11/kWh`; default `$0/kWh`."""
    pue: Annotated[float, Measured(NUMBER, at_least=1, at_most=10)] = 1.0
    """Power drawn by the whole site per power drawn by servers, such as `1.35`; default 1."""
    power_cap_kw: Annotated[float, Measured(POWER_KW, at_least=0)] | None = Field(default=None, alias="power_cap")
    """Most power of owned and bought servers in use, before pue, such as `60kW`; default: no limit."""
    opex_usd_per_server_month: Annotated[float, Measured(OPEX, at_least=0)] = Field(default=0.0, alias="opex")
    """Other running cost, such as `$450/server/mo`; default `$0/server/mo`."""


class Budget(Part):
    """Most that may be spent."""

    capex_usd: Annotated[float, Measured(MONEY, at_least=0)] | None = Field(default=None, alias="capex")
    """On purchases over the horizon, gross of residual value, such as `$1.2M`."""
    capex_per_period_usd: (
        Annotated[tuple[Annotated[float, Measured(MONEY, at_least=0)], ...], Several("amounts")] | None
    ) = Field(default=None, alias="capex_per_period")
    """On purchases at the start of each period, beside `capex`, such as `[$800k, $0, $400k]`."""
    monthly_usd: Annotated[float, Measured(MONEY_PER_MONTH, at_least=0)] | None = Field(default=None, alias="monthly")
    """On rent, reservations and running cost in a month, such as `$40k`."""

    def consistent(self, surroundings: Surroundings) -> Iterator[InitErrorDetails]:
        """An amount for each period."""
        periods, amounts = surroundings.periods, self.capex_per_period_usd
        if periods is not None and amounts is not None and len(amounts) != periods:
            yield problem(
                f"one amount for each of the {periods} periods is expected; these are {len(amounts)}",
                "capex_per_period",
            )


Factors = Annotated[tuple[Annotated[float, Measured(FACTOR, at_least=0)], ...], OnceOrEach("factors")]


class DemandScenario(Part):
    """One way in which demand may turn out."""

    probability_fraction: Annotated[float, Measured(RATIO, above=0, at_most=1)] = Field(alias="probability")
    """How likely it is, such as `30%`; all of them sum to 100 %."""
    factors: Factors = Field(default=(1.0,), alias="demand")
    """The demand of every workload times this, such as `1.5x`, or in each period `[1x, 1.2x, 1.5x]`; default `1x`."""
    workload_factors: Annotated[Mapping[str, Factors], ByName("workloads")] = Field(default={}, alias="workloads")
    """The same for single workloads, instead of `demand`: `{chat: 2x}`."""

    def factor(self, workload: str, period: int) -> float:
        """What the demand of a workload is multiplied by in a period, counted from 0."""
        factors = self.workload_factors.get(workload, self.factors)
        return factors[period] if len(factors) > 1 else factors[0]

    def consistent(self, surroundings: Surroundings) -> Iterator[InitErrorDetails]:
        """A factor for each period where there are several."""
        stated = {("demand",): self.factors} | {("workloads", k): one for k, one in self.workload_factors.items()}
        for path, factors in stated.items():
            if surroundings.periods is not None and len(factors) not in (1, surroundings.periods):
                message = f"one factor for each of the {surroundings.periods} periods is expected"
                yield problem(f"{message}; these are {len(factors)}", *path)


Latencies = Annotated[Mapping[str, Annotated[float, Measured(DURATION_MS, at_least=0)]], ByName("regions")]


class Scenario(Part):
    """What must be served, what can be had, and within which limits; see `gpuplan schema scenario`."""

    name: Annotated[str, Text(_LONGEST_SCENARIO_NAME)]
    """What the scenario is called."""
    horizon_months: Annotated[float, Measured(DURATION_MONTHS, above=0, at_most=1200)] = Field(
        default=1.0, alias="horizon"
    )
    """The span that cost is counted over, such as `36mo`; default `1mo`."""
    periods: Annotated[int, Count(at_most=MOST_PERIODS)] = 1
    """Equal parts of the horizon with decisions of their own; default 1."""
    discount_rate_per_year: Annotated[float, Measured(PER_YEAR, above=-1)] | None = Field(
        default=None, alias="discount_rate"
    )
    """Yearly rate at which later payments count less, such as `8%/yr`; default: undiscounted."""
    own_entries: Annotated[
        tuple[Annotated[dict[str, Any], JsonObject("a catalog entry")], ...], Several("catalog entries")
    ] = Field(default=(), alias="catalog")
    """Catalog entries of one's own, as in the files of `--catalog`; a plan carries those that it was made with."""
    defaults: WorkloadFields | None = Field(default=None, exclude=True)
    """Any workload field, for every workload that does not say otherwise."""
    models: Annotated[Mapping[str, OwnModel], ByName("models", slashes=True)] = {}
    """Models beyond the catalog, and checkpoints in formats that it does not know of, by the id that workloads use."""
    workloads: Annotated[Mapping[str, Workload], ByName("workloads")]
    """What must be served, by name."""
    inventory: Annotated[Mapping[str, Offer], ByName("offers")]
    """What can be had: offers of servers, by name."""
    region_latency_ms: Annotated[Mapping[str, Latencies], ByName("regions")] = Field(default={}, alias="region_latency")
    """Round trips of the network between regions, each pair once: `{eu-west: {us-east: 80ms}}`."""
    demand_scenarios: Annotated[Mapping[str, DemandScenario], ByName("demand scenarios")] = {}
    """Ways in which demand may turn out: what is bought or reserved is decided before it is known, the rest after."""
    facility: Facility = Facility()
    """What it costs to run owned and bought servers."""
    budget: Budget = Budget()
    """Most that may be spent."""
    max_utilization_fraction: Annotated[float, Measured(RATIO, above=0, at_most=1)] = Field(
        default=0.8, alias="max_utilization"
    )
    """Part of the predicted capacity that may be used, such as `75%`; default `80%`."""
    confidence_fraction: Annotated[float, Measured(RATIO, at_least=0.5, at_most=0.999)] | None = Field(
        default=None, alias="confidence"
    )
    """Plan on this one-sided quantile of the prediction error, such as `80%`; default: the point estimate."""
    performance: Annotated[PerformanceName, Choice(PERFORMANCE_MODELS)] = "calibrated"
    """What times steps: our `calibrated` model, or kernels as aiconfigurator-core measured them, `silicon`."""
    objective: Annotated[Literal["cost", "served", "power", "carbon"], Choice(OBJECTIVES)] = "cost"
    """What is best: least `cost`, or the most demand `served` by priority and then least cost."""
    _positions: Positions = PrivateAttr(default_factory=Positions)

    def stands_in(self, positions: Positions) -> None:
        """Remember where everything stands in a file; no part of what is asked."""
        self._positions = positions

    def location(self, *keys: str | int) -> Location | None:
        """Where a value stands in the file, such as `location("workloads", "chat", "slo")`; None without a file.

        A value that is not there is at the nearest one above it, or among the defaults.
        """
        return self._positions.location(keys) if self._positions.file else None

    def unsupported(self) -> tuple[Fault, ...]:
        """What this version understands but does not solve; `solve` refuses a scenario that asks for it."""
        faults = []
        for path, what in not_solved_yet(self):
            where = self._positions.location(path, at_key=True) if self._positions.file else None
            faults.append(Fault(f"not supported yet: {what}", where, ".".join(path)))
        return tuple(in_file_order(faults))

    def consistent(self, surroundings: Surroundings) -> Iterator[InitErrorDetails]:
        """What stands in one place and speaks of another."""
        yield from self._regions_are_known(surroundings)
        yield from self._futures_are_complete(surroundings)

    def _futures_are_complete(self, surroundings: Surroundings) -> Iterator[InitErrorDetails]:
        """Demand scenarios are all there can be, and speak of workloads that exist."""
        total = math.fsum(future.probability_fraction for future in self.demand_scenarios.values())
        if self.demand_scenarios and abs(total - 1) > PROBABILITIES_TOLERANCE:
            message = f"the probabilities must sum to 100%; these sum to {100 * total:.6g}%"
            yield problem(message, "demand_scenarios", at_key=True)
        for name, future in self.demand_scenarios.items():
            for workload in future.workload_factors:
                if workload not in self.workloads:
                    near = surroundings.suggestions.meant(workload, "workload", self.workloads)
                    hint = did_you_mean(near) or f"; the workloads are {listed(list(self.workloads))}"
                    message = f"unknown workload {shown(workload)}{hint}"
                    yield problem(message, "demand_scenarios", name, "workloads", workload, at_key=True)

    def _regions_are_known(self, surroundings: Surroundings) -> Iterator[InitErrorDetails]:
        """Regions that workloads name are those of offers, and the way to each that may serve them is known."""
        regions = list(dict.fromkeys(offer.region for offer in self.inventory.values() if offer.region is not None))
        for name, workload in self.workloads.items():
            for index, region in enumerate(workload.residency or ()):
                if region not in regions:
                    near = surroundings.suggestions.meant(region, "region", regions)
                    hint = did_you_mean(near) or f"; the offers are in {listed(regions) if regions else 'none'}"
                    message = f"no offer is in region {shown(region)}{hint}"
                    path = ("residency", index) if len(workload.residency or ()) > 1 else ("residency",)
                    yield problem(message, "workloads", name, *path)
            for offer_name, offer in self.inventory.items():
                if workload.region is None or not self.may_serve(workload, offer) or self._knows_way(workload, offer):
                    continue
                where = f"to {offer.region}, the region of offer" if offer.region else "to no region, as of offer"
                yield problem(
                    f"no round trip from {workload.region} {where} {offer_name}; state it in region_latency, give the"
                    " offer its region, or leave the region out of residency",
                    *("workloads", name, "region"),
                )

    @property
    def has_orders(self) -> bool:
        """Whether servers are ordered before it is known when, or whether, they are needed."""
        return self.periods > 1 or bool(self.demand_scenarios)

    def highest_demand_rps(self, name: str) -> float:
        """Requests per second of a workload in the period, and as demand may turn out, in which it is largest."""
        workload = self.workloads[name]
        futures = self.demand_scenarios.values()
        return max(
            max((future.factor(name, t) for future in futures), default=1.0) * workload.demand_in(t)
            for t in range(self.periods)
        )

    def may_serve(self, workload: Workload, offer: Offer) -> bool:
        """Whether the workload may be served where the offer stands."""
        return workload.residency is None or offer.region in workload.residency

    def round_trip_ms(self, workload: Workload, offer: Offer) -> float:
        """The network's part of a request's time, from its users to the offer; 0 in the same region."""
        if workload.region is None or offer.region is None or workload.region == offer.region:
            return 0.0
        there = self.region_latency_ms.get(workload.region, {}).get(offer.region)
        back = self.region_latency_ms.get(offer.region, {}).get(workload.region)
        return there if there is not None else back if back is not None else 0.0

    def _knows_way(self, workload: Workload, offer: Offer) -> bool:
        pairs = ((workload.region, offer.region), (offer.region, workload.region))
        stated = any(str(to) in self.region_latency_ms.get(str(start), {}) for start, to in pairs)
        return workload.region == offer.region or (offer.region is not None and stated)

    @cached_property
    def _canonical(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True)

    def canonical(self) -> dict[str, Any]:
        """The normalised scenario: itself a valid scenario, complete in itself, that reads back to an equal one."""
        return copy.deepcopy(self._canonical)

    @cached_property
    def sha256(self) -> str:
        """Of the canonical JSON with sorted keys: the order of workloads and offers is no part of what is asked."""
        text = json.dumps(self._canonical, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()
