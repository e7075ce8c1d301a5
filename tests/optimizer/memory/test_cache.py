"""Bytes per token and per sequence: heads, latents, windows, padding, recurrent states."""

from __future__ import annotations

from typing import Any

import pytest

from catalog import Catalog
from optimizer.memory import MemoryEstimate, estimate_memory


def estimate(catalog: Catalog, model: str, **arguments: Any) -> MemoryEstimate:
    defaults = {"gpu": "h200-sxm", "weight_dtype": "bf16", "max_model_len": 8192, "engine_version": "0.19.0"}
    return estimate_memory(catalog, model=model, **(defaults | arguments))


def test_grouped_query_attention_caches_keys_and_values_of_every_head_and_layer(catalog: Catalog) -> None:
    # 2 × 64 layers × 8 heads × 128 × 2 B = 256 KiB; with fp8 half of it; over 2 ranks half of it
    assert estimate(catalog, "Qwen/Qwen3-32B").kv_bytes_per_token == 256 * 1024
    assert estimate(catalog, "Qwen/Qwen3-32B", kv_cache_dtype="fp8").kv_bytes_per_token == 128 * 1024
    assert estimate(catalog, "Qwen/Qwen3-32B", tp=2).kv_bytes_per_token == 128 * 1024


def test_heads_are_replicated_once_tp_exceeds_them(catalog: Catalog) -> None:
    # 94 layers × 1 of 4 heads × 128 × 2 × 2 B = 48,128 B at tp 4 and at tp 8 (the log at tp 8: 48,006 B)
    at = {tp: estimate(catalog, "Qwen/Qwen3-235B-A22B", tp=tp).kv_bytes_per_token for tp in (1, 2, 4, 8)}
    assert at == {1: 4 * 48_128, 2: 2 * 48_128, 4: 48_128, 8: 48_128}


def test_a_latent_is_kept_whole_on_every_rank(catalog: Catalog) -> None:
    # (512 + 64) × 2 B × 61 layers = 70,272 B, whatever tp; Kimi-VL's log says the same of tp 1 and 2
    at = [estimate(catalog, "deepseek-ai/DeepSeek-V3", tp=tp).kv_bytes_per_token for tp in (1, 4, 8)]
    assert at == [70_272] * 3


def test_sparse_latent_attention_caches_packed_rows_and_its_indexer(catalog: Catalog) -> None:
    # 656 B (fp8_ds_mla) + 132 B (fp8 key and scale of the indexer), 61 layers
    packed = estimate(catalog, "deepseek-ai/DeepSeek-V3.2", kv_cache_dtype="fp8", tp=8)
    assert packed.kv_bytes_per_token == 61 * (656 + 132)


def test_gemma_3_allocates_seventy_layers_for_sixty_two(catalog: Catalog) -> None:
    # 10 full layers and 52 windowed ones in 6 groups of 10, the last padded: 70 × 16 heads × 128 × 2 × 2 B.
    # https://github.com/llm-d-incubation/llm-d-planner/pull/205: 573,582 B
    assert estimate(catalog, "google/gemma-3-27b-it").kv_bytes_per_token == 70 * 8192
    assert estimate(catalog, "google/gemma-3-4b-it").kv_bytes_per_token == 35 * 4096  # 34 layers; the log: 143,374 B
    before = estimate(catalog, "google/gemma-3-27b-it", engine_version="0.8.5")
    assert before.kv_bytes_per_token == 62 * 8192  # windows not used yet: every layer like a full one


