"""Readers of configurations whose layers differ in kind: recurrent and attention mixers, sparse and full attention,
layers searched one by one."""

from __future__ import annotations

from typing import Any

from catalog.huggingface.pieces import (
    LAYER_TYPES,
    Facts,
    attention,
    every_nth_full,
    experts,
    first_dense,
    gated_deltanet,
    kimi_delta,
    latent_attention,
    mlp,
    schedule,
    sparse_steps,
    with_dense_mlp,
)
from catalog.huggingface.reader import ConfigReader
from catalog.schema.layers import write_layers


def qwen3_next(config: ConfigReader) -> Facts:
    """Gated DeltaNet in three of four layers, gated attention in the fourth, experts and a gated shared expert."""
    feedforwards = sparse_steps(config)
    moe = experts(config, count=["num_experts"])
    moe["shared_intermediate_size"] = config.count("shared_expert_intermediate_size")
    moe["shared_gate"] = True
    return {
        **_deltanet_and_attention(config),
        "moe": moe,
        **with_dense_mlp(config, feedforwards),
        **schedule(config, _linear_layers(config, "gated_deltanet"), feedforwards),
    }


def qwen3_5(config: ConfigReader) -> Facts:
    """Qwen3-Next's layers with a dense MLP."""
    return {
        **_deltanet_and_attention(config),
        "mlp": mlp(config),
        **schedule(config, _linear_layers(config, "gated_deltanet"), "dense"),
    }


def _deltanet_and_attention(config: ConfigReader) -> Facts:
    gated = {**attention(config, bias="all", qk_norm="head"), "gate": "full"}
    return {"attention": gated, "recurrent": gated_deltanet(config)}


def _linear_layers(config: ConfigReader, mixer: str) -> list[str]:
    known = {**LAYER_TYPES, "linear_attention": mixer, "mamba": mixer}
    interval = config.count("full_attention_interval", default=4)
    return config.words("layer_types", known) or every_nth_full(config, interval, local=mixer)


def kimi_linear(config: ConfigReader) -> Facts:
    """Kimi delta and latent attention in turn; Kimi-K3 adds gates, latent experts, attention residuals."""
    linear = config.group("linear_attn_config")
    n_layers = config.n_layers
    full = set(linear.numbers("full_attn_layers") or [])
    mixers = config.words("layer_types", {"linear_attention": "kda", "full_attention": "mla"}) or [
        "mla" if layer + 1 in full else "kda" for layer in range(n_layers)
    ]
    if not full and not config.has("layer_types"):
        linear.fault("full_attn_layers", "missing; which layers (counted from 1) have full attention?")
    latent = latent_attention(config)
    latent["gate"] = config.flag("mla_use_output_gate")
    feedforwards = first_dense(config)
    moe = experts(config, count=["num_experts", "num_local_experts", "n_routed_experts"])
    if width := config.count_or_none("routed_expert_hidden_size"):
        moe["latent_size"] = width
        moe["latent_norm"] = config.flag("latent_moe_use_norm")
    facts: Facts = {
        "latent_attention": latent,
        "recurrent": kimi_delta(linear),
        "moe": moe,
        **with_dense_mlp(config, feedforwards),
        **schedule(config, mixers, feedforwards),
    }
    if config.count_or_none("attn_res_block_size"):
        hidden = config.count("hidden_size")
        facts["other_tensors"] = [
            {
                "what": "attention residuals: a norm and a projection to one number before each part and after the "
                "last layer",
                "parameters_per_layer": 4 * hidden,
                "parameters_once": 2 * hidden,
            }
        ]
    return facts


