"""Takes a model apart: every layer's tensors and cache from the model's dimensions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache

from catalog.architecture import attention, feedforward, recurrent
from catalog.architecture.attention import Mixer
from catalog.architecture.structure import Architecture, Cache, Layer, Split, Tensor
from catalog.schema import Model, TensorRole
from catalog.schema.drafted import DraftedModel
from catalog.schema.layers import LayerKind
from catalog.schema.model import HyperConnections, OtherTensor

MIXERS: Mapping[str, Callable[[Model], Mixer]] = {
    "full": attention.full_attention,
    "sliding": attention.sliding_attention,
    "chunked": attention.chunked_attention,
    "sparse": attention.sparse_attention,
    "mla": attention.latent_attention,
    "dsa": attention.sparse_latent_attention,
    "dsa_shared": attention.shared_sparse_latent_attention,
    "window": attention.window_attention,
    "csa": attention.compressed_sparse_attention,
    "hca": attention.heavily_compressed_attention,
    "mamba1": recurrent.mamba1,
    "mamba2": recurrent.mamba2,
    "gated_deltanet": recurrent.gated_deltanet,
    "kda": recurrent.kimi_delta,
    "lightning": recurrent.lightning_attention,
}
_MATRICES = (
    TensorRole.ATTENTION,
    TensorRole.LINEAR_ATTENTION,
    TensorRole.MLP,
    TensorRole.SHARED_EXPERT,
    TensorRole.EXPERT,
)
FEEDFORWARDS: Mapping[str, Callable[[Model, int | None], tuple[Tensor, ...]]] = {
    "dense": feedforward.dense,
    "moe": feedforward.mixture_of_experts,
}


@lru_cache(maxsize=1024)
def architecture_of(model: Model) -> Architecture:
    """The model taken apart; cached per model."""
    kinds = model.layer_kinds
    by_kind = {kind: _layer(model, kind) for kind in dict.fromkeys(kinds)}
    hidden, vocabulary = model.hidden_size, model.vocab_size
    beside = _in_16_bit(architecture_of(model.drafter)) if isinstance(model, DraftedModel) else _NOTHING
    heads_from = len(kinds) - model.draft_layers
    own = (by_kind[k] if i < heads_from else _drafting(model, by_kind[k]) for i, k in enumerate(kinds))
    return Architecture(
        layers=(*own, *beside.layers),
        embedding=(
            Tensor(TensorRole.EMBEDDING, vocabulary * hidden, Split.TP),
            *_other_once(model),
            *beside.embedding,
        ),
        head=(*_head(model), *beside.head),
        n_heads=model.heads,
        n_kv_heads=model.kv_heads,
        n_experts=model.moe.experts if model.moe else 0,
        experts_per_token=model.moe.experts_per_token if model.moe else 0,
    )


_NOTHING = Architecture((), (), (), 0, 0, 0, 0)


def _in_16_bit(whole: Architecture) -> Architecture:
    """The same with tensors of a role that no format quantizes."""

    def kept(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(tensor._replace(role=TensorRole.NORM) for tensor in tensors)

    by_layer = {layer: replace(layer, tensors=kept(layer.tensors)) for layer in dict.fromkeys(whole.layers)}
    layers = tuple(by_layer[layer] for layer in whole.layers)
    return replace(whole, layers=layers, embedding=kept(whole.embedding), head=kept(whole.head))


def _layer(model: Model, kind: LayerKind) -> Layer:
    mixer = MIXERS[kind.mixer](model) if kind.mixer else Mixer((), Cache("none"))
    feedforward_tensors = FEEDFORWARDS[kind.feedforward](model, kind.intermediate_size) if kind.feedforward else ()
    parts = bool(kind.mixer) + bool(kind.feedforward)
    norms = model.norms.per_layer if parts == 2 else parts  # a layer with one part has one norm
    if model.hyper_connections and model.hyper_connections.low_rank:
        norms = 0  # the connections bring theirs
    around = [Tensor(TensorRole.NORM, norms * _norm_width(model), Split.REPLICATED)] if norms else []
    around += [
        Tensor(other.role, other.parameters_per_layer, _split_of(other))
        for other in model.other_tensors
        if other.parameters_per_layer
    ]
    if model.hyper_connections:
        around += [_hyper_connection(model.hidden_size, model.hyper_connections)] * parts
    return Layer(
        tensors=(*mixer.tensors, *feedforward_tensors, *around),
        cache=mixer.cache,
        flops_per_token_per_context_token=mixer.flops_per_token_per_context_token,
        attended_tokens=mixer.attended_tokens,
        indexer_flops_per_token_per_context_token=mixer.indexer_flops_per_token_per_context_token,
    )


def _drafting(model: Model, layer: Layer) -> Layer:
    """The same as a layer that drafts tokens: its matrices are stored as the checkpoint stores those.

    Experts with a format of their own have it there, too (DeepSeek-V4, expert_dtype).
    """
    own = {TensorRole.EXPERT} if model.checkpoint.expert_format else set()
    stored = set(_MATRICES) - own
    tensors = (t._replace(role=TensorRole.DRAFT) if t.role in stored else t for t in layer.tensors)
    return replace(layer, tensors=tuple(tensors))


def _head(model: Model) -> tuple[Tensor, ...]:
    connections = model.hyper_connections
    if connections and connections.low_rank:  # mixed once more, with a norm but nothing handed back
        tensors = [Tensor(TensorRole.NORM, _low_rank_mixer(model.hidden_size, connections), Split.REPLICATED)]
    else:
        tensors = [Tensor(TensorRole.NORM, _norm_width(model), Split.REPLICATED)]
        if connections and connections.weighted_head:  # matrix, base, scale
            streams = connections.streams
            weights = streams * streams * model.hidden_size + streams + 1
            tensors.append(Tensor(TensorRole.HYPER_CONNECTION, weights, Split.REPLICATED))
    if not model.tied_embeddings:
        tensors.append(
            Tensor(TensorRole.LM_HEAD, model.vocab_size * (model.hidden_size + model.lm_head_bias), Split.TP)
        )
    return tuple(tensors)


def _hyper_connection(hidden: int, connections: HyperConnections) -> Tensor:
    """Weights that collapse the residual streams before a part, and expand and mix them after it."""
    streams = connections.streams
    if connections.low_rank:
        handed_back = streams * streams * hidden
        return Tensor(TensorRole.NORM, _low_rank_mixer(hidden, connections) + handed_back, Split.REPLICATED)
    width = (2 + streams) * streams
    return Tensor(TensorRole.HYPER_CONNECTION, width * streams * hidden + width + 3, Split.REPLICATED)


def _low_rank_mixer(hidden: int, connections: HyperConnections) -> int:
    """A norm over all streams, a matrix down to the rank and one up again."""
    width = connections.streams * hidden
    return width + 2 * width * (connections.low_rank or 0)


def _other_once(model: Model) -> list[Tensor]:
    return [
        Tensor(other.role, other.parameters_once, _split_of(other))
        for other in model.other_tensors
        if other.parameters_once
    ]


def _split_of(other: OtherTensor) -> Split:
    return Split.TP if other.divided else Split.REPLICATED


def _norm_width(model: Model) -> int:
    return model.hidden_size * (2 if model.norms.bias else 1)
