"""Readers of configurations with the same attention and a dense MLP in every layer."""

from __future__ import annotations

from collections.abc import Mapping

from catalog.huggingface.pieces import (
    Facts,
    all_or_none_sliding,
    attention,
    every_nth_full,
    head_dim,
    mlp,
    qwen_sliding,
    schedule,
)
from catalog.huggingface.reader import ConfigReader

MAX_SCALING = 1024
"""Several times what exists; more is a mistake in the file."""


def llama(config: ConfigReader) -> Facts:
    """Full attention and a gated MLP; `attention_bias` covers all four projections."""
    return {
        "attention": attention(config, bias="all"),
        "mlp": mlp(config),
        **schedule(config, every_nth_full(config, 1), "dense"),
    }


def mistral(config: ConfigReader) -> Facts:
    """Every layer slides, or none (also Phi-3)."""
    return {
        "attention": attention(config),
        "mlp": mlp(config),
        **schedule(config, all_or_none_sliding(config), "dense"),
    }


def qwen2(config: ConfigReader) -> Facts:
    """Bias on queries, keys and values, whatever the configuration says."""
    facts = attention(config)
    facts["qkv_bias"] = True
    return {"attention": facts, "mlp": mlp(config), **schedule(config, qwen_sliding(config), "dense")}


def qwen3(config: ConfigReader) -> Facts:
    """Norms on every head's queries and keys."""
    return {
        "attention": attention(config, bias="all", qk_norm="head"),
        "mlp": mlp(config),
        **schedule(config, qwen_sliding(config), "dense"),
    }


def gemma(config: ConfigReader) -> Facts:
    """Gemma 1: Llama with tied embeddings."""
    return {**llama(config), "tied_embeddings": config.flag("tie_word_embeddings", True)}


def gemma2(config: ConfigReader) -> Facts:
    """Windows in every other layer, norms on both sides of each part."""
    return {
        "attention": attention(config, bias="all"),
        "mlp": mlp(config),
        "norms": {"per_layer": 4},
        "tied_embeddings": config.flag("tie_word_embeddings", True),
        **schedule(config, every_nth_full(config, 2), "dense"),
    }


def gemma3(config: ConfigReader) -> Facts:
    """Five windows to one full layer, and norms on queries and keys."""
    return {
        "attention": attention(config, bias="all", qk_norm="head"),
        "mlp": mlp(config),
        "norms": {"per_layer": 4},
        "tied_embeddings": config.flag("tie_word_embeddings", True),
        "rope_table_tokens": (1 + _linear_factor(config)) * config.count("max_position_embeddings"),
        **schedule(config, every_nth_full(config, config.count("sliding_window_pattern", default=6)), "dense"),
    }


def _linear_factor(config: ConfigReader) -> int:
    """By how much linear scaling multiplies the positions of a rope table; 1 = it does not."""
    scaling = config.values.get("rope_scaling")
    if not isinstance(scaling, Mapping) or "linear" not in (scaling.get("rope_type"), scaling.get("type")):
        return 1
    factor = scaling.get("factor")
    if isinstance(factor, int | float) and 1 <= factor < MAX_SCALING:
        return round(factor)
    config.fault("rope_scaling", f"factor {factor!r} is no number from 1 to {MAX_SCALING}")
    return 1


def cohere(config: ConfigReader) -> Facts:
    """One norm a layer, attention and MLP in parallel; a norm of each head where asked for."""
    norm = "each_head" if config.flag("use_qk_norm") else "none"
    return {
        "attention": attention(config, bias="all", qk_norm=norm),
        "mlp": mlp(config),
        "norms": {"per_layer": 1},
        "tied_embeddings": config.flag("tie_word_embeddings", True),
        **schedule(config, every_nth_full(config, 1), "dense"),
    }


def cohere2(config: ConfigReader) -> Facts:
    """Cohere with windows in three of four layers."""
    interval = config.count("sliding_window_pattern", default=4)
    return {**cohere(config), **schedule(config, every_nth_full(config, interval), "dense")}


def olmo2(config: ConfigReader) -> Facts:
    """One norm over all heads of queries and one over all heads of keys."""
    return {
        "attention": attention(config, bias="all", qk_norm="all"),
        "mlp": mlp(config),
        **schedule(config, every_nth_full(config, 1), "dense"),
    }


def olmo3(config: ConfigReader) -> Facts:
    """OLMo 2 with windows in three of four layers."""
    return {**olmo2(config), **schedule(config, every_nth_full(config, 4), "dense")}


def smollm3(config: ConfigReader) -> Facts:
    """Llama without positions in every fourth layer."""
    config.reject("use_sliding_window", "windows in layers without positions")
    return {**llama(config), "tied_embeddings": config.flag("tie_word_embeddings", True)}


def seed_oss(config: ConfigReader) -> Facts:
    """Bias on queries, keys and values, and on the output where asked for."""
    facts = attention(config, bias="qkv", bias_default=True)
    facts["output_bias"] = config.flag("attention_out_bias")
    return {"attention": facts, "mlp": mlp(config), **schedule(config, every_nth_full(config, 1), "dense")}


def glm4(config: ConfigReader) -> Facts:
    """Norms on both sides of each part."""
    return {
        "attention": attention(config, bias="qkv", bias_default=True),
        "mlp": mlp(config),
        "norms": {"per_layer": 4},
        **schedule(config, every_nth_full(config, 1), "dense"),
    }


def falcon(config: ConfigReader) -> Facts:
    """LayerNorm with bias, two-matrix MLP, attention and MLP in parallel."""
    config.reject("alibi", "positions by attention bias")
    config.reject("bias", "bias vectors on the projections")
    if not config.flag("parallel_attn", True):
        config.fault("parallel_attn", "false is not supported for falcon: parts one after the other")
    heads = config.count("num_attention_heads", "n_head")
    new = config.flag("new_decoder_architecture")
    single = not new and config.flag("multi_query", True)
    two_norms = config.count("num_ln_in_parallel_attn", default=2 if new else 1)
    return {
        "attention": {
            "heads": heads,
            "kv_heads": 1 if single else config.count("num_kv_heads", "n_head_kv", default=heads),
            "head_dim": head_dim(config, heads),
        },
        "mlp": {
            "intermediate_size": config.count("ffn_hidden_size", default=4 * config.count("hidden_size")),
            "gated": False,
        },
        "norms": {"per_layer": two_norms, "bias": True},
        "max_context_tokens": config.count("max_position_embeddings", default=2048),
        "tied_embeddings": config.flag("tie_word_embeddings", True),
        **schedule(config, ["full"] * config.n_layers, "dense"),
    }


def nemotron(config: ConfigReader) -> Facts:
    """LayerNorm with bias, two-matrix MLP."""
    return {
        "attention": attention(config, bias="all"),
        "mlp": mlp(config, gated=False),
        "norms": {"bias": True},
        **schedule(config, ["full"] * config.n_layers, "dense"),
    }
