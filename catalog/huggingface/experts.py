"""Readers of configurations with routed experts and key/value attention."""

from __future__ import annotations

from catalog.huggingface.pieces import (
    LAYER_TYPES,
    Facts,
    all_or_none_sliding,
    attention,
    every_nth_full,
    experts,
    first_dense,
    mlp,
    schedule,
    sparse_steps,
    with_dense_mlp,
)
from catalog.huggingface.reader import ConfigReader


def mixtral(config: ConfigReader) -> Facts:
    """Mistral with experts."""
    return {
        "attention": attention(config),
        "moe": experts(config, count=["num_local_experts"], width="intermediate_size"),
        **schedule(config, all_or_none_sliding(config), "moe"),
    }


def phimoe(config: ConfigReader) -> Facts:
    """Mixtral with bias vectors and LayerNorm."""
    return {
        "attention": attention(config, bias="all"),
        "moe": experts(config, count=["num_local_experts"], width="intermediate_size"),
        "norms": {"bias": True},
        "lm_head_bias": config.flag("lm_head_bias"),
        **schedule(config, all_or_none_sliding(config), "moe"),
    }


def granite_moe(config: ConfigReader) -> Facts:
    """Granite with experts."""
    return {
        "attention": attention(config, bias="all"),
        "moe": experts(config, count=["num_local_experts"], width="intermediate_size"),
        **schedule(config, every_nth_full(config, 1), "moe"),
    }


def olmoe(config: ConfigReader) -> Facts:
    """OLMo with experts."""
    return {
        "attention": attention(config, bias="all", qk_norm="all"),
        "moe": experts(config, count=["num_experts"], width="intermediate_size"),
        **schedule(config, every_nth_full(config, 1), "moe"),
    }


def minimax_m2(config: ConfigReader) -> Facts:
    """Norms over all heads, experts in every layer."""
    config.reject("shared_intermediate_size", "shared experts")
    return {
        "attention": attention(config, qk_norm="all" if config.flag("use_qk_norm", True) else "none"),
        "moe": experts(config, count=["num_local_experts"], width="intermediate_size"),
        **schedule(config, ["full"] * config.n_layers, "moe"),
    }


def gpt_oss(config: ConfigReader) -> Facts:
    """Windows in every other layer, sinks, bias vectors everywhere."""
    facts = attention(config, bias="all", bias_default=True)
    facts["sinks"] = True
    moe = experts(config, count=["num_local_experts", "num_experts"], width="intermediate_size")
    moe["bias"] = True
    layers = schedule(config, every_nth_full(config, 2), "moe")
    return {"attention": facts, "moe": moe, "rope_table_bytes_per_value": 4, **layers}


def qwen2_moe(config: ConfigReader) -> Facts:
    """Qwen2 with experts and a gated shared expert."""
    facts = attention(config)
    facts["qkv_bias"] = config.flag("qkv_bias", True)
    config.reject("use_sliding_window", "alternating windows")
    return {"attention": facts, **_qwen_experts(config, every_nth_full(config, 1), shared=True)}


def qwen3_moe(config: ConfigReader) -> Facts:
    """Qwen3 with experts, none shared."""
    config.reject("use_sliding_window", "windows beside experts")
    return {
        "attention": attention(config, bias="all", qk_norm="head"),
        **_qwen_experts(config, every_nth_full(config, 1), shared=False),
    }


def _qwen_experts(config: ConfigReader, mixers: list[str], *, shared: bool) -> Facts:
    feedforwards = sparse_steps(config)
    moe = experts(config, count=["num_experts"])
    if shared:
        moe["shared_intermediate_size"] = config.count("shared_expert_intermediate_size")
        moe["shared_gate"] = True
    return {"moe": moe, **with_dense_mlp(config, feedforwards), **schedule(config, mixers, feedforwards)}


def glm4_moe(config: ConfigReader) -> Facts:
    """Grouped-query attention with DeepSeek's experts."""
    norm = "head" if config.flag("use_qk_norm") else "none"
    facts = attention(config, bias="qkv", qk_norm=norm)
    feedforwards = first_dense(config)
    return {
        "attention": facts,
        "moe": experts(config, count=["n_routed_experts"]),
        **with_dense_mlp(config, feedforwards),
        **schedule(config, every_nth_full(config, 1), feedforwards),
    }


