"""Figures that engines printed when they started, against ours; every row names its log."""

from __future__ import annotations

from typing import Any

import pytest

from catalog import Catalog
from optimizer.memory import estimate_memory

SWEEP = "https://github.com/llm-d-incubation/llm-d-planner/pull/205"
EMPIRICAL = "https://github.com/llm-d-incubation/llm-d-planner/blob/main/docs/empirical-vllm-memory-results.md"
H100 = {"gpu": "h100-sxm", "gpu_memory_gib": 79.19, "gpu_memory_utilization": 0.95, "max_model_len": 8192}
V19 = H100 | {"engine_version": "0.19.0"}
V16 = H100 | {"gpu_memory_gib": 79.18, "gpu_memory_utilization": 0.9, "max_model_len": 16000, "engine_version": "0.16"}

# (arguments, what the log says, log)
POOLS: list[tuple[dict[str, Any], dict[str, float], str]] = [
    (
        V19 | {"model": "meta-llama/Llama-3.1-8B-Instruct", "weight_dtype": "bf16"},
        {"weights_gib": 14.99, "activation_gib": 1.89, "non_torch_gib": 0.25, "kv_cache_gib": 58.11,
         "kv_cache_tokens": 476016, "max_concurrency": 58.11},
        SWEEP,
    ),
    (
        V19 | {"model": "meta-llama/Llama-3.1-8B-Instruct", "weight_dtype": "bf16", "kv_cache_dtype": "fp8"},
        {"kv_cache_gib": 58.11, "kv_cache_tokens": 952032, "max_concurrency": 116.21},
        SWEEP,
    ),
    (
        V19 | {"model": "meta-llama/Llama-3.3-70B-Instruct", "weight_dtype": "fp8", "tp": 4},
        {"weights_gib": 16.96, "activation_gib": 1.97, "non_torch_gib": 2.21, "kv_cache_gib": 54.09,
         "kv_cache_tokens": 708992, "max_concurrency": 86.55},
        SWEEP,
    ),
    (
        V19 | {"model": "Qwen/Qwen3-30B-A3B", "weight_dtype": "bf16"},
        {"weights_gib": 56.88, "activation_gib": 2.68, "kv_cache_gib": 15.41, "kv_cache_tokens": 168288},
        SWEEP,
    ),
    (
        V19 | {"model": "openai/gpt-oss-20b", "weight_dtype": "mxfp4", "tp": 2, "gpu_memory_utilization": 0.9},
        {"weights_gib": 7.01, "activation_gib": 2.87, "kv_cache_gib": 59.32, "kv_cache_tokens": 2591776,
         "max_concurrency": 316.07},
        SWEEP,
    ),
    (
        V19 | {"model": "google/gemma-2-27b-it", "weight_dtype": "bf16"},
        {"weights_gib": 50.72, "activation_gib": 3.66, "kv_cache_gib": 20.59, "kv_cache_tokens": 58672},
        SWEEP,
    ),
    (
        V16 | {"model": "Qwen/Qwen3-32B", "weight_dtype": "bf16", "tp": 2},
        {"weights_gib": 30.59, "activation_gib": 5.64, "non_torch_gib": 0.54, "kv_cache_gib": 34.49},
        EMPIRICAL,
    ),
    (  # V0: max_num_batched_tokens is the context, so that the layer's peak exceeds the sampler's
        {"model": "Qwen/Qwen2.5-1.5B-Instruct", "gpu": "t4", "weight_dtype": "fp16", "engine_version": "0.7",
         "gpu_memory_utilization": 0.5, "gpu_memory_gib": 14.56, "max_model_len": 32768},
        {"weights_gib": 2.8875, "activation_gib": 2.02, "kv_cache_gib": 2.36, "kv_cache_tokens": 88304,
         "max_concurrency": 2.69},
        "public log of vLLM 0.7 on a T4: 14.56 x .50; weights 2.89; non_torch .01; act 2.02; kv 2.36 GiB; blocks 5519",
    ),
    (
        {"model": "Qwen/Qwen3-235B-A22B-Instruct-2507", "gpu": "l40s", "weight_dtype": "fp8-block", "tp": 8, "ep": 8,
         "engine_version": "0.10.2", "gpu_memory_utilization": 0.9, "gpu_memory_gib": 44.42, "max_model_len": 32768,
         "max_num_batched_tokens": 2048},
        {"weights_gib": 27.72, "activation_gib": 1.4, "kv_cache_gib": 10.65, "kv_cache_tokens": 238208,
         "max_concurrency": 7.27},
        "public log of vLLM 0.10.2 on 8 L40S: weight 27.72; act 1.4; non-torch .21; graph 3.45; KV 10.65 GiB",
    ),
    (  # 371 blocks of 784 tokens a group, 1487 in all: 42 + 3 of them a request
        {"model": "Qwen/Qwen3.5-27B", "gpu": "h20", "gpu_memory_gib": 139.8, "weight_dtype": "bf16",
         "engine_version": "0.19.0", "max_model_len": 32768, "max_num_seqs": 16, "max_num_batched_tokens": 16384},
        {"kv_cache_tokens": 290864, "max_concurrency": 33.04},
        "https://github.com/vllm-project/vllm/issues/40691",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "logged", "log"), POOLS, ids=[f"{a['model']}-{i}" for i, (a, _, _) in enumerate(POOLS)]
)
def test_vllm_start_up_logs_are_met_within_two_percent(
    catalog: Catalog, arguments: dict[str, Any], logged: dict[str, float], log: str
) -> None:
    estimate = estimate_memory(catalog, **arguments)
    tolerances = {"activation_gib": 0.06, "non_torch_gib": 0.08}
    for name, value in logged.items():
        close = pytest.approx(value, abs=tolerances[name]) if name in tolerances else pytest.approx(value, rel=0.02)
        assert getattr(estimate, name) == close, (name, log)


