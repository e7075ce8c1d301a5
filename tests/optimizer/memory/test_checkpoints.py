"""Weights of published checkpoints as engines logged them; each row is a checkpoint that a simpler count misses."""

from __future__ import annotations

from typing import Any

import pytest

from catalog import Catalog
from catalog.errors import InputError
from optimizer.memory import MemoryEstimate, estimate_memory

V4, NEXT, V27 = "deepseek-ai/DeepSeek-V4-", "Qwen3.8-Flash-Next-NVFP4", "Qwen3.8-27B-NVFP4"
PUBLIC = "stored-index://github-public-file/"
SPARK, MI355X = {"gpu": "dgx-spark-gb10"}, {"gpu": "mi355x"}
DEV = {"engine_version": "0.26", "tp": 2, "gpu": "rtx-5090"}

# (what was logged in GiB, model, weight format, arguments, what a simpler count gets wrong, log)
LOGGED: list[tuple[float, str, str, dict[str, Any], str, str]] = [
    (6.59, "Qwen/Qwen2.5-VL-7B-Instruct", "awq-int4", {"engine_version": "0.8.5"},
     "four times the positions, for videos", f"{PUBLIC}63135534711"),
    (74.28, "Qwen/Qwen3-Next-80B-A3B-Instruct", "bf16", {"tp": 2, "gpu": "h100-sxm"},
     "a quarter of a head turns", f"{PUBLIC}7292846353"),
    (38.24, "zai-org/GLM-5.3-Flash", "fp8-block", {"tp": 8, "gpu": "h200-sxm"},
     "attention expanded to 16 bit", f"{PUBLIC}69102865712"),
    (74.08, f"{V4}Flash", "fp8-block", {"tp": 2, "gpu": "h200-sxm"},
     "experts in 4 bit, mixers of streams in 32", f"{PUBLIC}63344308021"),
    (19.79, f"{V4}Flash-0731", "fp8-block", {"tp": 8, "gpu": "h200-sxm"}, "as above", f"{PUBLIC}71265668067"),
    (35.15, f"{V4}Flash-Base", "fp8-block", {"tp": 8, **MI355X}, "experts in 8 bit", f"{PUBLIC}62524349563"),
    (19.75, f"RadixArk/{V27}", "nvfp4", {"gpu": "rtx-a6000"},
     "attention in 8 bit", "https://github.com/noonghunna/club-3090/issues/1047"),
    (12.02, f"Inferact/{V27}", "nvfp4", DEV,
     "16 bit of its own list", "https://github.com/vllm-project/recipes/pull/810"),
    (14.28, "Qwen/Qwen3.8-27B", "fp8-block", DEV, "lists of its own", "https://github.com/vllm-project/recipes/pull/810"),
    (64.06, f"RadixArk/{NEXT}", "nvfp4", {"tp": 2, "speculative": "mtp", **SPARK},
     "table divided, drafting layers in 16 bit", f"{PUBLIC}67408821894"),
    (7.6785, "Qwen/Qwen3-4B", "fp16", {"gpu": "mi300x", "engine_version": "0.11"},
     "what the card misses", "https://github.com/kyuz0/amd-strix-halo-vllm-toolboxes/pull/5"),
    (1.3379, "Qwen/Qwen3-0.6B", "bf16", {"gpu": "mi300x", "engine_version": "0.8.5"},
     "what the card misses", f"{PUBLIC}54382809113"),
]  # fmt: skip


def estimate(catalog: Catalog, model: str, weight_dtype: str, **arguments: Any) -> MemoryEstimate:
    return estimate_memory(
        catalog, model=model, weight_dtype=weight_dtype, **({"gpu": "h200-sxm", "max_model_len": 4096} | arguments)
    )


@pytest.mark.parametrize(
    ("logged_gib", "model", "weight_dtype", "arguments", "missed", "log"),
    LOGGED,
    ids=[f"{row[1]} {row[0]}" for row in LOGGED],
)
def test_a_checkpoint_is_counted_as_its_own_configuration_says(
    catalog: Catalog, logged_gib: float, model: str, weight_dtype: str, arguments: dict[str, Any], missed: str, log: str
) -> None:
    found = estimate(catalog, model, weight_dtype, **arguments).weights_gib
    assert found == pytest.approx(logged_gib, rel=0.01, abs=0.1), f"{missed} ({log})"


def test_sglang_keeps_scales_beside_repacked_experts(catalog: Catalog) -> None:
    # https://github.com/SemiAnalysisAI/InferenceX/issues/2128: "mem usage 125.65 GB" on a rank of eight H200
    found = estimate(catalog, f"{V4}Pro", "fp8-block", tp=8, engine="sglang").weights_gib
    assert found == pytest.approx(125.65, rel=0.01)
    assert estimate(catalog, f"{V4}Pro", "fp8-block", tp=8, engine="sglang", gpu="b300-sxm").weights_gib < 110


def test_n_gram_tables_may_stay_in_host_memory(catalog: Catalog) -> None:
    # 2,800,000 rows are not on the card: SGLang and llama.cpp never put them there, vLLM where it is told so
    model = f"nvidia/{NEXT}"
    on_card = estimate(catalog, model, "nvfp4").weights_gib
    on_host = estimate(catalog, model, "nvfp4", tables_on_host=True).weights_gib
    assert on_card - on_host > 40
    asked = estimate(catalog, model, "nvfp4", engine="sglang", tables_on_host=True).weights_gib
    assert asked == estimate(catalog, model, "nvfp4", engine="sglang").weights_gib
    with pytest.raises(InputError, match="has no tables"):
        estimate(catalog, "Qwen/Qwen3-0.6B", "bf16", tables_on_host=True)


def test_deepseek_v4_drafts_with_a_layer_that_sees_its_window_only(catalog: Catalog) -> None:
    plain, drafting = (estimate(catalog, f"{V4}Flash", "fp8-block", tp=2, speculative=s) for s in (None, "mtp"))
    # 43 layers of 256 experts, 3 · 4096 · 2048 values each in 4.25 bit, are nearly all; one more
    assert drafting.weights_gib - plain.weights_gib == pytest.approx(plain.weights_gib / 43, rel=0.2)
    with pytest.raises(InputError, match="eagle head"):
        estimate(catalog, f"{V4}Flash", "fp8-block", speculative="eagle")


def test_amd_cards_cache_plain_rows_of_sparse_latents(catalog: Catalog) -> None:
    # a request of 1,048,576 tokens needs 46.58 GiB on every rank: 47,700 B a token, 576 B a layer and the indexer
    asked = {"tp": 4, "kv_cache_dtype": "fp8", "max_num_batched_tokens": 16384, "max_model_len": 1_048_576}
    plain = estimate(catalog, "zai-org/GLM-5.3", "mxfp4", **MI355X, **asked)
    assert plain.kv_bytes_per_token * 1_048_576 / 2**30 == pytest.approx(46.58, abs=0.005)
    packed = estimate(catalog, "zai-org/GLM-5.3", "fp8-block", gpu="b300-sxm", **asked)
    assert packed.kv_bytes_per_token > plain.kv_bytes_per_token
