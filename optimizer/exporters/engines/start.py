"""How a planned replica group is started: engine, release, image, checkpoint and options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from catalog import Catalog
from catalog.schema import Model
from optimizer.checkpoints import checkpoint_of
from optimizer.errors import InputError
from optimizer.exporters.engines.dialect import Dialect, Planned, Setting, command_line, group_engine
from optimizer.exporters.engines.llamacpp import LLAMACPP
from optimizer.exporters.engines.sglang import SGLANG
from optimizer.exporters.engines.trtllm import TRTLLM
from optimizer.exporters.engines.vllm import VLLM
from optimizer.layout import Drafts, ReplicaGroup
from optimizer.memory import replica_memory
from optimizer.memory.stages import layers_per_stage
from optimizer.scenario import Speculation
from optimizer.scenario.pipelines import spans_of_formats
from optimizer.serving_config import drafter_of, one_configuration, sequences_per_rank
from optimizer.topology import Topology

DIALECTS: dict[str, Dialect] = {"vllm": VLLM, "sglang": SGLANG, "trtllm": TRTLLM, "llamacpp": LLAMACPP}


@dataclass(frozen=True, slots=True)
class Weights:
    """Where the weights come from."""

    checkpoint: str | None
    """Repository or folder; null = nobody publishes one that we know of, and the user must name it, see `needs`."""
    needs: str = ""
    """What that checkpoint must be, in words."""
    placeholder: str = ""
    """What stands for it where a file must hold a name."""
    options: Mapping[str, Setting] | None = None
    """Settings that make the format while loading."""


@dataclass(frozen=True, slots=True)
class Start:
    """All that a target must know to start a replica of a group."""

    engine: str
    dialect: Dialect
    release: str
    image: str | None
    """With a fixed tag; null = there is none for the card's vendor."""
    weights: Weights
    planned: Planned
    settings: Mapping[str, Setting]
    """Options without their dashes; without the checkpoint."""

    @property
    def options(self) -> list[str]:
        """The settings as words."""
        return self.options_without()

    def options_without(self, *names: str) -> list[str]:
        """The same but for those that something else says."""
        return command_line({name: value for name, value in self.settings.items() if name not in names})

    @property
    def checkpoint(self) -> str:
        """The checkpoint or what stands for it."""
        return self.weights.checkpoint or self.weights.placeholder


def start_of(group: ReplicaGroup, topology: Topology) -> Start:
    """How the group's engine is started; a KV type that the engine has no word for raises InputError."""
    engine = group_engine(group)
    dialect, catalog = DIALECTS[engine], topology.catalog
    planned = _planned(group, dialect, catalog)
    weights = _by_layer(group, planned) or _weights(planned, engine, topology)
    release = _release(group, dialect, catalog)
    image = dialect.images.get(planned.gpu.vendor.lower())
    return Start(
        engine,
        dialect,
        release,
        None if image is None else image.format(release=release),
        weights,
        planned,
        {**dialect.settings(planned), **(weights.options or {})},
    )


