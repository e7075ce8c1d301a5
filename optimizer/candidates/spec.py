"""What a candidate is: a replica specification on an offer, and the rates it sustains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from optimizer.layout import Drafts, ReplicaGroup
from optimizer.scenario import Offer, Speculation
from optimizer.scenario.pipelines import formats_by_layer
from optimizer.serving_config import FloatArray, IntArray, Links, links_on, links_over

OVER = "over"
"""Before the offers of a structure that stands on several."""


class StageSpec(NamedTuple):
    """One stage of a pipeline over several offers; it takes `tp` GPUs of one server."""

    offer: str
    gpu: str
    first_layer: int
    last_layer: int
    weight_dtype: str
    links: Links | None = None

    @property
    def label(self) -> str:
        """`old 0-23`"""
        return f"{self.offer} {self.first_layer}-{self.last_layer}"


@dataclass(frozen=True, slots=True)
class ReplicaSpec:
    """One way to run a replica. Of a measured replica only the GPUs are known; all else is None."""

    gpu: str
    gpus: int
    model: str | None = None
    weight_dtype: str | None = None
    kv_cache_dtype: str | None = None
    engine: str | None = None
    tp: int | None = None
    pp: int | None = None
    dp: int | None = None
    ep: int | None = None
    max_batch_size: int | None = None
    max_model_len: int | None = None
    max_num_batched_tokens: int | None = None
    """None = the engine's default."""
    links: Links | None = None
    speculation: Speculation | None = None
    limit: str | None = None
    """What keeps batch and load from growing: a latency target, `memory` or `max_batch_size`."""
    serves: tuple[str, ...] = ()
    """The request classes that hold their targets there, where some do not; () = all do."""
    stages: tuple[StageSpec, ...] = ()
    """Of a pipeline whose stages differ; () = they are alike, or there is but one."""

    @property
    def cards(self) -> tuple[str, ...]:
        """The GPU type, or where stages differ that of each."""
        return tuple(stage.gpu for stage in self.stages) or (self.gpu,)

    @property
    def choice(self) -> str:
        """What `single_format` allows one of: the model and its weight format, of which each layer may have its own."""
        if self.model is None:
            return "measured"
        if len({stage.weight_dtype for stage in self.stages}) < 2:
            return f"{self.model} {self.weight_dtype}"
        spans = ((stage.weight_dtype, stage.first_layer, stage.last_layer) for stage in self.stages)
        return f"{self.model} {formats_by_layer(spans)}"

    @property
    def structure(self) -> str:
        """What makes one plan different in kind from another: `Qwen/Qwen3-14B fp8 tp2`.

        Where stages end, and which comes first, makes none: `Qwen/Qwen3-14B int8+int4 pp3 over 1 new + 2 old`.
        """
        if self.model is None:
            return f"measured x{self.gpus}"
        if not self.stages:
            return " ".join([self.choice, *self._degrees, *self._drafts])
        on = " + ".join(f"{n} {offer}" for offer, n in sorted(Counter(stage.offer for stage in self.stages).items()))
        return " ".join([self.model, str(self.weight_dtype), *self._degrees, OVER, on, *self._drafts])

    @property
    def _degrees(self) -> list[str]:
        """Degrees above one."""
        named = (("tp", self.tp), ("pp", self.pp), ("dp", self.dp), ("ep", self.ep))
        return [f"{name}{n}" for name, n in named if n != 1]

    @property
    def _drafts(self) -> list[str]:
        """How tokens are drafted, where they are."""
        return [] if self.speculation is None else [f"{self.speculation.method}{self.speculation.tokens}"]

    @property
    def label(self) -> str:
        """A short unique name on its offer, such as `Qwen/Qwen3-14B fp8 auto vllm tp2 b64`."""
        if self.model is None:
            return f"measured x{self.gpus}"
        served = (f"for {','.join(self.serves)}",) if self.serves else ()
        batch, tokens = f"b{self.max_batch_size}", self.max_num_batched_tokens
        stands = [f"{OVER} {' + '.join(stage.label for stage in self.stages)}"] if self.stages else []
        name = [self.choice, str(self.kv_cache_dtype), str(self.engine), *self._degrees, *stands, *self._drafts, batch]
        return " ".join([*name, *((f"t{tokens}",) if tokens else ()), *served])


def on_offer(structure: str, offer: str) -> str:
    """A structure with its offer: `Qwen/Qwen3-14B fp8 tp2 on lab`; one that stands on several names them itself."""
    return structure if f" {OVER} " in structure else f"{structure} on {offer}"


def planned_spec(group: ReplicaGroup) -> ReplicaSpec:
    """The specification of replicas that a plan holds, but for their links, of which plans say nothing."""
    served = tuple(name for name, rate_rps in group.rate_rps.items() if rate_rps > 0)
    drafts = group.speculative
    return ReplicaSpec(
        gpu=group.gpu,
        gpus=group.gpus_per_replica,
        model=group.model,
        weight_dtype=group.weight_dtype,
        kv_cache_dtype=group.kv_cache_dtype,
        engine=group.engine,
        tp=group.tp,
        pp=group.pp,
        dp=group.dp,
        ep=group.ep,
        max_batch_size=group.max_batch_size,
        max_model_len=group.max_model_len,
        max_num_batched_tokens=group.max_num_batched_tokens,
        speculation=None if drafts is None else _speculation(drafts),
        serves=() if len(served) == len(group.rate_rps) else served,
        stages=tuple(StageSpec(s.offer, s.gpu, s.layers[0], s.layers[1], s.weight_dtype) for s in group.stages or ()),
    )


def linked_spec(group: ReplicaGroup, inventory: Mapping[str, Offer], network_gb_per_s: float) -> ReplicaSpec:
    """The same with their links; `network_gb_per_s` is that of an offer that does not say."""
    spec, offer = planned_spec(group), inventory[group.offer]
    if not spec.stages:
        return replace(spec, links=links_on(offer, between_servers=group.gpus_per_replica > offer.gpus_per_server))
    among = [inventory[stage.offer] for stage in spec.stages]
    joined = [links_over(one, among, network_gb_per_s) for one in among]
    stages = zip(spec.stages, joined, strict=True)
    return replace(spec, stages=tuple(stage._replace(links=links) for stage, links in stages))


def _speculation(drafts: Drafts) -> Speculation:
    return Speculation.model_construct(
        method=drafts.method, tokens=drafts.tokens, acceptance_fraction=drafts.acceptance_fraction, draft=drafts.draft
    )


@dataclass(frozen=True, slots=True)
class Candidates:
    """The candidates of one workload: specifications spread over the offers that can hold them."""

    workload: str
    specs: tuple[ReplicaSpec, ...]  # [K]
    offer: IntArray  # [K] position in the inventory
    gpus_per_replica: IntArray  # [K]
    rate_rps: FloatArray  # [K, R] 0 = the class cannot be served there
    n_evaluated: int = 0
    """Configurations looked at, before any was rejected."""
    rejected: Mapping[str, int] = field(default_factory=dict)
    """Reason -> configurations rejected for it."""
    nearest_ms: Mapping[str, float] = field(default_factory=dict)
    """Latency target that rejected some -> the least that any configuration that fits reaches."""