def minimax(config: ConfigReader) -> Facts:
    """MiniMax-01: lightning attention with softmax attention in between, experts in every layer."""
    softmax = config.switches("attn_type_list")  # 1 = softmax
    mixers = config.words("layer_types", {**LAYER_TYPES, "linear_attention": "lightning"}) or [
        "full" if is_softmax else "lightning" for is_softmax in softmax or []
    ]
    if not mixers:
        config.fault("layer_types", "missing (and no attn_type_list); which layers have softmax attention?")
        mixers = ["full"] * config.n_layers
    softmax_attention = attention(config)
    return {
        "attention": softmax_attention,
        "recurrent": {
            "kind": "lightning",
            "heads": softmax_attention["heads"],
            "head_dim": softmax_attention["head_dim"],
        },
        "moe": experts(config, count=["num_local_experts"], width="intermediate_size"),
        **schedule(config, mixers, "moe"),
    }


def minimax_m3(config: ConfigReader) -> Facts:
    """Block-sparse attention chosen by an indexer behind the first, full layers."""
    sparse = config.group("sparse_attention_config")
    indexed = sparse.switches("sparse_attention_freq")
    mixers = config.words("layer_types", {**LAYER_TYPES, "minimax_m3_sparse": "sparse"}) or [
        "sparse" if is_sparse else "full" for is_sparse in indexed or []
    ]
    if not mixers:
        sparse.fault("sparse_attention_freq", "missing; which layers have block-sparse attention?")
        mixers = ["full"] * config.n_layers
    with_experts = config.switches("moe_layer_freq")
    feedforwards = ["moe" if has else "dense" for has in with_experts] if with_experts else first_dense(config)
    moe = experts(config, count=["num_local_experts"], width="intermediate_size")
    moe["shared_intermediate_size"] = config.count("shared_intermediate_size")
    head_dim = _either(config, "index_head_dim", sparse, "sparse_index_dim")
    block = _either(config, "index_block_size", sparse, "sparse_block_size")
    return {
        "attention": attention(config, qk_norm="head"),
        "indexer": {
            "heads": _either(config, "index_n_heads", sparse, "sparse_num_index_heads"),
            "head_dim": head_dim,
            "topk_tokens": block * _either(config, "index_topk_blocks", sparse, "sparse_topk_blocks"),
            "cached_bytes_per_token": 2 * head_dim,
        },
        "moe": moe,
        **with_dense_mlp(config, feedforwards, width="dense_intermediate_size"),
        **schedule(config, mixers, feedforwards),
    }


def _either(config: ConfigReader, name: str, group: ConfigReader, name_in_group: str) -> int:
    return config.count(name) if config.has(name) else group.count(name_in_group)