def test_amd_cards_hold_more_outside_the_allocator(catalog: Catalog) -> None:
    # public log of vLLM 0.9 on an RX 7900 XTX: 23.98 × .90; weights .24; non_torch .53; act .49; kv 20.33 GiB
    estimate = estimate_memory(
        catalog, model="facebook/opt-125m", gpu="radeon-rx-7900-xtx", gpu_memory_gib=23.98, weight_dtype="fp16",
        engine_version="0.9", gpu_memory_utilization=0.9, max_model_len=2048,
    )  # fmt: skip
    assert estimate.kv_cache_gib == pytest.approx(20.33, rel=0.005)


def test_a_configuration_that_vllm_started_fits(catalog: Catalog) -> None:
    assert all(estimate_memory(catalog, **arguments).fits for arguments, _, _ in POOLS)


@pytest.mark.parametrize(
    ("arguments", "reason", "log"),
    [
        # 62.00 GiB needed for one request, 48.66 GiB there: attention is not sharded under data parallelism
        ({"model": "Qwen/Qwen3-Coder-480B-A35B-Instruct", "gpu": "h200-sxm", "weight_dtype": "fp8-block", "dp": 8,
          "ep": 8, "engine_version": "0.10.1", "gpu_memory_utilization": 0.9, "max_model_len": 262144},
         "context", "https://github.com/vllm-project/recipes/pull/12"),
        ({"model": "openai/gpt-oss-120b", "gpu": "h100-sxm", "weight_dtype": "mxfp4", "engine_version": "0.10.1",
          "gpu_memory_utilization": 0.9}, "memory", "https://github.com/vllm-project/vllm/issues/23278"),
        ({"model": "Qwen/Qwen3-32B", "gpu": "h100-sxm", "weight_dtype": "bf16", "engine_version": "0.16",
          "gpu_memory_utilization": 0.9, "max_model_len": 32000}, "context", EMPIRICAL),
        # the sampler warms up with 1024 requests after the pool is taken
        (V19 | {"model": "openai/gpt-oss-20b", "weight_dtype": "mxfp4"}, "start_up", SWEEP),
        # "151936 is not divisible by 5", before the 8 key/value heads are looked at
        (V19 | {"model": "Qwen/Qwen3-14B", "weight_dtype": "bf16", "tp": 5}, "vocabulary", SWEEP),
        ({"model": "meta-llama/Llama-3.1-8B-Instruct", "gpu": "a10", "weight_dtype": "bf16", "engine_version": "0.7",
          "gpu_memory_utilization": 0.9, "max_model_len": 131072}, "context",
         "public log of vLLM 0.7 on an A10: 131072 > KV capacity 37696 tokens"),
    ],
)  # fmt: skip
def test_a_configuration_that_vllm_refused_does_not_fit_for_the_same_reason(
    catalog: Catalog, arguments: dict[str, Any], reason: str, log: str
) -> None:
    estimate = estimate_memory(catalog, **arguments)
    assert (estimate.fits, estimate.reason_key) == (False, reason), log


