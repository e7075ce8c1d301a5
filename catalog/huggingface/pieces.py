"""Shared readers of configuration groups: attention, layer schedules, MLP, experts, recurrent mixers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from catalog.huggingface.reader import ConfigReader
from catalog.schema.layers import write_layers

Facts = dict[str, Any]
"""Fields of a Model."""

LAYER_TYPES = {
    "full_attention": "full",
    "attention": "full",
    "sliding_attention": "sliding",
    "chunked_attention": "chunked",
}
"""`layer_types` of transformers -> our softmax mixers."""

_KV_HEADS_AS_HEADS = (
    "cohere",
    "cohere2",
    "granite",
    "granitemoe",
    "granitemoehybrid",
    "llama",
    "nemotron",
    "olmo2",
    "olmo3",
    "olmoe",
    "phi3",
)
"""Families whose configuration class takes absent key/value heads for as many as query heads; elsewhere null does."""


def attention(config: ConfigReader, *, bias: str = "none", bias_default: bool = False, qk_norm: str = "none") -> Facts:
    """Heads and their width; `bias` says which projections `attention_bias` gives one: none, qkv or all."""
    heads = config.count("num_attention_heads")
    as_heads = "num_key_value_heads" in config.values or config.model_type in _KV_HEADS_AS_HEADS
    kv_heads = config.count("num_key_value_heads", "num_attention_groups", default=heads if as_heads else None)
    if heads % kv_heads and config.has("num_attention_heads"):
        config.fault("num_key_value_heads", f"{kv_heads} does not divide num_attention_heads {heads}")
    facts: Facts = {
        "heads": heads,
        "kv_heads": kv_heads,
        "head_dim": head_dim(config, heads),
        "qk_norm": qk_norm,
    }
    if bias == "none":
        config.reject("attention_bias", "this family has no bias vectors on its projections")
    elif config.flag("attention_bias", bias_default):
        facts["qkv_bias"] = True
        facts["output_bias"] = bias == "all"
    return facts


def head_dim(config: ConfigReader, heads: int) -> int:
    """`head_dim`, or hidden_size / num_attention_heads where that divides."""
    if config.has("head_dim"):
        return config.count("head_dim")
    hidden = config.count("hidden_size")
    if hidden % heads and config.has("hidden_size"):
        config.fault("head_dim", f"missing, and hidden_size {hidden} is not divisible by num_attention_heads {heads}")
    return max(1, hidden // heads)


def latent_attention(config: ConfigReader) -> Facts:
    """Multi-head latent attention."""
    config.reject("attention_bias", "latent attention has no bias vectors")
    facts: Facts = {"heads": config.count("num_attention_heads")}
    if rank := config.count_or_none("q_lora_rank"):
        facts["q_lora_rank"] = rank
    for name in ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"):
        facts[name] = config.count(name)
    return facts


def mlp(config: ConfigReader, *, gated: bool = True, width: str = "intermediate_size") -> Facts:
    """Dense feed-forward part."""
    return {"intermediate_size": config.count(width), "gated": gated, "bias": config.flag("mlp_bias")}


def experts(config: ConfigReader, *, count: Sequence[str], width: str = "moe_intermediate_size") -> Facts:
    """Routed experts, and the shared ones where they are counted in units of a routed one (DeepSeek's way)."""
    facts: Facts = {
        "experts": config.count(*count),
        "experts_per_token": config.count("num_experts_per_tok", "num_experts_per_token"),
        "intermediate_size": config.count(width),
    }
    if facts["experts_per_token"] > facts["experts"] and config.has(*count):
        config.fault("num_experts_per_tok", f"{facts['experts_per_token']} of {facts['experts']} experts")
    if shared := config.count_or_none("n_shared_experts", "num_shared_experts"):
        facts["shared_intermediate_size"] = shared * facts["intermediate_size"]
    return facts


def schedule(
    config: ConfigReader, mixers: Sequence[str], feedforwards: Sequence[str] | str, window: int | None = None
) -> Facts:
    """`layers` (and the window they reach) of a mixer and a feed-forward part in every layer."""
    n_layers = config.n_layers
    if isinstance(feedforwards, str):
        feedforwards = [feedforwards] * n_layers
    for name, values in (("layer_types", mixers), ("mlp_layer_types", feedforwards)):
        if len(values) != n_layers:
            config.fault(name, f"{len(values)} entries for {n_layers} layers (num_hidden_layers)")
            return {"layers": "full/dense"}
    facts: Facts = {
        "layers": write_layers([f"{mixer}/{part}" for mixer, part in zip(mixers, feedforwards, strict=True)])
    }
    if any(mixer in ("sliding", "chunked") for mixer in mixers):
        facts["window_tokens"] = window or config.count("sliding_window")
    return facts


def every_nth_full(config: ConfigReader, interval: int, local: str = "sliding") -> list[str]:
    """`layer_types` where stated, otherwise every `interval`-th layer is full and the others are local."""
    stated = config.words("layer_types", LAYER_TYPES)
    return stated or ["full" if (layer + 1) % interval == 0 else local for layer in range(config.n_layers)]


def all_or_none_sliding(config: ConfigReader) -> list[str]:
    """Every layer slides when `sliding_window` is set (Mistral, Phi-3)."""
    stated = config.words("layer_types", LAYER_TYPES)
    return stated or ["sliding" if config.count_or_none("sliding_window") else "full"] * config.n_layers


def qwen_sliding(config: ConfigReader) -> list[str]:
    """Layers from `max_window_layers` on slide, but only with `use_sliding_window` (Qwen2, Qwen3)."""
    stated = config.words("layer_types", LAYER_TYPES)
    if stated:
        return stated
    n_layers = config.n_layers
    first = config.count("max_window_layers") if config.flag("use_sliding_window") else n_layers
    return ["sliding" if layer >= first else "full" for layer in range(n_layers)]


def first_dense(config: ConfigReader, default: int | None = None) -> list[str]:
    """The first `first_k_dense_replace` layers are dense, the others have experts."""
    stated = config.words("mlp_layer_types", {"dense": "dense", "sparse": "moe"})
    if stated:
        return stated
    if config.values.get("moe_layer_freq") != 1:
        config.reject("moe_layer_freq", "experts in some of the later layers only")
    if config.values.get("first_k_dense_replace") is None and default is None:
        config.fault("first_k_dense_replace", "missing; how many leading layers have no experts?")
    n_dense = config.count_or_none("first_k_dense_replace") if config.has("first_k_dense_replace") else default
    return ["dense" if layer < (n_dense or 0) else "moe" for layer in range(config.n_layers)]


def sparse_steps(config: ConfigReader) -> list[str]:
    """Every `decoder_sparse_step`-th layer has experts, except `mlp_only_layers` (Qwen)."""
    step = config.count("decoder_sparse_step", default=1)
    dense_only = set(config.numbers("mlp_only_layers") or [])
    return [
        "moe" if (layer + 1) % step == 0 and layer not in dense_only else "dense" for layer in range(config.n_layers)
    ]


def with_dense_mlp(config: ConfigReader, feedforwards: Sequence[str], width: str = "intermediate_size") -> Facts:
    """The MLP of the layers without experts, if there are any."""
    return {"mlp": mlp(config, width=width)} if "dense" in feedforwards else {}


def gated_deltanet(config: ConfigReader) -> Facts:
    """Qwen3-Next's recurrent mixer."""
    return {
        "kind": "gated_deltanet",
        "key_heads": config.count("linear_num_key_heads"),
        "value_heads": config.count("linear_num_value_heads"),
        "key_head_dim": config.count("linear_key_head_dim"),
        "value_head_dim": config.count("linear_value_head_dim"),
        "conv_tokens": config.count("linear_conv_kernel_dim"),
    }


def kimi_delta(linear: ConfigReader) -> Facts:
    """Kimi delta attention, of the `linear_attn_config` of a configuration."""
    return {
        "kind": "kda",
        "heads": linear.count("num_heads"),
        "head_dim": linear.count("head_dim"),
        "conv_tokens": linear.count("short_conv_kernel_size"),
        "full_rank_gate": linear.flag("use_full_rank_gate"),
    }