def test_windowed_layers_stop_growing(catalog: Catalog) -> None:
    # https://github.com/llm-d-incubation/llm-d-planner/pull/205: gpt-oss-20b 155.75 requests of 8192; a windowed group
    # keeps min(8192, 127 + 8192) tokens and one block more: 512 + 513 blocks of 16 a request
    short = estimate(catalog, "openai/gpt-oss-20b", weight_dtype="mxfp4", gpu="h100-sxm", gpu_memory_utilization=0.95)
    blocks = short.kv_cache_gib * 2**30 // (12 * 16 * 2048)
    assert short.max_concurrency == pytest.approx(blocks / (512 + 513))
    assert short.max_concurrency == pytest.approx(155.75, rel=0.01)
    long = estimate(catalog, "openai/gpt-oss-20b", weight_dtype="mxfp4", gpu="h100-sxm", max_model_len=131072)
    # 8192 blocks of the full group, 520 + 1 of the windowed one
    assert long.max_concurrency * (8192 + 521) == pytest.approx(long.kv_cache_gib * 2**30 // (12 * 16 * 2048))


def test_recurrent_layers_raise_attention_blocks_until_a_page_holds_a_state(catalog: Catalog) -> None:
    # public log of vLLM 0.11.0, Qwen3-Next-80B on 2 H200: KV 44.59 GiB; 973,760 tokens; 262,144 -> 14.77x.
    # Page: conv 24,576 B + state 524,288 B a rank ÷ 1,024 B a token -> blocks of 544; 12 full layers and 3 groups of
    # 12 recurrent ones: 4 × 12 × 1,024 B a token as printed.
    logged = estimate(catalog, "Qwen/Qwen3-Next-80B-A3B-Instruct", tp=2, max_model_len=262144, engine_version="0.11.0")
    assert logged.kv_bytes_per_token == 49_152
    assert logged.kv_cache_tokens % 544 == 0
    blocks = logged.kv_cache_gib * 2**30 // (544 * 1024 * 12)
    assert logged.max_concurrency == pytest.approx(blocks / (482 + 3))  # ⌈262,144 ÷ 544⌉ and a state in each group
    assert logged.kv_cache_gib * 2**30 / 973_760 / 49_152 == pytest.approx(1.0, rel=0.02)


def test_since_0_26_windows_hold_the_tokens_of_two_steps(catalog: Catalog) -> None:
    # https://github.com/vllm-project/vllm/pull/47728: max_in_flight_tokens. gpt-oss-20b at 131,072: 8,192 blocks of the
    # full group; of the windowed one ⌈(127 + 8,192) ÷ 16⌉ + 1 = 521 blocks, then ⌈(127 + 2 · 8,192) ÷ 16⌉ + 1 = 1,033;
    # with three stages three steps are under way
    def blocks(version: str, **arguments: Any) -> float:
        found = estimate(catalog, "openai/gpt-oss-20b", weight_dtype="mxfp4", gpu="h100-sxm", max_model_len=131072,
                         engine_version=version, **arguments)  # fmt: skip
        layers = 12 // arguments.get("pp", 1)
        return found.kv_cache_gib * 2**30 // (layers * 16 * 2048) / found.max_concurrency

    assert blocks("0.25") == pytest.approx(8192 + 521)
    assert blocks("0.26") == pytest.approx(8192 + 1033)
    assert blocks("0.26", pp=3) == pytest.approx(8192 + 1545)


def test_large_pages_leave_a_rest_of_the_pool(catalog: Catalog) -> None:
    # https://github.com/vllm-project/vllm/issues/49064: Qwen3.8-27B on two cards, 3.86 GiB are "161 mamba blocks" and
    # 123,399 tokens at 122,633: 161 ÷ 160 requests, not 3.86 GiB ÷ 3.8281
    logged = estimate(catalog, "Qwen/Qwen3.8-27B", weight_dtype="fp8", gpu="rtx-3090", tp=2, max_model_len=122633)
    piece = logged.state_bytes_per_sequence / 3  # one block of each of three groups of recurrent layers
    assert 3.86 * 2**30 // piece == 161
    held = logged.kv_cache_gib * 2**30 // piece
    assert logged.max_concurrency == pytest.approx(held / 160)
    assert logged.kv_cache_tokens <= held * piece / logged.kv_bytes_per_token


def test_states_alone_can_cap_concurrency(catalog: Catalog) -> None:
    short = estimate(catalog, "Qwen/Qwen3.5-27B", max_model_len=16)
    assert short.max_concurrency < short.kv_cache_tokens / 16 / 10  # its tokens would make ten times as many requests


def test_vllm_refuses_more_sequences_than_blocks_of_states(catalog: Catalog) -> None:
    # https://github.com/vllm-project/vllm/issues/49064: "max_num_seqs (1024) exceeds available Mamba cache blocks"
    many = estimate(catalog, "Qwen/Qwen3.5-27B", gpu="h100-sxm", max_num_seqs=1024, engine_version="0.28.0")
    few = estimate(catalog, "Qwen/Qwen3.5-27B", gpu="h100-sxm", max_num_seqs=128, engine_version="0.28.0")
    assert (many.fits, many.reason_key) == (False, "state")
    assert few.fits


@pytest.mark.parametrize(
    ("model", "arguments", "blocks"),
    [
        # https://github.com/vllm-project/recipes/pull/551, on an H100
        ("Qwen/Qwen3.6-27B", {"weight_dtype": "fp8", "gpu_memory_utilization": 0.95}, 856),
        # https://github.com/vllm-project/vllm/issues/49064, on an H100 with 0.28.0; by its pool a checkpoint in NVFP4
        ("Qwen/Qwen3.8-27B", {"weight_dtype": "nvfp4", "gpu_memory_utilization": 0.9, "max_model_len": 132_000}, 969),
    ],
)
def test_states_have_as_many_blocks_as_vllm_says(
    catalog: Catalog, model: str, arguments: dict[str, Any], blocks: int
) -> None:
    logged = {"gpu": "h100-sxm", "engine_version": "0.28.0", **arguments}
    held = [estimate(catalog, model, **logged, max_num_seqs=sequences).fits for sequences in (blocks - 20, blocks + 20)]
    assert held == [True, False]


def test_a_pipeline_holds_as_many_tokens_as_its_poorest_stage(catalog: Catalog) -> None:
    # https://github.com/llm-d-incubation/llm-d-planner/pull/205, 2 stages: one rank prints 66.54 GiB, the replica holds
    # 1,075,312 tokens × 16 layers × 4,096 B = 65.63 GiB: the last stage also samples
    logged = estimate(
        catalog, "meta-llama/Llama-3.1-8B-Instruct", pp=2, gpu="h100-sxm", gpu_memory_utilization=0.95
    )  # fmt: skip
    assert logged.kv_cache_tokens == pytest.approx(1_075_312, rel=0.005)
    assert logged.kv_cache_gib == pytest.approx(65.63, rel=0.005)


def test_since_0_21_tokens_of_layered_caches_are_requests_times_their_length(catalog: Catalog) -> None:
    # https://github.com/vllm-project/vllm/issues/54662
    newer = estimate(catalog, "google/gemma-3-27b-it", engine_version="0.25.0", max_model_len=32768)
    assert newer.kv_cache_tokens == pytest.approx(newer.max_concurrency * 32768, abs=1)


def test_sglang_sets_part_of_the_pool_aside_for_states(catalog: Catalog) -> None:
    # mamba_full_memory_ratio 0.9: states get 0.9 ÷ 1.9 of what weights leave
    estimate_ = estimate_memory(
        catalog, model="Qwen/Qwen3-Next-80B-A3B-Instruct", gpu="h200-sxm", weight_dtype="bf16", tp=2, engine="sglang",
        max_model_len=8192,
    )  # fmt: skip
    rest = estimate_.budget_gib - estimate_.weights_gib
    assert estimate_.kv_cache_gib == pytest.approx(rest / 1.9, rel=0.001)
    assert estimate_.kv_bytes_per_token == 12 * 1024
    slots = (rest - estimate_.kv_cache_gib) * 2**30 / estimate_.state_bytes_per_sequence
    assert estimate_.max_concurrency <= slots * 1.0001


def test_data_parallel_attention_does_not_shard_the_cache(catalog: Catalog) -> None:
    # public log of Qwen3-Coder-480B on 8 H20 with dp 8: 62 layers × 8 heads × 128 × 2 × 2 B = 253,952 B on every GPU,
    # so that one request of 262,144 tokens needs 62.00 GiB there ("62.00 GiB KV needed > 48.66 GiB")
    shared = {"gpu": "h200-sxm", "weight_dtype": "fp8", "max_model_len": 262144}
    dp = estimate(catalog, "Qwen/Qwen3-Coder-480B-A35B-Instruct", **shared, dp=8, ep=8)
    tp = estimate(catalog, "Qwen/Qwen3-Coder-480B-A35B-Instruct", **shared, tp=8, ep=8)
    assert (dp.kv_bytes_per_token, tp.kv_bytes_per_token) == (253_952, 253_952 / 8)
    assert dp.kv_bytes_per_token * 262144 / 2**30 == pytest.approx(62.0)


def test_pooled_keys_and_latents_without_positions_share_pages_with_the_states(catalog: Catalog) -> None:
    # public log of GLM-5.3-Flash on 8 H200: 81.79 GiB hold 55.15 requests of 131,072 tokens. A token takes 512 · 2 B of
    # latent and 128 · 2 B / 4 of pooled key in each of 11 layers; a state 8 heads · 128² · 4 B and 3 · 3072 · 2 B
    glm = estimate(
        catalog, "zai-org/GLM-5.3-Flash", weight_dtype="fp8-block", gpu="h200-sxm", tp=8, max_model_len=131072,
        max_num_seqs=512, gpu_memory_utilization=0.9,
    )  # fmt: skip
    assert glm.kv_cache_gib / glm.max_concurrency == pytest.approx(81.79 / 55.15, rel=0.01)
    # blocks of 512 tokens, the least multiple of 16 whose 1,088 B a token hold a state of 542,720 B
    assert glm.state_bytes_per_sequence == 512 * 1088 * 11 * 4  # 34 recurrent layers in 4 groups of 11


def test_latent_blocks_beside_states_are_multiples_of_64(catalog: Catalog) -> None:
    # https://github.com/vllm-project/vllm/issues/28228, Kimi-Linear on two cards: "attention block size to 960 tokens",
    # "padding mamba page size by 1.89%" = 960 · 576 · 2 B over 16 heads · 128² · 4 B and 3 · 6,144 · 2 B = 1,085,440 B
    kimi = estimate(catalog, "moonshotai/Kimi-Linear-48B-A3B-Instruct", tp=2, max_model_len=120_000)
    # 20 recurrent layers are 3 groups of the 7 latent ones
    assert kimi.state_bytes_per_sequence == 960 * 1152 * 7 * 3


def test_vllm_steps_of_gemma_4_hold_a_video_and_windows_hold_two_steps(catalog: Catalog) -> None:
    # public log of 0.25.1, Gemma-4-26B-A4B in FP8 on an L40S: 9.81 requests of 32,768 tokens in 12.75 GiB. A step has
    # at least 2,496 tokens, a window 1,023 + 2,496; with the 2,048 of the card it would be 10.70 requests
    found = estimate_memory(
        catalog, model="google/gemma-4-26B-A4B-it", weight_dtype="fp8", gpu="l40s", engine_version="0.25.1",
        max_model_len=32_768, gpu_memory_utilization=0.9,
    )  # fmt: skip
    assert found.max_num_batched_tokens == 2496
    per_request = found.kv_cache_gib / found.max_concurrency
    assert 12.75 / per_request == pytest.approx(9.81, rel=0.01)