def test_data_parallel_experts_work_on_every_rank_s_tokens(catalog: Catalog) -> None:
    # https://github.com/vllm-project/recipes/pull/12: 48.66 GiB are left at 0.9 of an H20 of 139.8 GiB. Hidden states
    # of 8 · 8192 tokens are gathered (6144 · 2 B each); 32,768 at a time pass 8 experts in two buffers of 6144
    coder = {"model": "Qwen/Qwen3-Coder-480B-A35B-Instruct", "gpu": "h200-sxm", "weight_dtype": "fp8-block", "dp": 8,
             "ep": 8, "engine_version": "0.10.1", "gpu_memory_utilization": 0.9, "gpu_memory_gib": 139.8}  # fmt: skip
    estimate = estimate_memory(catalog, **coder)
    hidden_gib = 8192 * 6144 * 2 / 2**30
    assert estimate.activation_gib == pytest.approx(
        8 * hidden_gib + 1.1 * hidden_gib + 32768 * 8 * 2 * 6144 * 2 / 2**30
    )
    assert estimate.kv_cache_gib == pytest.approx(48.66, rel=0.05)
    alone = estimate_memory(catalog, **(coder | {"dp": 1, "tp": 8}))
    assert alone.activation_gib < estimate.activation_gib  # each token's experts are on these ranks


def test_vllm_parts_add_up_to_the_budget(catalog: Catalog) -> None:
    estimate = estimate_memory(catalog, **V19, model="Qwen/Qwen3-8B", weight_dtype="bf16")
    parts = estimate.weights_gib + estimate.activation_gib + estimate.non_torch_gib + estimate.kv_cache_gib
    assert parts == pytest.approx(79.19 * 0.95)
    newer = estimate_memory(catalog, **H100, engine_version="0.25.0", model="Qwen/Qwen3-8B", weight_dtype="bf16")
    parts = newer.weights_gib + newer.activation_gib + newer.non_torch_gib + newer.cuda_graph_gib + newer.kv_cache_gib
    assert parts == pytest.approx(79.19 * 0.95)  # since 0.21 graphs are inside


@pytest.mark.parametrize(
    ("arguments", "tokens", "log"),
    [
        ({"model": "meta-llama/Llama-3.1-8B-Instruct", "gpu": "h100-sxm", "engine_version": "0.4.4"}, 442750,
         "public log of SGLang 0.4.4 on an H100: weights 15.11 GB; KV #tokens 442750, K 27.02 V 27.02 GB"),
        ({"model": "Qwen/QwQ-32B", "gpu": "l4", "tp": 4, "engine_version": "0.4.3", "gpu_memory_utilization": 0.85,
          "max_model_len": 32768}, 46611,
         "public log of SGLang 0.4.3 on 4 L4: weights 15.54 GB/GPU; KV #tokens 46611, K 1.42, V 1.42 GB"),
        ({"model": "Qwen/Qwen3-235B-A22B", "gpu": "h100-sxm", "tp": 4, "weight_dtype": "fp8-block",
          "engine_version": "0.4.9", "gpu_memory_utilization": 0.93}, 367404,
         "https://github.com/vllm-project/vllm/issues/21348"),
    ],
)  # fmt: skip
def test_sglang_gives_the_pool_what_its_fraction_leaves_after_weights(
    catalog: Catalog, arguments: dict[str, Any], tokens: int, log: str
) -> None:
    estimate = estimate_memory(catalog, **({"weight_dtype": "bf16", "engine": "sglang"} | arguments))
    assert estimate.kv_cache_tokens == pytest.approx(tokens, rel=0.03), log
    assert estimate.kv_cache_gib == pytest.approx(estimate.budget_gib - estimate.weights_gib)


