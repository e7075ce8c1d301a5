"""Constants of the performance model, with what they were fitted on and how far they are off."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date as Date  # noqa: N812 - as pydantic needs another name than the field's
from functools import cached_property
from typing import Literal, NamedTuple

from pydantic import Field

from catalog.errors import InputError
from catalog.schema.base import Entry, Fraction, Label, PositiveFloat, PositiveInt, Source
from catalog.schema.versions import version_key

Metric = Literal["ttft", "tpot"]
PerformanceName = Literal["calibrated", "silicon"]


class Traits(NamedTuple):
    """What constants may depend on."""

    engine: str
    era: str
    """Of the engine's version, see `Era`; `current` when none is older."""
    gpu: str
    generation: str
    """Architecture and memory of the card: `hopper`, `ampere-gddr`, `apple-unified`."""
    weights: str
    """Width of the quantized weights: `16bit`, `8bit`, `4bit`."""
    compute: str
    """Type of the matrix products: `16bit`, `fp8`, `int8`, `fp4`."""
    attention: str
    """`heads` (separate keys and values), `latent` or `recurrent`."""
    link: str
    """What joins the tensor-parallel ranks: `fast`, `pcie` or `network`."""
    model: str


class Factor(Entry):
    """A multiplier where every trait named here has the value given; several apply together."""

    engine: str | None = None
    era: str | None = None
    gpu: str | None = None
    generation: str | None = None
    weights: str | None = None
    compute: str | None = None
    attention: str | None = None
    link: str | None = None
    model: str | None = None
    factor: PositiveFloat
    points: PositiveInt
    """Measurements that stood behind it; few of them leave it near 1."""

    @property
    def where(self) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """Positions in `Traits` of the traits named, and their values."""
        named = [(i, value) for i, name in enumerate(Traits._fields) if (value := getattr(self, name)) is not None]
        return tuple(i for i, _ in named), tuple(value for _, value in named)


class Constant(Entry):
    """A number with its departures; an unseen engine or card gets the value of those it does share traits with."""

    value: PositiveFloat
    label: Label = Label.MEASURED
    """`measured` = fitted; anything else is kept from the source in `note` because no data tell it."""
    note: str = ""
    factors: tuple[Factor, ...] = ()


class Constants(Entry):
    """Every constant of the model. Efficiencies are fractions of the card's rated speed."""

    weight_read_efficiency: Constant
    """Weights outside the experts, read once a step."""
    expert_read_efficiency: Constant
    """Weights of the experts that a step touches."""
    kv_read_efficiency: Constant
    """KV cache and recurrent states."""
    compute_efficiency: Constant
    """Matrix products of decode, outside the experts."""
    expert_compute_efficiency: Constant
    """Matrix products of the experts in decode."""
    prefill_efficiency: Constant
    """Matrix products of prefill, outside the experts."""
    expert_prefill_efficiency: Constant
    """Matrix products of the experts in prefill."""
    attention_efficiency: Constant
    """Arithmetic of attention, both of decode and of prefill."""
    step_ms: Constant
    """Scheduling and sampling of a step, whatever its size."""
    layer_ms: Constant
    """Kernels of a layer that take no time to read or multiply: launch, norms, small tensors."""
    moe_layer_ms: Constant
    """On top, of a layer with routed experts."""
    latent_layer_ms: Constant
    """On top, of a layer with latent attention."""
    recurrent_layer_ms: Constant
    """On top, of a layer with a recurrent state."""
    sequence_ms: Constant
    """Of a sequence in the batch: sampling, detokenizing, bookkeeping."""
    all_reduce_ms: Constant
    """Latency of an all-reduce between two ranks; every doubling of them adds half of it."""
    link_efficiency: Constant
    """Bandwidth of collectives between the ranks."""
    all_to_all_ms: Constant
    """Latency of handing tokens to experts, or back, across attention-data-parallel ranks."""
    pipeline_ms: Constant
    """Latency of handing activations from one pipeline stage to the next."""
    expert_imbalance: Constant
    """By how much the busiest expert-parallel rank exceeds the mean when few experts are touched."""
    data_parallel_imbalance: Constant
    """By how much a prefill on one attention-data-parallel rank delays the others."""
    prefill_layer_ms: Constant
    """Of a prefill, per layer: kernels launched one by one."""
    prefill_moe_layer_ms: Constant
    """On top, of a layer with routed experts."""
    prefill_latent_layer_ms: Constant
    """On top, of a layer with latent attention."""
    prefill_recurrent_layer_ms: Constant
    """On top, of a layer with a recurrent state."""
    prefill_interference: Constant
    """Part of a prefill's own time by which it delays the sequences that decode beside it."""
    request_ms: Constant
    """Of a request, once: arriving, tokenizing, scheduling; delays nobody else."""
    ttft_steps: Constant
    """Decode steps that pass before and after a request's own prefill until its first token reaches the client."""
    waited_prefills: Constant
    """Prefills of others that a request waits for as soon as others are in flight."""
    waited_prefills_per_sequence: Constant
    """Further ones, per other request in flight."""


class Era(Entry):
    """Versions of an engine before one that changed its speed."""

    engine: str
    name: str
    before: str
    """First version that no longer belongs to it."""


