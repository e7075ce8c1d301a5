"""Every supported `model_type` and how its configuration is read; the numbers come from the configuration, the shape
of the tensors from the family's code in transformers 5.23.0."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from catalog.huggingface import dense, experts, hybrids, latent, ngrams
from catalog.huggingface.pieces import Facts
from catalog.huggingface.reader import ConfigReader

Family = Callable[[ConfigReader], Facts]

FAMILIES: Mapping[str, Family] = {
    "cohere": dense.cohere,
    "cohere2": dense.cohere2,
    "deepseek_v2": latent.deepseek,
    "deepseek_v3": latent.deepseek,
    "deepseek_v32": latent.deepseek_sparse,
    "deepseek_v4": latent.deepseek_v4,
    "falcon": dense.falcon,
    "gemma": dense.gemma,
    "gemma2": dense.gemma2,
    "gemma3_text": dense.gemma3,
    "gemma4_text": experts.gemma4,
    "glm4": dense.glm4,
    "glm4_moe": experts.glm4_moe,
    "glm4_moe_lite": latent.glm4_moe_lite,
    "glm5_next_text": latent.glm5_next,
    "glm_moe_dsa": latent.deepseek_sparse,
    "gpt_oss": experts.gpt_oss,
    "granite": dense.llama,
    "granitemoe": experts.granite_moe,
    "granitemoehybrid": hybrids.granite_hybrid,
    "jamba": hybrids.jamba,
    "kimi_k2": latent.deepseek,
    "kimi_linear": hybrids.kimi_linear,
    "llama": dense.llama,
    "llama4_text": experts.llama4,
    "mimo_v2_flash": experts.mimo_v2_flash,
    "minimax": hybrids.minimax,
    "minimax_m1": hybrids.minimax,
    "minimax_m2": experts.minimax_m2,
    "minimax_m3": hybrids.minimax_m3,
    "minimax_m3_vl_text": hybrids.minimax_m3,
    "minimax_text_01": hybrids.minimax,
    "ministral3": dense.mistral,
    "mistral": dense.mistral,
    "mixtral": experts.mixtral,
    "nemotron": dense.nemotron,
    "nemotron-nas": hybrids.nemotron_nas,
    "nemotron_h": hybrids.nemotron_h,
    "olmo2": dense.olmo2,
    "olmo3": dense.olmo3,
    "olmoe": experts.olmoe,
    "phi3": dense.mistral,
    "phimoe": experts.phimoe,
    "qwen2": dense.qwen2,
    "qwen2_5_vl_text": dense.qwen2,
    "qwen2_moe": experts.qwen2_moe,
    "qwen2_vl_text": dense.qwen2,
    "qwen3": dense.qwen3,
    "qwen3_5_moe_text": hybrids.qwen3_next,
    "qwen3_5_text": hybrids.qwen3_5,
    "qwen3_moe": experts.qwen3_moe,
    "qwen3_next": hybrids.qwen3_next,
    "qwen3_vl_moe_text": experts.qwen3_moe,
    "qwen3_vl_text": dense.qwen3,
    "qwen4_exp_text": ngrams.qwen4_exp,
    "seed_oss": dense.seed_oss,
    "smollm3": dense.smollm3,
    "step3p5": hybrids.step3,
    "step3p7": hybrids.step3,
}
"""`model_type` of the (text) configuration -> its reader."""

_DELTANET = {
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 128,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_value_head_dim": 128,
}
CLASS_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "gemma3_text": {
        "head_dim": 256,
        "max_position_embeddings": 131072,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "sliding_window": 4096,
        "vocab_size": 262208,
    },
    "gemma4_text": {
        "head_dim": 256,
        "hidden_size_per_layer_input": 256,
        "max_position_embeddings": 131072,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "sliding_window": 512,
        "vocab_size": 262144,
    },
    "llama4_text": {
        "attention_chunk_size": 8192,
        "head_dim": 128,
        "intermediate_size": 8192,
        "intermediate_size_mlp": 16384,
        "max_position_embeddings": 131072,
        "num_attention_heads": 40,
        "num_experts_per_tok": 1,
        "num_key_value_heads": 8,
        "num_local_experts": 16,
        "vocab_size": 202048,
    },
    "qwen3_5_moe_text": {"head_dim": 256, "num_attention_heads": 16, "num_key_value_heads": 2, **_DELTANET},
    "qwen3_5_text": {"head_dim": 256, "num_attention_heads": 16, "num_key_value_heads": 4, **_DELTANET},
    "qwen3_vl_text": {"head_dim": 128, "max_position_embeddings": 128000, "vocab_size": 151936},
}
"""transformers drops what equals the default of the configuration class from a *nested* configuration when it saves
one, so that these may be absent there; never a layer count or a width, which checkpoints of different size state."""
