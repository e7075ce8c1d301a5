"""A model cut into pipeline stages: what each stage holds and caches, counted once per model and depth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from catalog.architecture import Architecture, Cache, Layer, Split, Tensor, architecture_of
from catalog.schema import Model, TensorRole
from optimizer.memory.allocations import Matrix, matrices_of
from optimizer.serving_config import BoolArray, FloatArray, IntArray

GROWING = ("full", "latent")
"""Kinds of cache that hold every token of a sequence."""


class WeightKind(NamedTuple):
    """Weights that are stored and divided alike."""

    role: TensorRole
    split: Split
    kv_heads: int
    """Of the layer, where the split is by key/value head; else 0."""


class CacheClass(NamedTuple):
    """Layers whose caches grow alike: all tokens, those of a window or chunk, or a constant per sequence."""

    kind: str
    """`growing`, `sliding`, `chunked` or `state`."""
    window_tokens: int | None


@dataclass(frozen=True, slots=True)
class Stage:
    """One pipeline stage; stages that hold the same are one object."""

    n_layers: int
    first: bool
    last: bool
    kinds: tuple[WeightKind, ...]
    parameters: FloatArray  # [kinds]
    caches: tuple[tuple[tuple[Cache, int], ...], ...]  # [classes] -> distinct caches and how many layers have each
    matrices: tuple[tuple[Matrix, int], ...]
    """Large matrices of the layers, as engines fuse them, and how many of each."""
    latent_layers: int
    """Layers with latent attention."""
    expert_layers: int
    """Layers with routed experts."""


@dataclass(frozen=True, slots=True)
class StageRows:
    """n stages of one model, each in a row: what sizing looks at beside their weights."""

    first: BoolArray  # [n]
    last: BoolArray  # [n]
    n_layers: IntArray  # [n]
    caches: tuple[tuple[tuple[Cache, IntArray], ...], ...]
    """[classes] -> distinct caches and how many layers of each stage [n] have each."""

    @classmethod
    def of(cls, stages: Sequence[Stage], row: IntArray) -> StageRows:
        """In each row the stage of that index."""
        counted = [[dict(caches) for caches in stage.caches] for stage in stages]
        of_classes = zip(*counted, strict=True)
        distinct = [dict.fromkeys(cache for caches in of_class for cache in caches) for of_class in of_classes]
        return cls(
            first=np.array([stage.first for stage in stages])[row],
            last=np.array([stage.last for stage in stages])[row],
            n_layers=np.array([stage.n_layers for stage in stages])[row],
            caches=tuple(
                tuple((cache, np.array([one[number].get(cache, 0) for one in counted])[row]) for cache in caches)
                for number, caches in enumerate(distinct)
            ),
        )


@dataclass(frozen=True, slots=True)
class ModelParts:
    """What sizing needs of a model, apart from how it is cut."""

    architecture: Architecture
    classes: tuple[CacheClass, ...]
    layers_of_class: tuple[int, ...]
    dense_width: int
    """Widest dense feed-forward part; 0 = none."""
    rope_values: int
    """Cosines and sines of every position."""


_PARTS: dict[int, tuple[Model, ModelParts]] = {}
_STAGES: dict[tuple[int, int], tuple[Model, tuple[Stage, ...]]] = {}
_LIMITING: dict[tuple[int, int], tuple[Model, tuple[Stage, ...]]] = {}
_SPANS: dict[tuple[int, tuple[int, ...]], tuple[Model, Stage]] = {}
# Keyed by identity, not by value: hashing a model costs more than sizing it. The entry keeps its model alive, so that
# an id is never another model's.


def parts_of(model: Model) -> ModelParts:
    """The model's layers sorted into cache classes, with the widths that activations depend on."""
    known = _PARTS.get(id(model))
    if known is not None:
        return known[1]
    architecture = architecture_of(model)
    classes = tuple(dict.fromkeys(c for c in map(_class_of, (layer.cache for layer in architecture.layers)) if c))
    counts = Counter(_class_of(layer.cache) for layer in architecture.layers)
    parts = ModelParts(
        architecture=architecture,
        classes=classes,
        layers_of_class=tuple(counts[cache_class] for cache_class in classes),
        dense_width=_dense_width(model),
        rope_values=_rope_values(model),
    )
    _PARTS[id(model)] = (model, parts)
    return parts


def stages_of(model: Model, pp: int) -> tuple[Stage, ...]:
    """The distinct stages of a model cut into `pp`, in order of their first appearance."""
    known = _STAGES.get((id(model), pp))
    if known is not None:
        return known[1]
    architecture, classes = architecture_of(model), parts_of(model).classes
    edges = np.cumsum([0, *layers_per_stage(len(architecture.layers), pp)])
    stages: dict[tuple[object, ...], Stage] = {}
    for index in range(pp):
        layers = architecture.layers[edges[index] : edges[index + 1]]
        stage = _stage(model, architecture, classes, layers, first=index == 0, last=index == pp - 1)
        stages.setdefault((stage.kinds, tuple(stage.parameters), stage.caches, stage.first, stage.last), stage)
    distinct = tuple(stages.values())
    _STAGES[id(model), pp] = (model, distinct)
    return distinct


def limiting_stages(model: Model, pp: int) -> tuple[Stage, ...]:
    """Those of `stages_of` of which one limits the replica: none that holds less than another with the same layers."""
    known = _LIMITING.get((id(model), pp))
    if known is not None:
        return known[1]
    stages = stages_of(model, pp)
    limiting = tuple(
        stage
        for i, stage in enumerate(stages)
        if not any(
            _holds(other, stage) and (j < i or not _holds(stage, other)) for j, other in enumerate(stages) if j != i
        )
    )
    _LIMITING[id(model), pp] = (model, limiting)
    return limiting