def llama4(config: ConfigReader) -> Facts:
    """Chunks in three of four layers; experts and one shared expert in every `interleave_moe_layer_step`-th layer."""
    n_layers = config.n_layers
    chunked = config.switches("no_rope_layers")  # 1 = with positions, which are the chunked layers
    mixers = config.words("layer_types", LAYER_TYPES) or (
        ["chunked" if has_rope else "full" for has_rope in chunked]
        if chunked
        else every_nth_full(config, config.count("no_rope_layer_interval", default=4), local="chunked")
    )
    step = config.count("interleave_moe_layer_step", default=1)
    with_experts = set(config.numbers("moe_layers") or range(step - 1, n_layers, step))
    feedforwards = ["moe" if layer in with_experts else "dense" for layer in range(n_layers)]
    moe = experts(config, count=["num_local_experts"], width="intermediate_size")
    moe["shared_intermediate_size"] = moe["intermediate_size"]
    window = config.count("attention_chunk_size") if "chunked" in mixers else None
    return {
        "attention": attention(config, bias="all"),
        "moe": moe,
        **with_dense_mlp(config, feedforwards, width="intermediate_size_mlp"),
        **schedule(config, mixers, feedforwards, window),
    }


def gemma4(config: ConfigReader) -> Facts:
    """Full layers with wider heads, fewer of keys and values, and keys for values; experts beside the MLP."""
    for name, why in (
        ("hidden_size_per_layer_input", "per-layer input embeddings"),
        ("num_kv_shared_layers", "layers that reuse another layer's keys and values"),
        ("use_double_wide_mlp", "MLPs of two widths"),
    ):
        config.reject(name, why)
    local = attention(config, bias="all", qk_norm="head")
    wide = dict(local, head_dim=config.count("global_head_dim", default=512))
    if config.flag("attention_k_eq_v"):
        wide["key_is_value"] = True
        wide["kv_heads"] = config.count("num_global_key_value_heads", default=local["kv_heads"])
    facts: Facts = {
        "attention": wide,
        "local_attention": local,
        "mlp": mlp(config),
        "norms": {"per_layer": 4},
        "tied_embeddings": config.flag("tie_word_embeddings", True),
    }
    mixers = every_nth_full(config, 6)
    mixers[-1] = "full"  # transformers forces the last layer
    if not config.flag("enable_moe_block"):
        return {**facts, **schedule(config, mixers, "dense")}
    count = config.count("num_experts")
    facts["moe"] = {
        "experts": count,
        "experts_per_token": config.count("top_k_experts"),
        "intermediate_size": config.count("moe_intermediate_size"),
        "beside_mlp": True,
    }
    hidden = config.count("hidden_size")
    facts["other_tensors"] = [
        {"what": "three more norms, router scales", "parameters_per_layer": 4 * hidden + count},
    ]
    return {**facts, **schedule(config, mixers, "moe")}


def mimo_v2_flash(config: ConfigReader) -> Facts:
    """Narrow values, short windows with sinks and more key/value heads."""
    wide = {**attention(config, bias="qkv"), "value_head_dim": config.count("v_head_dim")}
    local = dict(wide, sinks=True)
    for ours, theirs in (
        ("heads", "swa_num_attention_heads"),
        ("kv_heads", "swa_num_key_value_heads"),
        ("head_dim", "swa_head_dim"),
        ("value_head_dim", "swa_v_head_dim"),
    ):
        local[ours] = config.count(theirs)
    config.reject("add_full_attention_sink_bias", "sinks in full layers")
    sliding = config.switches("hybrid_layer_pattern")
    mixers = ["sliding" if slides else "full" for slides in sliding] if sliding else every_nth_full(config, 6)
    with_experts = config.switches("moe_layer_freq")
    feedforwards = ["moe" if has else "dense" for has in with_experts] if with_experts else first_dense(config)
    return {
        "attention": wide,
        "local_attention": local,
        "moe": experts(config, count=["n_routed_experts"]),
        **with_dense_mlp(config, feedforwards),
        **schedule(config, mixers, feedforwards),
    }