def granite_hybrid(config: ConfigReader) -> Facts:
    """Granite 4: Mamba-2 with some attention layers; experts and a shared MLP, or the shared MLP alone."""
    heads = config.count("mamba_n_heads")
    inner = config.count("mamba_expand", default=2) * config.count("hidden_size")
    width = config.values.get("mamba_d_head", "auto")
    config.reject("mamba_proj_bias", "bias vectors on Mamba projections")
    shared = config.count("shared_intermediate_size")
    facts: Facts = {
        "attention": attention(config, bias="all"),
        "recurrent": {
            "kind": "mamba2",
            "heads": heads,
            "head_dim": max(1, inner // heads) if width == "auto" else config.count("mamba_d_head"),
            "state_size": config.count("mamba_d_state"),
            "groups": config.count("mamba_n_groups", default=1),
            "conv_tokens": config.count("mamba_d_conv", default=4),
        },
    }
    mixers = config.words("layer_types", {"attention": "full", "full_attention": "full", "mamba": "mamba2"})
    if mixers is None:
        config.fault("layer_types", "missing; which layers are attention, which mamba?")
        mixers = ["full"] * config.n_layers
    if not config.count_or_none("num_local_experts"):
        return {**facts, "mlp": {"intermediate_size": shared}, **schedule(config, mixers, "dense")}
    moe = experts(config, count=["num_local_experts"], width="intermediate_size")
    moe["shared_intermediate_size"] = shared
    return {**facts, "moe": moe, **schedule(config, mixers, "moe")}


def jamba(config: ConfigReader) -> Facts:
    """Mamba-1 with one attention layer in a period, and experts in every other layer."""
    n_layers, hidden = config.n_layers, config.count("hidden_size")
    attention_period = config.count("attn_layer_period", default=8)
    attention_offset = config.count_or_none("attn_layer_offset") if config.has("attn_layer_offset") else 4
    expert_period = config.count("expert_layer_period", default=2)
    expert_offset = config.count_or_none("expert_layer_offset") if config.has("expert_layer_offset") else 1
    config.reject("mamba_proj_bias", "bias vectors on Mamba projections")
    dt_rank = config.values.get("mamba_dt_rank", "auto")
    mixers = ["full" if layer % attention_period == (attention_offset or 0) else "mamba1" for layer in range(n_layers)]
    feedforwards = ["moe" if layer % expert_period == (expert_offset or 0) else "dense" for layer in range(n_layers)]
    return {
        "attention": attention(config),
        "recurrent": {
            "kind": "mamba1",
            "inner_size": config.count("mamba_expand", default=2) * hidden,
            "state_size": config.count("mamba_d_state", default=16),
            "conv_tokens": config.count("mamba_d_conv", default=4),
            "dt_rank": -(-hidden // 16) if dt_rank == "auto" else config.count("mamba_dt_rank"),
            "inner_norms": True,
        },
        "moe": experts(config, count=["num_experts"], width="intermediate_size"),
        **with_dense_mlp(config, feedforwards),
        **schedule(config, mixers, feedforwards),
    }


def nemotron_h(config: ConfigReader) -> Facts:
    """One part a layer, in the order of `hybrid_override_pattern`: M Mamba-2, * attention, - MLP, E experts."""
    letters = {"M": "mamba2", "*": "full", "-": "dense", "E": "moe"}
    names = {
        **LAYER_TYPES,
        "mamba": "mamba2",
        "linear_attention": "mamba2",
        "mlp": "dense",
        "moe": "moe",
    }
    pattern = config.values.get("hybrid_override_pattern")
    if isinstance(pattern, str) and pattern and not set(pattern) - set(letters):
        words = [letters[letter] for letter in pattern]
    else:
        words = config.words("layers_block_type", names) or config.words("layer_types", names) or []
        if not words:
            config.fault("hybrid_override_pattern", "missing; one letter of M * - E for every layer")
    _agrees_with_count(config, len(words))
    config.reject("attention_bias", "bias vectors on attention")
    config.reject("use_bias", "bias vectors on Mamba projections")
    facts: Facts = {
        "layers": write_layers(words or ["full"]),
        "attention": attention(config),
        "recurrent": {
            "kind": "mamba2",
            "heads": config.count("mamba_num_heads"),
            "head_dim": config.count("mamba_head_dim"),
            "state_size": config.count("ssm_state_size"),
            "groups": config.count("n_groups", "mamba_n_groups"),
            "conv_tokens": config.count("conv_kernel", "mamba_d_conv"),
        },
    }
    if "dense" in words:
        facts["mlp"] = mlp(config, gated=False)
    if "moe" in words:
        facts["moe"] = {
            **experts(config, count=["n_routed_experts"]),
            "gated": False,
            "shared_intermediate_size": config.count("moe_shared_expert_intermediate_size"),
        }
        if width := config.count_or_none("moe_latent_size"):
            facts["moe"]["latent_size"] = width
    return facts


def _agrees_with_count(config: ConfigReader, n_listed: int) -> None:
    if config.has("num_hidden_layers") and n_listed and config.n_layers != n_listed:
        config.fault("num_hidden_layers", f"{config.n_layers} layers, but {n_listed} are listed")


def nemotron_nas(config: ConfigReader) -> Facts:
    """Layers searched one by one: attention or none, an MLP of its own width or none."""
    heads, hidden = config.count("num_attention_heads"), config.count("hidden_size")
    blocks = config.values.get("block_configs")
    if not isinstance(blocks, list) or not blocks:
        config.fault("block_configs", "missing; nemotron-nas states every layer there")
        blocks = []
    _agrees_with_count(config, len(blocks))
    groups, widths = set[int](), list[int | None]()
    mixers: list[str] = []
    for index, block in enumerate(blocks):
        part = ConfigReader(
            block if isinstance(block, dict) else {}, config.model_type, f"block_configs[{index}].", config.faults
        )
        has_attention, width = _nas_block(part, hidden, groups)
        mixers.append("full" if has_attention else "")
        widths.append(width)
    if len(groups) > 1:
        config.fault("block_configs", f"attention with different group sizes {sorted(groups)} is not supported")
    usual = max(set(widths) - {None}, key=widths.count, default=None) if widths else None
    words = [
        "/".join(name for name in (mixer, "dense" if width else "") if name)
        + ("" if width in (None, usual) else f":{width}")
        for mixer, width in zip(mixers, widths, strict=True)
    ]
    return {
        "layers": write_layers(words or ["full/dense"]),
        "attention": {
            "heads": heads,
            "kv_heads": max(1, heads // next(iter(groups), 1)),
            "head_dim": max(1, hidden // heads),
        },
        "mlp": {"intermediate_size": usual or 1},
    }


def _nas_block(block: ConfigReader, hidden: int, groups: set[int]) -> tuple[bool, int | None]:
    """Whether the layer has attention, and its MLP's width."""
    mixer, feedforward = block.group("attention"), block.group("ffn")
    for part in (mixer, feedforward):
        part.reject("replace_with_linear", "a single matrix in place of the part")
    has_attention = not mixer.flag("no_op")
    if has_attention:
        groups.add(mixer.count("n_heads_in_group"))
    if feedforward.flag("no_op"):
        return has_attention, None
    multiple: Any = feedforward.values.get("ffn_mult")
    if not isinstance(multiple, int | float) or not 0 < multiple < 100:
        feedforward.fault("ffn_mult", "not a number between 0 and 100")
        return has_attention, None
    width = int(2 * multiple * hidden / 3)
    return has_attention, -(-width // 256) * 256  # DeciLM rounds up to a multiple of 256


def step3(config: ConfigReader) -> Facts:
    """Step-3.5 and 3.7: more heads in three of four layers, which slide; a gate a head; a shared expert."""
    wide = {**attention(config, bias="all", qk_norm="head"), "gate": "head"}
    local = dict(wide)
    other = config.group("attention_other_setting")
    if config.has("num_sliding_attention_heads"):
        local["heads"] = config.count("num_sliding_attention_heads")
    elif config.has("attention_other_setting"):
        local["heads"] = other.count("num_attention_heads")
    else:
        config.fault("attention_other_setting", "missing; how many heads have the sliding layers?")
    n_layers = config.n_layers
    stated = config.words("layer_types", LAYER_TYPES)
    if stated is None:
        config.fault("layer_types", "missing; which layers are full, which sliding?")
    mixers = (stated or ["full"] * n_layers)[:n_layers]  # further entries belong to the prediction layers
    listed = config.values.get("moe_layers_enum")
    if isinstance(listed, str):
        numbers = {int(number) for number in listed.split(",") if number.strip().isdigit()}
        feedforwards = ["moe" if layer in numbers else "dense" for layer in range(n_layers)]
    else:
        feedforwards = first_dense(config)
    moe: Facts = {
        "experts": config.count("moe_num_experts", "n_routed_experts", "num_experts"),
        "experts_per_token": config.count("moe_top_k", "num_experts_per_tok"),
        "intermediate_size": config.count("moe_intermediate_size"),
        "shared_intermediate_size": config.count("share_expert_dim", "share_expert_dims"),
    }
    return {
        "attention": wide,
        "local_attention": local,
        "moe": moe,
        **with_dense_mlp(config, feedforwards),
        **schedule(config, mixers, feedforwards),
    }