class Residual(Entry):
    """Held-out quantiles of measured over predicted, where every trait named has the value given."""

    metric: Metric
    engine: str | None = None
    generation: str | None = None
    gpu: str | None = None
    model: str | None = None
    low: PositiveFloat
    """10 % of measurements lie below."""
    high: PositiveFloat
    """10 % lie above."""
    points: PositiveInt


class Spread(Entry):
    """What held-out errors are made of: standard deviations of the logarithm of measured over predicted."""

    pair: PositiveFloat
    """Of an engine on a card, whatever the model."""
    model: PositiveFloat
    """Of one model there."""
    run: PositiveFloat
    """Of single runs of it."""


class Widening(Entry):
    """How much wider the interval becomes, in the logarithm, outside what was fitted."""

    engine: PositiveFloat
    """An engine without measurements."""
    generation: PositiveFloat
    """A generation of cards without measurements."""
    pair: PositiveFloat
    """A generation not measured with this era of the engine, though with others."""
    pipeline: PositiveFloat
    """Pipeline parallelism."""
    weights: PositiveFloat
    """A width of weights not measured with this engine."""
    concurrency: PositiveFloat
    """More sequences than were measured with this engine."""
    note: str


class Silicon(Entry):
    """How far predictions are off whose steps are timed by kernels as aiconfigurator-core measured them."""

    version: str
    """Of the package."""
    residuals: tuple[Residual, ...] = Field(min_length=2)


class Fitted(Entry):
    """What a calibration has seen of one era of an engine on one generation."""

    engine: str
    era: str
    generation: str
    gpu: str | None = None
    """A single card of the generation that alone was measured; null = it speaks for all of them."""
    weights: tuple[str, ...]
    max_concurrency: PositiveInt
    points: PositiveInt


class DataUsed(Entry):
    """One family of sources in the fit."""

    source_family: str
    metric: Literal["ttft", "tpot", "throughput", "prefill"]
    points: PositiveInt
    weight: PositiveFloat
    """Of the family in the fit, all families together = 1."""
    median_error: float
    """In the fit."""
    held_out_median_error: float | None
    """With whole groups (model × GPU × engine) left out; null = never left out."""


class Calibration(Entry):
    """A set of constants; a user's own lies over the shipped one."""

    kind: Literal["calibration"] = "calibration"
    id: str
    name: str
    fitted: Date
    method: str
    constants: Constants
    output_held_fraction: Mapping[str, Fraction]
    """Engine -> part of a request's output that it holds in the KV cache on average while it runs: 0.5 where blocks are
    handed out as it grows, 1 where all of them are reserved at admission; `""` = any other engine."""
    network_gb_per_s: PositiveFloat
    """Per GPU and direction between servers, when nothing says otherwise."""
    server_gpus: PositiveInt
    """GPUs of a server with PCIe cards, when nothing says otherwise."""
    eras: tuple[Era, ...] = ()
    residuals: tuple[Residual, ...] = Field(min_length=2)
    spreads: Mapping[Metric, Spread]
    """How much of an error one's own benchmarks of a card, or of a model on it, can take away."""
    widening: Widening
    fitted_on: tuple[Fitted, ...]
    data: tuple[DataUsed, ...]
    sources: tuple[Source, ...] = Field(min_length=1)
    notes: str = ""
    silicon: Silicon | None = None
    """Errors of the other way to time steps; null = not known."""
    performance: PerformanceName = "calibrated"
    """What times steps: these constants (`calibrated`), or measured kernels (`silicon`)."""
    confidence_fraction: Fraction = 0.5
    """Part of measurements that predictions are to be better than; 50 % = the predictions as they were fitted."""

    @property
    def residuals_in_use(self) -> tuple[Residual, ...]:
        """Those of what times steps; InputError where they are not known."""
        if self.performance == "calibrated":
            return self.residuals
        if self.silicon is None:
            raise InputError(f"calibration {self.id} does not say how far silicon tables are off; calibrate again")
        return self.silicon.residuals

    def era_of(self, engine: str, version: str | None) -> str:
        """Era of an engine's version; a version left out is the newest."""
        if version is not None:
            for era in self.eras:
                if era.engine == engine and version_key(version) < version_key(era.before):
                    return era.name
        return "current"

    def constants_for(self, traits: Traits) -> tuple[float, ...]:
        """The constants in the order of `Constants`, every factor that applies multiplied in."""
        known = self._resolved.get(traits)
        if known is None:
            values = list(self._values)
            for positions, factors in self._patterns.items():
                for index, factor in factors.get(tuple(traits[i] for i in positions), ()):
                    values[index] *= factor
            known = self._resolved[traits] = tuple(values)
        return known

    @cached_property
    def _resolved(self) -> dict[Traits, tuple[float, ...]]:
        return {}

    @cached_property
    def _values(self) -> list[float]:
        """Of each constant, without factors."""
        return [getattr(self.constants, name).value for name in Constants.model_fields]

    @cached_property
    def _patterns(self) -> dict[tuple[int, ...], dict[tuple[str, ...], list[tuple[int, float]]]]:
        """Positions of traits -> their values -> the constants that these change, by index, and by how much."""
        patterns: dict[tuple[int, ...], dict[tuple[str, ...], list[tuple[int, float]]]] = {}
        for index, name in enumerate(Constants.model_fields):
            for factor in getattr(self.constants, name).factors:
                positions, values = factor.where
                patterns.setdefault(positions, {}).setdefault(values, []).append((index, factor.factor))
        return patterns
