"""Model architectures: dimensions, layers, checkpoint, and how their parameter count was verified."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from catalog.schema.base import Entry, PositiveInt, Source
from catalog.schema.checkpoint import Checkpoint, Conversion, Published
from catalog.schema.formats import TensorRole
from catalog.schema.layers import LayerKind, expand_layers, parse_word

Count = Annotated[int, Field(ge=0)]

SOFTMAX_MIXERS = ("full", "sliding", "chunked", "sparse")
"""Attention over keys and values: of all tokens, of the last `window_tokens`, of the current chunk of `window_tokens`,
of the blocks that an indexer chooses (every key and value stays cached)."""
LATENT_MIXERS = ("mla", "dsa", "dsa_shared")
"""Multi-head latent attention; sparse with its own indexer; sparse with the tokens an earlier layer's indexer chose."""
COMPRESSED_MIXERS = ("window", "csa", "hca")
"""DeepSeek-V4: a window only, with compressed sparse, with heavily compressed attention beside the window."""


class Attention(Entry):
    """Softmax attention with separate keys and values (MHA, GQA, MQA)."""

    heads: PositiveInt
    kv_heads: PositiveInt
    head_dim: PositiveInt
    value_head_dim: PositiveInt | None = None
    """When values are narrower or wider than keys."""
    qkv_bias: bool = False
    output_bias: bool = False
    qk_norm: Literal["none", "head", "all", "each_head"] = "none"
    """Norm weights on queries and keys: one head_dim that the heads share, all heads as one vector, or one per head."""
    gate: Literal["none", "full", "head"] = "none"
    """Sigmoid gate on the output, projected from the layer's input: per value, or one number a head."""
    sinks: bool = False
    """A learned logit per head that takes attention from nobody."""
    key_is_value: bool = False
    """No value projection: values are the keys before their norm. Engines cache both all the same."""

    @model_validator(mode="after")
    def _kv_heads_serve_equal_groups(self) -> Attention:
        if self.heads % self.kv_heads:
            raise ValueError(f"kv_heads: {self.kv_heads} does not divide heads: {self.heads}")
        return self


class LatentAttention(Entry):
    """Multi-head latent attention (DeepSeek): keys and values are cached as one latent vector."""

    heads: PositiveInt
    q_lora_rank: PositiveInt | None = None
    """Null = queries are projected directly."""
    kv_lora_rank: PositiveInt
    qk_nope_head_dim: PositiveInt
    qk_rope_head_dim: Count
    """0 = no positions (GLM-5.3-Flash)."""
    v_head_dim: PositiveInt
    gate: bool = False
    """Sigmoid gate on the output, projected from the layer's input."""


class Indexer(Entry):
    """Lightning indexer of sparse attention: small heads that choose which cached tokens to attend to."""

    heads: PositiveInt
    head_dim: PositiveInt
    topk_tokens: PositiveInt
    cached_bytes_per_token: PositiveInt
    """Key of one token as engines store it (fp8 key + fp32 scale per 128, or 16 bit); its share if pooled."""
    pool_tokens: PositiveInt = 1
    """Keys of so many tokens become one, by learned weights (GLM-5.3-Flash); 1 = every token keeps its own."""


class CompressedAttention(Entry):
    """DeepSeek-V4: one shared key/value head, kept for a window and, compressed, for every 4 or 128 tokens."""

    heads: PositiveInt
    head_dim: PositiveInt
    q_lora_rank: PositiveInt
    output_groups: PositiveInt
    output_lora_rank: PositiveInt
    csa_tokens: PositiveInt
    """Tokens per compressed entry in `csa` layers."""
    hca_tokens: PositiveInt
    """Tokens per compressed entry in `hca` layers."""


class Mlp(Entry):
    """Dense feed-forward part."""

    intermediate_size: PositiveInt
    gated: bool = True
    """Three matrices (SwiGLU, GeGLU); false = two."""
    bias: bool = False


class MixtureOfExperts(Entry):
    """Routed experts, with or without experts that every token passes."""

    experts: PositiveInt
    experts_per_token: PositiveInt
    intermediate_size: PositiveInt
    """Of one routed expert."""
    gated: bool = True
    bias: bool = False
    """Bias vectors on the experts' matrices and on the router."""
    router_32bit: bool = False
    """The router's weights are kept in 32 bit."""
    shared_intermediate_size: Count = 0
    """Of all always-active experts together."""
    shared_gate: bool = False
    """One sigmoid gate on the shared experts' output."""
    latent_size: PositiveInt | None = None
    """Routed experts work at this width, between a shared down- and an up-projection (LatentMoE)."""
    latent_norm: bool = False
    """A norm before the up-projection out of the latent width."""
    beside_mlp: bool = False
    """The dense feed-forward part runs beside the experts in the same layer (Gemma 4)."""

    @model_validator(mode="after")
    def _a_token_passes_at_most_all_experts(self) -> MixtureOfExperts:
        if self.experts_per_token > self.experts:
            raise ValueError(f"experts_per_token: {self.experts_per_token} of {self.experts} experts")
        return self