def _planned(group: ReplicaGroup, dialect: Dialect, catalog: Catalog) -> Planned:
    assert group.model is not None
    assert group.weight_dtype is not None
    assert group.tp is not None
    assert group.pp is not None
    assert group.dp is not None
    assert group.ep is not None
    assert group.max_batch_size is not None
    assert group.max_model_len is not None
    model, kv_cache_dtype = catalog.models[group.model], group.kv_cache_dtype or "auto"
    stages = group.stages or ()
    cards = [catalog.gpus[stage.gpu] for stage in stages] or [catalog.gpus[group.gpu]]
    gpu = next((card for card in cards if card.tflops.bf16 is None), cards[0])  # all compute in the type that each has
    if kv_cache_dtype not in dialect.kv_cache_dtypes:
        known = ", ".join(dialect.kv_cache_dtypes)
        raise InputError(f"{dialect.name} has no KV cache type {kv_cache_dtype}; plan with {known}")
    drafts = None if group.speculative is None else _speculation(group.speculative)
    configuration = one_configuration(
        model,
        catalog.engines[group_engine(group)],
        group.engine_version,
        gpu,
        catalog.formats[stages[0].weight_dtype if stages else group.weight_dtype],
        catalog.kv_formats[kv_cache_dtype],
        tp=group.tp,
        pp=group.pp,
        dp=group.dp,
        ep=group.ep,
        speculation=drafts,
        drafter=drafter_of(drafts, catalog.models),
    )
    memory = replica_memory(
        configuration,
        max_model_len=group.max_model_len,
        max_num_seqs=sequences_per_rank(np.array([group.max_batch_size]), configuration.dp),
        max_num_batched_tokens=group.max_num_batched_tokens,
        gpu_memory_utilization=group.gpu_memory_utilization,
    )
    gpus_gib = [s.memory.weights_gib * s.tp for s in stages] or [float(memory.weights_gib[0]) * group.gpus_per_replica]
    return Planned(
        model=model,
        gpu=gpu,
        weight_dtype=group.weight_dtype,
        kv_cache_dtype=dialect.kv_cache_dtypes[kv_cache_dtype],
        tp=group.tp,
        pp=group.pp,
        dp=group.dp,
        ep=group.ep,
        layers=tuple(_layers(group, model)),
        max_batch_size=group.max_batch_size,
        max_model_len=group.max_model_len,
        drafts=group.speculative,
        memory=memory,
        weights_gib=sum(gpus_gib),
    )


def _layers(group: ReplicaGroup, model: Model) -> list[int]:
    """Of each pipeline stage."""
    if group.stages is not None:
        return [last - first + 1 for first, last in (stage.layers for stage in group.stages)]
    return layers_per_stage(model.n_layers, group.pp or 1)


def _speculation(drafts: Drafts) -> Speculation:
    """As the scenario stated it."""
    return Speculation.model_construct(
        method=drafts.method,
        tokens=drafts.tokens,
        acceptance_fraction=drafts.acceptance_fraction,
        draft=drafts.draft,
    )


def _weights(planned: Planned, engine_id: str, topology: Topology) -> Weights:
    """The checkpoint that the plan's format is loaded from, else what it must be."""
    model, wanted, engine = planned.model, planned.weight_dtype, topology.catalog.engines[engine_id]
    found = checkpoint_of(model, wanted, engine, topology.scenario)
    if found is not None:
        options = DIALECTS[engine_id].online_quantization[wanted] if found.is_quantized else None
        return Weights(found.repository, options=options)
    kind = wanted if engine.loads_published or wanted.startswith("gguf-") else f"{wanted} as GGUF"
    return Weights(
        None,
        needs=f"a checkpoint of {model.id} in {kind}",
        placeholder=f"REPLACE-ME/{model.id.rpartition('/')[2].replace(' ', '-')}-{wanted}",
    )


def _by_layer(group: ReplicaGroup, planned: Planned) -> Weights | None:
    """A checkpoint whose layers are in several formats, which nobody publishes; null where they are in one."""
    stages = group.stages or ()
    formats = tuple(dict.fromkeys(stage.weight_dtype for stage in stages))
    if len(formats) < 2:
        return None
    spans = spans_of_formats((stage.weight_dtype, *stage.layers) for stage in stages)
    layers = ", ".join(f"{weights} in layers {first}-{last}" for weights, first, last in spans)
    return Weights(
        None,
        needs=f"a compressed-tensors checkpoint of {planned.model.id} with {layers}",
        placeholder=f"REPLACE-ME/{planned.model.id.rpartition('/')[2].replace(' ', '-')}-{'-'.join(formats)}",
    )


def _release(group: ReplicaGroup, dialect: Dialect, catalog: Catalog) -> str:
    """The dialect's release where the rules that the plan was computed by still hold for it, else the planned one."""
    planned, engine = group.engine_version or dialect.release, catalog.engines[group_engine(group)]
    if engine.at(planned) == engine.at(dialect.release):
        return dialect.release
    return planned if planned.count(".") > 1 else f"{planned}.0"