def _holds(more: Stage, less: Stage) -> bool:
    """Whether a stage has the layers of another and all that the other has beside them."""
    layers, others = (
        (one.n_layers, [*map(dict, one.caches)], dict(one.matrices), one.latent_layers, one.expert_layers)
        for one in (more, less)
    )
    held = dict(zip(more.kinds, more.parameters.tolist(), strict=True))
    return (
        layers == others
        and (more.first or not less.first)
        and (more.last or not less.last)
        and all(held.get(kind, 0.0) >= n for kind, n in zip(less.kinds, less.parameters.tolist(), strict=True))
    )


def stages_of_spans(model: Model, spans: IntArray) -> tuple[tuple[Stage, ...], IntArray]:
    """The distinct stages among spans of layers [n, 2], first and last layer of each, and which one each is [n]."""
    layers = architecture_of(model).layers
    number = {layer: i for i, layer in enumerate(dict.fromkeys(layers))}
    before = np.zeros((len(layers) + 1, len(number)), np.int64)  # layers of each kind
    before[1:] = np.cumsum(np.eye(len(number), dtype=np.int64)[[number[layer] for layer in layers]], axis=0)
    held = before[spans[:, 1] + 1] - before[spans[:, 0]]
    content = np.column_stack([held, spans[:, 0] == 0, spans[:, 1] == len(layers) - 1])
    code = np.ravel_multi_index(tuple(content.T), (*(before[-1] + 1).tolist(), 2, 2))
    _, first, which = np.unique(code, return_index=True, return_inverse=True)
    keys = [tuple(row) for row in content[first].tolist()]
    examples = spans[first].tolist()
    return tuple(_spanning(model, key, *span) for key, span in zip(keys, examples, strict=True)), which.ravel()


def _spanning(model: Model, content: tuple[int, ...], first: int, last: int) -> Stage:
    """The stage of layers `first` to `last`, both included; what it holds is its key."""
    known = _SPANS.get((id(model), content))
    if known is not None:
        return known[1]
    architecture = architecture_of(model)
    layers = architecture.layers[first : last + 1]
    ends_model = last == len(architecture.layers) - 1
    stage = _stage(model, architecture, parts_of(model).classes, layers, first=first == 0, last=ends_model)
    _SPANS[id(model), content] = (model, stage)
    return stage


def layers_per_stage(n_layers: int, pp: int) -> list[int]:
    """Even shares; what remains goes to the later stages except the last, which also holds the output matrix.

    As vLLM's `get_pp_indices` does: https://docs.vllm.ai/en/latest/api/vllm/distributed/utils/
    """
    shares = [n_layers // pp] * pp
    for spare in range(n_layers % pp):
        shares[-2 - spare if pp > 1 else -1] += 1
    return shares


def _stage(
    model: Model,
    architecture: Architecture,
    classes: tuple[CacheClass, ...],
    layers: tuple[Layer, ...],
    *,
    first: bool,
    last: bool,
) -> Stage:
    of_kind = Counter(layers)
    counted: Counter[WeightKind] = Counter()
    caches: list[Counter[Cache]] = [Counter() for _ in classes]
    for layer, times in of_kind.items():
        _count(counted, layer.tensors, layer.cache.kv_heads, times)
        if (cache_class := _class_of(layer.cache)) is not None:
            caches[classes.index(cache_class)][layer.cache] += times
    if first or (last and model.tied_embeddings):  # a last stage of its own needs the shared matrix once more
        _count(counted, architecture.embedding, 0)
    if last:
        _count(counted, architecture.head, 0)
    latent = sum(times for layer, times in of_kind.items() if layer.cache.kind == "latent")
    return Stage(
        n_layers=len(layers),
        first=first,
        last=last,
        kinds=tuple(counted),
        parameters=np.array(list(counted.values()), dtype=np.float64),
        caches=tuple(tuple(counter.items()) for counter in caches),
        matrices=tuple(matrices_of(model, of_kind).items()),
        latent_layers=latent if model.latent_attention else 0,
        expert_layers=sum(times for layer, times in of_kind.items() if _has_experts(layer)),
    )


def _has_experts(layer: Layer) -> bool:
    return any(tensor.role is TensorRole.EXPERT for tensor in layer.tensors)


def _count(counted: Counter[WeightKind], tensors: Iterable[Tensor], kv_heads: int, times: int = 1) -> None:
    for tensor in tensors:
        by_head = kv_heads if tensor.split is Split.KV_HEADS else 0
        counted[WeightKind(tensor.role, tensor.split, by_head)] += tensor.parameters * times


def _class_of(cache: Cache) -> CacheClass | None:
    if cache.kind in GROWING:
        return CacheClass("growing", None)
    if cache.kind == "recurrent":
        return CacheClass("state", None)
    return None if cache.kind == "none" else CacheClass(cache.kind, cache.window_tokens)


def _dense_width(model: Model) -> int:
    widths = [kind.intermediate_size for kind in model.layer_kinds if kind.intermediate_size]
    if model.mlp is not None:
        widths.append(model.mlp.intermediate_size)
    if model.moe is not None:
        widths.append(model.moe.shared_intermediate_size)
    return max(widths, default=0)


def _rope_values(model: Model) -> int:
    if model.rotary_dim is not None:
        width = model.rotary_dim
    elif model.latent_attention is not None:
        width = model.latent_attention.qk_rope_head_dim
    else:
        width = model.attention.head_dim if model.attention is not None else 0
    return (model.rope_table_tokens or model.max_context_tokens) * width
