"""Readers of configurations whose keys and values are cached as a latent: DeepSeek and its descendants."""

from __future__ import annotations

from catalog.huggingface.pieces import (
    Facts,
    experts,
    first_dense,
    head_dim,
    kimi_delta,
    latent_attention,
    schedule,
    with_dense_mlp,
)
from catalog.huggingface.reader import ConfigReader

_POOLED_NAMES = ("deepseek_sparse_attention", "indexed_attention", "full_attention")
"""How configurations of GLM-5.3-Flash name the layers with latent attention."""


def deepseek(config: ConfigReader, first_k_dense: int | None = None) -> Facts:
    """Latent attention; the first layers dense, the others with experts, some shared."""
    feedforwards = first_dense(config, first_k_dense)
    return {
        "latent_attention": latent_attention(config),
        "moe": experts(config, count=["n_routed_experts"]),
        **with_dense_mlp(config, feedforwards),
        **schedule(config, ["mla"] * config.n_layers, feedforwards),
    }


def glm4_moe_lite(config: ConfigReader) -> Facts:
    """DeepSeek's layers, one dense layer in front unless stated otherwise."""
    return deepseek(config, first_k_dense=1)


def deepseek_sparse(config: ConfigReader) -> Facts:
    """Latent attention to tokens chosen by an indexer, which not every layer need have of its own."""
    facts = deepseek(config)
    facts["indexer"] = indexer(config)
    facts["moe"]["router_32bit"] = config.model_type == "glm_moe_dsa" or _routes_in_32_bit(config)
    mixers = ["dsa" if own else "dsa_shared" for own in (_own_indexers(config) or [True] * config.n_layers)]
    return {**facts, **schedule(config, mixers, first_dense(config))}


def _routes_in_32_bit(config: ConfigReader) -> bool:
    return config.values.get("moe_router_dtype") == "float32"


def _own_indexers(config: ConfigReader) -> list[bool] | None:
    stated = config.words("indexer_types", {"full": "dsa", "shared": "dsa_shared"})
    if stated:
        return [mixer == "dsa" for mixer in stated]
    pattern = config.values.get("index_topk_pattern")
    if pattern is not None:
        if not isinstance(pattern, str) or set(pattern) - {"F", "S"}:
            config.fault("index_topk_pattern", "not a string of F and S, one a layer")
            return None
        return [letter == "F" for letter in pattern]
    every = config.count("index_topk_freq", default=1)
    offset = config.count("index_skip_topk_offset", default=2)
    return [max(layer - offset + 1, 0) % every == 0 for layer in range(config.n_layers)]


def indexer(config: ConfigReader) -> Facts:
    """Small heads that choose the tokens to attend to; an 8-bit key and its scales a token are cached."""
    head_dim = config.count("index_head_dim")
    return {
        "heads": config.count("index_n_heads"),
        "head_dim": head_dim,
        "topk_tokens": config.count("index_topk"),
        "cached_bytes_per_token": head_dim + 4 * -(-head_dim // 128),  # fp8 key, one fp32 scale per 128
    }


def deepseek_v4(config: ConfigReader) -> Facts:
    """One shared key/value head, kept for a window and compressed beyond it."""
    kinds = {0: "window", 4: "csa", 128: "hca"}
    named = {
        "sliding_attention": "window",
        "compressed_sparse_attention": "csa",
        "heavily_compressed_attention": "hca",
    }
    n_layers = config.n_layers
    ratios = config.numbers("compress_ratios")
    if ratios and set(ratios) - set(kinds):
        config.fault("compress_ratios", "only 0 (window), 4 and 128 tokens per entry are known")
        ratios = None
    mixers = config.words("layer_types", named) or [kinds[ratio] for ratio in (ratios or [])[:n_layers]]
    if not mixers:
        config.fault("compress_ratios", "missing; deepseek_v4 states tokens per compressed entry of every layer")
        mixers = ["window"] * n_layers
    config.reject("attention_bias", "no bias vectors")
    heads = config.count("num_attention_heads")
    return {
        "compressed_attention": {
            "heads": heads,
            "head_dim": head_dim(config, heads),
            "q_lora_rank": config.count("q_lora_rank"),
            "output_groups": config.count("o_groups"),
            "output_lora_rank": config.count("o_lora_rank"),
            "csa_tokens": 4,
            "hca_tokens": 128,
        },
        "indexer": indexer(config),
        "hyper_connections": {"streams": config.count("hc_mult")},
        "window_tokens": config.count("sliding_window"),
        "rope_table_tokens": 2 * config.count("max_position_embeddings"),  # of rope_theta and of compress_rope_theta
        "rope_table_bytes_per_value": 4,
        "rotary_dim": config.count("qk_rope_head_dim", default=64),
        "moe": experts(config, count=["n_routed_experts"]),
        **schedule(config, mixers, "moe"),
    }


def glm5_next(config: ConfigReader) -> Facts:
    """Kimi delta in three of four layers, in the fourth latent attention without positions to pooled keys."""
    known = {"linear_attention": "kda", **dict.fromkeys(_POOLED_NAMES, "dsa")}
    mixers = config.words("layer_types", known) or [
        "dsa" if layer % 4 == 3 else "kda" for layer in range(config.n_layers)
    ]
    config.words("indexer_types", {"full": "dsa"})  # faults any that shares another layer's
    config.reject("qk_rope_head_dim", "its latent attention has no positions")
    latent: Facts = {"heads": config.count("num_attention_heads"), "qk_rope_head_dim": 0}
    for name in ("q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "v_head_dim"):
        latent[name] = config.count(name)
    pool_tokens, feedforwards = config.count("index_kpool"), first_dense(config)
    pooled = {
        "pool_tokens": pool_tokens,
        "cached_bytes_per_token": max(2 * config.count("index_head_dim") // pool_tokens, 1),
    }
    return {
        "latent_attention": latent,
        "indexer": {**indexer(config), **pooled},
        "recurrent": kimi_delta(config.group("linear_attn_config")),
        "moe": {**experts(config, count=["n_routed_experts"]), "router_32bit": _routes_in_32_bit(config)},
        "hyper_connections": {"streams": config.count("hc_mult"), "weighted_head": False},
        **with_dense_mlp(config, feedforwards),
        **schedule(config, mixers, feedforwards),
    }