class Mamba1(Entry):
    """Selective state-space mixer."""

    kind: Literal["mamba1"]
    inner_size: PositiveInt
    state_size: PositiveInt
    conv_tokens: PositiveInt
    dt_rank: PositiveInt
    inner_norms: bool = False
    """Norms on dt, B and C (Jamba)."""


class Mamba2(Entry):
    """State-space duality mixer."""

    kind: Literal["mamba2"]
    heads: PositiveInt
    head_dim: PositiveInt
    state_size: PositiveInt
    groups: PositiveInt
    conv_tokens: PositiveInt


class GatedDeltaNet(Entry):
    """Gated delta rule (Qwen3-Next, Qwen3.5)."""

    kind: Literal["gated_deltanet"]
    key_heads: PositiveInt
    value_heads: PositiveInt
    key_head_dim: PositiveInt
    value_head_dim: PositiveInt
    conv_tokens: PositiveInt


class KimiDelta(Entry):
    """Kimi delta attention: a delta rule with a decay per channel."""

    kind: Literal["kda"]
    heads: PositiveInt
    head_dim: PositiveInt
    conv_tokens: PositiveInt
    full_rank_gate: bool = False
    """The output gate is one matrix, not a low-rank pair."""


class LightningAttention(Entry):
    """Linear attention with a fixed decay (MiniMax-01)."""

    kind: Literal["lightning"]
    heads: PositiveInt
    head_dim: PositiveInt


Recurrent = Annotated[Mamba1 | Mamba2 | GatedDeltaNet | KimiDelta | LightningAttention, Field(discriminator="kind")]
RECURRENT_MIXERS = ("mamba1", "mamba2", "gated_deltanet", "kda", "lightning")


class HyperConnections(Entry):
    """Several residual streams, mixed before and after each part of a layer (manifold-constrained, DeepSeek-V4)."""

    streams: PositiveInt
    low_rank: PositiveInt | None = None
    """Two thin matrices of this rank mix the streams, behind a norm in place of the layer's (Qwen4-Exp); null = one
    full matrix beside it."""
    weighted_head: bool = True
    """After the last layer learned weights sum the streams (DeepSeek-V4); false = their plain sum (GLM-5.3-Flash)."""


class Norms(Entry):
    """The norms around a layer's parts and after the last layer."""

    per_layer: PositiveInt = 2
    """Four with norms on both sides of each part (Gemma, GLM-4), one when the parts run in parallel."""
    bias: bool = False
    """LayerNorm with a bias vector."""


class OtherTensor(Entry):
    """Tensors that no other field describes, counted."""

    what: str
    parameters_per_layer: Count = 0
    parameters_once: Count = 0
    """Outside the layers."""
    role: TensorRole = TensorRole.NORM
    divided: bool = False
    """Over the tensor-parallel ranks; false = whole on every one."""


Verification = Literal[
    "exact_match",
    "exact_match_recalled",
    "rounds_to_published",
    "explained_diff",
    "rounded_published_differs",
    "meta_only(no published number)",
    "config_only",
    "unverified",
]
"""How the parameter count was checked, as its source says, never upgraded; `unverified` = a user's own entry."""


