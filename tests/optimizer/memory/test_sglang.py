"""What SGLang sets aside when no flag says otherwise: python/sglang/srt/server_args.py, version by version."""

from __future__ import annotations

from typing import Any

import pytest

from catalog import Catalog
from optimizer.memory import MemoryEstimate, estimate_memory

H100_MIB = 81_559  # as nvidia-smi says, which is what the engine asks


def estimate(catalog: Catalog, model: str = "Qwen/Qwen3-32B", **arguments: Any) -> MemoryEstimate:
    defaults = {"gpu": "h100-sxm", "weight_dtype": "bf16", "engine": "sglang", "max_model_len": 8192}
    return estimate_memory(catalog, model=model, **(defaults | arguments))


def fraction(reserve_mib: float, card_mib: float = H100_MIB) -> float:
    return round((card_mib - reserve_mib) / card_mib, 3)


def test_the_reserve_is_a_sum_of_chunk_graphs_and_gpus_since_0_5_3(catalog: Catalog) -> None:
    # 512 + 1.5 · 8192 + 2 · 256 + 128 = 13,440 MiB; from four ranks on graphs of 512: 512 + 12,288 + 1,024 + 512
    assert estimate(catalog, engine_version="0.5.4").utilization_fraction == fraction(13_440)
    assert estimate(catalog, engine_version="0.5.4", tp=4).utilization_fraction == fraction(14_336)


def test_prompts_in_graphs_take_eight_mib_each_since_0_5_10(catalog: Catalog) -> None:
    # https://github.com/sgl-project/sglang/issues/29092: "0.828 for H100 with Qwen3 32 B model"; numbers of tokens up
    # to 8,192: 8 + 14 + 8 + 28 + 16 = 74
    assert estimate(catalog, engine_version="0.5.12").utilization_fraction == 0.828 == fraction(13_440 + 8 * 74)
    latent = estimate(catalog, "deepseek-ai/DeepSeek-V2-Lite-Chat", engine_version="0.5.12")
    assert latent.utilization_fraction == fraction(13_440 + 1536)


def test_attention_data_parallelism_counts_all_ranks(catalog: Catalog) -> None:
    # tp_size 8 of dp 8: 512 + 12,288 + 2 · 512 + 8 · 128 + 512 · 8 · (3 + 1.5) = 33,280 MiB of 143,771
    spread = estimate(
        catalog, "deepseek-ai/DeepSeek-V3", gpu="h200-sxm", weight_dtype="fp8", dp=8, engine_version="0.5.4"
    )
    assert spread.utilization_fraction == fraction(33_280, 143_771)


def test_a_table_by_card_held_before_and_one_by_ranks_before_that(catalog: Catalog) -> None:
    assert estimate(catalog, engine_version="0.5.2").utilization_fraction == fraction(9_728 + 512)
    assert estimate(catalog, engine_version="0.4.6", tp=2).utilization_fraction == 0.87
    assert estimate(catalog, engine_version="0.4.6", tp=8).utilization_fraction == 0.81


@pytest.mark.parametrize(("version", "more_mib"), [("0.5.2", 2048), ("0.5.4", 2048), ("0.5.20", 0)])
def test_a_head_that_drafts_has_memory_of_its_own_until_0_5_20(catalog: Catalog, version: str, more_mib: int) -> None:
    plain, drafting = (
        estimate(catalog, "deepseek-ai/DeepSeek-V3", weight_dtype="fp8", tp=8, gpu="h200-sxm", engine_version=version,
                 speculative=speculative).utilization_fraction
        for speculative in (None, "mtp")
    )  # fmt: skip
    assert plain - drafting == pytest.approx(more_mib / 143_771, abs=0.0011)


def test_a_vision_tower_lowers_the_fraction(catalog: Catalog) -> None:
    # 27 layers of 1,152² are 1.42 times 24 of 1,024²: 0.95 · (1 − 0.1 · 0.42) = 0.91
    text, vision = (
        estimate(catalog, model, engine_version="0.5.4").utilization_fraction
        for model in ("google/gemma-2-27b-it", "google/gemma-3-27b-it")
    )
    assert vision / text == pytest.approx(0.91, abs=0.01)


def test_a_running_request_needs_three_slots_for_its_states(catalog: Catalog) -> None:
    found = estimate(catalog, "Qwen/Qwen3-Next-80B-A3B-Instruct", gpu="h200-sxm", tp=2, max_model_len=16)
    slots = found.kv_cache_gib * 0.9 * 2**30 / found.state_bytes_per_sequence
    assert found.max_concurrency == pytest.approx(slots / 3, rel=0.001)


def test_cards_of_up_to_35_gib_take_larger_steps_since_0_5_20(catalog: Catalog) -> None:
    before, since = (estimate(catalog, "Qwen/Qwen3-8B", gpu="rtx-4090", engine_version=v) for v in ("0.5.19", "0.5.20"))
    assert (before.max_num_batched_tokens, since.max_num_batched_tokens) == (2048, 4096)
    # 512 + 1.5 · 2048 + 2 · 24 + 128 + 8 · (8 + 14 + 8 + 12) = 4,096 MiB of 24,564
    assert before.utilization_fraction == fraction(4_096, 24_564)