def test_trtllm_takes_a_fraction_of_what_is_free_after_the_engine(catalog: Catalog) -> None:
    # public log: "Allocated 68.69 GiB for max tokens in paged KV cache (643136)" on an H100, fraction 0.9
    estimate = estimate_memory(catalog, model="Qwen/Qwen3-0.6B", gpu="h100-sxm", weight_dtype="bf16", engine="trtllm")
    assert estimate.kv_cache_gib == pytest.approx(68.69, rel=0.01)
    assert estimate.kv_bytes_per_token == 2 * 28 * 8 * 128 * 2  # 114,688; the log: 114,681
    free = estimate.budget_gib - estimate.weights_gib - estimate.activation_gib
    assert estimate.kv_cache_gib == pytest.approx(0.9 * free)


@pytest.mark.parametrize(
    ("kv_cache_dtype", "mib", "log"),
    [
        ("auto", 448, "llama.cpp b8247, Llama-3.2-3B at 4096 cells: 224 K + 224 V MiB"),
        ("q8_0", 2 * 119, "the same: K q8_0 119 MiB, 34 bytes for 32 values"),
        ("q4_0", 2 * 63, "the same: K q4_0 63 MiB, 18 bytes for 32 values"),
    ],
)
def test_llamacpp_caches_have_their_exact_block_sizes(
    catalog: Catalog, kv_cache_dtype: str, mib: float, log: str
) -> None:
    estimate = estimate_memory(
        catalog, model="meta-llama/Llama-3.2-3B-Instruct", gpu="rtx-4090", weight_dtype="gguf-q4_0", engine="llamacpp",
        kv_cache_dtype=kv_cache_dtype, max_model_len=4096,
    )  # fmt: skip
    assert estimate.kv_bytes_per_token * 4096 / 2**20 == pytest.approx(mib, rel=0.001), log


def test_llamacpp_computes_its_logits_for_a_whole_micro_batch(catalog: Catalog) -> None:
    # public log, Qwen3-1.7B: compute buffer 300.75 MiB at ubatch 512 = 512 × 151,936 × 4 B + 4 MiB
    estimate = estimate_memory(
        catalog, model="Qwen/Qwen3-1.7B", gpu="rtx-4090", weight_dtype="gguf-q4_k_m", engine="llamacpp"
    )
    assert estimate.activation_gib * 1024 == pytest.approx(300.75)


def test_llamacpp_keeps_windowed_layers_at_their_window(catalog: Catalog) -> None:
    # https://github.com/ollama/ollama/issues/16480: 9216 MiB of 18 full layers at 131,072 cells × 2, SWA 90 MiB beside
    estimate = estimate_memory(
        catalog, model="openai/gpt-oss-120b", gpu="h100-sxm", weight_dtype="mxfp4", engine="llamacpp",
        max_model_len=131072,
    )  # fmt: skip
    assert estimate.kv_bytes_per_token * 262144 / 2**30 == pytest.approx(9.088, rel=0.01)


@pytest.mark.parametrize(
    ("model", "tp", "logged_gb"),
    [
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", 1, 14.39),
        ("Qwen/QwQ-32B", 4, 15.54),
        ("meta-llama/Llama-3.1-8B-Instruct", 1, 15.11),
        ("Qwen/Qwen3-14B", 4, 7.08),
        ("Qwen/Qwen3-0.6B", 1, 1.20),
    ],
)
def test_sglang_counts_as_weights_what_the_card_misses(catalog: Catalog, model: str, tp: int, logged_gb: float) -> None:
    # `mem usage` of public logs of SGLang 0.4.2 to 0.4.6; QwQ-32B over 4: 3.5 MiB of segment ends in each of 64 layers
    estimate = estimate_memory(catalog, model=model, tp=tp, gpu="h100-sxm", weight_dtype="bf16", engine="sglang")
    assert estimate.weights_gib == pytest.approx(logged_gb, abs=0.08)


