"""DeepSeek-V4 on vLLM: one size of block for compressed entries, windows and unfinished entries."""

from __future__ import annotations

from typing import Any

import pytest

from catalog import Catalog
from optimizer.memory import MemoryEstimate, estimate_memory

V4 = "deepseek-ai/DeepSeek-V4-"
BLOCK = 22 * 37_440 + 21 * 8_640 + 20 * 1_728
"""V4-Flash has 43 windows, in groups of 22 and 21; 21 sparse layers with the indexer's keys, 20 heavily compressed.
Pages of 64 · 584, 64 · 132 and 2 · 584 B are padded to steps of 576."""


def estimate(catalog: Catalog, model: str, **arguments: Any) -> MemoryEstimate:
    defaults = {"gpu": "h200-sxm", "weight_dtype": "fp8-block", "kv_cache_dtype": "fp8", "tp": 2}
    return estimate_memory(catalog, model=f"{V4}{model}", **(defaults | arguments))


def blocks_of_a_request(found: MemoryEstimate) -> float:
    return found.kv_cache_gib * 2**30 // BLOCK / found.max_concurrency


def test_every_block_is_as_large_as_the_largest(catalog: Catalog) -> None:
    assert BLOCK == 1_039_680  # of 256 tokens: 4,061 B a token, which is what a longer context costs
    at = {length: estimate(catalog, "Flash", max_model_len=length) for length in (262_144, 524_288)}
    more = blocks_of_a_request(at[524_288]) - blocks_of_a_request(at[262_144])
    assert more == pytest.approx(262_144 / 256)


def test_a_request_takes_blocks_of_all_groups(catalog: Catalog) -> None:
    # https://github.com/vllm-project/vllm/issues/44376, offline on 96 GB cards, so steps of 16,384 tokens: a request of
    # 30,000 needs 6.66 GiB, and 5.44 GiB hold 13,528. Blocks: 118 of entries; two groups of windows ⌈16,511 ÷ 64⌉ + 1;
    # unfinished entries ⌈16,391 ÷ 4⌉ + 1 and ⌈16,511 ÷ 8⌉ + 1. The start-up check counts blocks of 22 · 47,808 B.
    asked = {"engine_version": "0.27", "max_num_batched_tokens": 8192}
    found = estimate(catalog, "Flash", max_model_len=30_000, **asked)
    assert blocks_of_a_request(found) == pytest.approx(118 + 2 * 259 + 4099 + 2065)
    assert blocks_of_a_request(found) * 22 * 47_808 / 2**30 == pytest.approx(6.66, abs=0.005)
    shorter = estimate(catalog, "Flash", max_model_len=13_528, **asked)
    assert blocks_of_a_request(shorter) * 22 * 47_808 / 2**30 == pytest.approx(5.44, abs=0.005)


@pytest.mark.parametrize(
    ("model", "asked", "pool_gib", "printed_tokens"),
    [
        # https://github.com/vllm-project/vllm/issues/51041, two H20; the older checkpoint in steps one after another
        ("Flash-0731", {"max_model_len": 121_344, "engine_version": "0.26", "speculative": "mtp"}, 7.71, 150_992),
        ("Flash", {"max_model_len": 912_128, "engine_version": "0.25", "speculative": "mtp"}, 7.01, 1_009_661),
        # a public log of eight MI355X
        ("Flash-Base", {"max_model_len": 4096, "engine_version": "0.25", "tp": 8, "gpu": "mi355x",
                        "max_num_batched_tokens": 2048}, 191.04, 1_041_802),
    ],
)  # fmt: skip
def test_tokens_are_printed_by_the_bytes_of_the_groups_until_0_26(
    catalog: Catalog, model: str, asked: dict[str, Any], pool_gib: float, printed_tokens: int
) -> None:
    found = estimate(catalog, model, **({"max_num_batched_tokens": 8192} | asked))
    assert pool_gib * 2**30 / found.kv_bytes_per_token == pytest.approx(printed_tokens, rel=0.004)


def test_a_stage_holds_blocks_of_its_own_layers(catalog: Catalog) -> None:
    # V4-Pro: 61 windows in 2 groups, 30 sparse and 31 heavily compressed layers. Of two stages the first has 30 layers:
    # 15 of each, 15 windows a group; the second 31, with 16 heavily compressed ones
    whole, stages = (estimate(catalog, "Pro", tp=8, pp=pp, gpu="b300-sxm", max_model_len=8192) for pp in (1, 2))
    assert stages.kv_bytes_per_token < 0.55 * whole.kv_bytes_per_token


def test_other_engines_count_what_stays(catalog: Catalog) -> None:
    # 21 layers of 128 · 2 B and 33 B of keys, 20 layers of 4 · 2 B
    sglang = estimate(catalog, "Flash", engine="sglang", kv_cache_dtype="auto", max_model_len=8192)
    assert sglang.kv_bytes_per_token == 21 * (256 + 33) + 20 * 8 + 2 * 1024


def test_keys_gathered_for_the_indexer_share_a_workspace_with_the_experts(catalog: Catalog) -> None:
    # vllm/v1/attention/backends/mla/indexer.py, get_max_prefill_buffer_size: 40 requests of max_model_len, 132 B a key:
    # 5,036 MiB locked at 1,000,000 tokens of GLM-5.3-Flash; the experts' 8,192 · 8 · 2 · 4096 · 2 B = 1 GiB are less
    def activation(model: str, tokens: int) -> float:
        return estimate_memory(
            catalog, model=model, gpu="h200-sxm", tp=8, engine_version="0.28.0", weight_dtype="fp8-block",
            max_model_len=tokens, max_num_batched_tokens=8192, max_num_seqs=64,
        ).activation_gib  # fmt: skip

    flash = "zai-org/GLM-5.3-Flash"
    assert activation(flash, 1_000_000) - activation(flash, 8192) == pytest.approx(40e6 * 132 / 2**30 - 1.0)
    # DeepSeek-V4 keeps a key for every fourth token: 40 · 262,144 · 132 B = 1.29 GiB, its experts 0.75 GiB
    v4 = "deepseek-ai/DeepSeek-V4-Flash"
    assert activation(v4, 1_048_576) - activation(v4, 8192) == pytest.approx(40 * 262_144 * 132 / 2**30 - 0.75)