class Model(Entry):
    """One model as its configuration describes it; counts and cache layout are computed, see `catalog.architecture`."""

    kind: Literal["model"] = "model"
    id: str
    """Hugging Face id."""
    family: str
    architecture: str
    """Class name that engines know, `architectures[0]` of the configuration."""
    model_type: str
    """`model_type` of the (text) configuration."""
    licence: str = ""
    hidden_size: PositiveInt
    vocab_size: PositiveInt
    max_context_tokens: PositiveInt
    rope_table_tokens: PositiveInt | None = None
    """Positions that engines keep sines and cosines of, over all tables; null = one table of `max_context_tokens`.
    Linear scaling multiplies them, and local layers with a base of their own have a table of their own."""
    rope_table_bytes_per_value: Literal[2, 4] = 2
    """4 where engines keep the table in 32 bit."""
    rotary_dim: Count | None = None
    """Values of a head that positions turn, 0 = none; null = all of it, or `qk_rope_head_dim` of a latent one."""
    mrope: bool = False
    """Positions have a time, a height and a width (Qwen-VL's M-RoPE)."""
    tied_embeddings: bool = False
    lm_head_bias: bool = False
    layers: str
    """All layers in order, see `catalog.schema.layers`."""
    norms: Norms = Norms()
    attention: Attention | None = None
    local_attention: Attention | None = None
    """Of sliding and chunked layers, where it differs from `attention`."""
    window_tokens: PositiveInt | None = None
    """Reach of sliding and chunked layers."""
    latent_attention: LatentAttention | None = None
    compressed_attention: CompressedAttention | None = None
    indexer: Indexer | None = None
    recurrent: Recurrent | None = None
    mlp: Mlp | None = None
    moe: MixtureOfExperts | None = None
    hyper_connections: HyperConnections | None = None
    other_tensors: tuple[OtherTensor, ...] = ()
    mtp_layers: Count = 0
    """Multi-token-prediction layers in the checkpoint; not counted, loaded only for speculative decoding."""
    draft_layers: Count = 0
    """How many of `layers`, the last ones, are such layers: none of a checkpoint, some of a model as it is loaded."""
    vision_parameters: Count = 0
    """Vision (or audio) tower and projector, stated; not counted as language model."""
    checkpoint: Checkpoint = Checkpoint()
    conversions: tuple[Conversion, ...] = ()
    """Repositories that hold the model in other formats."""
    published: Published = Published()
    verification: Verification
    sources: tuple[Source, ...] = Field(min_length=1)
    notes: str = ""

    @field_validator("layers")
    @classmethod
    def _layers_are_understood(cls, pattern: str) -> str:
        known = {"", *SOFTMAX_MIXERS, *LATENT_MIXERS, *COMPRESSED_MIXERS, *RECURRENT_MIXERS}
        for word in expand_layers(pattern):
            if (mixer := parse_word(word).mixer) not in known:
                raise ValueError(
                    f"layers: unknown mixer '{mixer}' in '{word}'; known: {', '.join(sorted(known - {''}))}"
                )
        return pattern

    @model_validator(mode="after")
    def _every_layer_has_its_dimensions(self) -> Model:
        for kind in dict.fromkeys(self.layer_kinds):
            for field in _fields_needed(kind):
                if getattr(self, field) is None:
                    raise ValueError(f"{field}: needed by the layers '{kind.mixer or kind.feedforward}' of `layers`")
            if kind.mixer == "dsa" and self.latent_attention and self.latent_attention.q_lora_rank is None:
                raise ValueError("latent_attention.q_lora_rank: needed by the indexers of the layers 'dsa'")
            if kind.mixer in RECURRENT_MIXERS and self.recurrent and self.recurrent.kind != kind.mixer:
                raise ValueError(f"recurrent.kind: '{self.recurrent.kind}', but `layers` has '{kind.mixer}'")
        if self.moe is not None and self.moe.beside_mlp and self.mlp is None:
            raise ValueError("mlp: needed beside the experts (moe.beside_mlp)")
        return self

    @cached_property
    def layer_kinds(self) -> tuple[LayerKind, ...]:
        """Every layer's mixer and feed-forward part, in order."""
        return tuple(parse_word(word) for word in expand_layers(self.layers))

    @property
    def n_layers(self) -> int:
        """Layers as the engine counts them."""
        return len(self.layer_kinds)

    @property
    def heads(self) -> int:
        """Query heads, which tp must divide."""
        parts = (self.attention, self.latent_attention, self.compressed_attention)
        return next((part.heads for part in parts if part is not None), 0)

    @property
    def kv_heads(self) -> int:
        """Key/value heads; 1 where all heads share one latent, 0 without attention."""
        if self.attention is not None:
            return self.attention.kv_heads
        return 1 if self.latent_attention is not None or self.compressed_attention is not None else 0

    def converted_to(self, weight_format: str) -> str | None:
        """Repository that holds the model in that format; null = none is known."""
        return next((one.repository for one in self.conversions if one.weight_format == weight_format), None)

    @property
    def is_moe(self) -> bool:
        """Whether any layer has routed experts."""
        return self.moe is not None


def _fields_needed(kind: LayerKind) -> list[str]:
    needed = []
    if kind.mixer in SOFTMAX_MIXERS:
        needed.append("attention")
    if kind.mixer in LATENT_MIXERS:
        needed.append("latent_attention")
    if kind.mixer in ("sliding", "chunked", *COMPRESSED_MIXERS):
        needed.append("window_tokens")
    if kind.mixer in COMPRESSED_MIXERS:
        needed.append("compressed_attention")
    if kind.mixer in ("sparse", "dsa", "dsa_shared", "csa"):
        needed.append("indexer")
    if kind.mixer in RECURRENT_MIXERS:
        needed.append("recurrent")
    if kind.feedforward == "moe":
        needed.append("moe")
    if kind.feedforward == "dense" and kind.intermediate_size is None:
        needed.append("mlp")
    return needed