def test_trtllm_s_built_engines_keep_buffers_of_the_vocabulary_for_every_sequence(catalog: Catalog) -> None:
    # https://github.com/NVIDIA/TensorRT-LLM/issues/1188: engine 875 MiB, context 774 MiB, buffers 2.66 + 5.76 GB, and
    # 4.53 GiB of KV cache on an RTX A4000; with 16 sequences the buffers all but vanish
    asked = {"model": "Qwen/Qwen2.5-0.5B-Instruct", "gpu": "rtx-a4000", "weight_dtype": "int8", "engine": "trtllm",
             "engine_version": "0.15", "max_num_batched_tokens": 8192, "max_model_len": 4096}  # fmt: skip
    logged = estimate_memory(catalog, **asked)
    assert logged.kv_cache_gib == pytest.approx(4.53, rel=0.04)
    assert estimate_memory(catalog, **asked, max_num_seqs=16).kv_cache_gib > 2 * logged.kv_cache_gib


def test_trtllm_never_takes_the_fraction_of_the_card(catalog: Catalog) -> None:
    # https://nvidia.github.io/TensorRT-LLM/reference/memory.html: free_gpu_memory_fraction is of what is free then
    half = estimate_memory(
        catalog, model="Qwen/Qwen3-8B", gpu="h100-sxm", weight_dtype="bf16", engine="trtllm", gpu_memory_utilization=0.5
    )
    whole = estimate_memory(
        catalog, model="Qwen/Qwen3-8B", gpu="h100-sxm", weight_dtype="bf16", engine="trtllm", gpu_memory_utilization=1.0
    )
    assert half.kv_cache_gib == pytest.approx(whole.kv_cache_gib / 2)
    assert half.budget_gib == whole.budget_gib


def test_llamacpp_caches_whole_contexts_of_models_whose_windows_it_ignores(catalog: Catalog) -> None:
    # public log, Phi-3-mini-4k: 1536 MiB of 4096 cells × 32 layers × 6144 values × 2 B; its window of 2047 is not used
    estimate = estimate_memory(
        catalog, model="microsoft/Phi-3-mini-4k-instruct", gpu="rtx-3090", weight_dtype="gguf-q4_k_m",
        engine="llamacpp", max_model_len=4096,
    )  # fmt: skip
    assert estimate.kv_bytes_per_token * 4096 / 2**20 == pytest.approx(1536)


def test_llamacpp_takes_the_cache_of_every_slot_at_start(catalog: Catalog) -> None:
    # a card of 23.5 GiB holds six caches of 32,768 tokens at 112 KiB a token (3.5 GiB) beside 1.8 GiB of weights
    asked = {"model": "meta-llama/Llama-3.2-3B-Instruct", "gpu": "rtx-4090", "weight_dtype": "gguf-q4_0",
             "engine": "llamacpp", "max_model_len": 32768}  # fmt: skip
    six, seven = (estimate_memory(catalog, **asked, max_num_seqs=n) for n in (6, 7))
    assert (six.fits, seven.fits, seven.reason_key) == (True, False, "slots")
    assert six.max_concurrency == seven.max_concurrency == pytest.approx(6.08, abs=0.05)
    assert not six.fits_with_margin
    # engines that hand blocks out as sequences grow start all the same
    assert estimate_memory(catalog, **(asked | {"engine": "vllm", "weight_dtype": "bf16"}), max_num_seqs=64).fits


def test_llamacpp_keeps_states_in_thirty_two_bit(catalog: Catalog) -> None:
    # public log of a Qwen3.5-4B: KV 4096 MiB of 131,072 cells in 8 layers, 50 MiB of states: 24 layers of 32 heads ·
    # 128² and 3 · 8192 of the convolution, 4 B each
    small = estimate_memory(
        catalog, model="Qwen/Qwen3.5-4B", gpu="rtx-4090", weight_dtype="gguf-q5_k_m", engine="llamacpp",
        max_model_len=131_072,
    )  # fmt: skip
    assert small.kv_bytes_per_token * 131_072 == 4096 * 2**20
    assert small.state_bytes_per_sequence == 24 * (32 * 128**2 + 3 * 8192) * 4 == pytest.approx(50 * 2**20, rel=0.01)
    # the tower is a file of its own; of the mixture's widths only the average over a whole file is known
    assert small.weights_gib == pytest.approx(2932 / 1024, rel=0.04)
