"""Bytes of weights on a rank: what shrinks, what is replicated, what a stage holds."""

from __future__ import annotations

from typing import Any

import pytest

from catalog import Catalog
from catalog.architecture import Split, architecture_of
from catalog.schema import TensorRole
from optimizer.memory import MemoryEstimate, estimate_memory
from optimizer.memory.stages import layers_per_stage, limiting_stages, stages_of
from optimizer.memory.weights import EXPERT_BITS

GIB = 2**30


def estimate(catalog: Catalog, model: str, weight_dtype: str = "bf16", **arguments: Any) -> MemoryEstimate:
    return estimate_memory(
        catalog, model=model, weight_dtype=weight_dtype, **({"gpu": "b300-sxm", "max_model_len": 4096} | arguments)
    )


def test_sixteen_bit_weights_are_two_bytes_a_parameter_and_the_rope_table(catalog: Catalog) -> None:
    # 8,030,261,248 parameters × 2 B; rope: 131,072 positions × 128 × 2 B = 32 MiB
    expected = (8_030_261_248 * 2 + 131_072 * 128 * 2) / GIB
    assert estimate(catalog, "meta-llama/Llama-3.1-8B-Instruct").weights_gib == pytest.approx(expected, rel=1e-9)


def test_tied_embeddings_are_stored_once(catalog: Catalog) -> None:
    # 596,049,920 parameters, lm_head not counted again; rope: 40,960 × 128 × 2 B
    expected = (596_049_920 * 2 + 40_960 * 128 * 2) / GIB
    assert estimate(catalog, "Qwen/Qwen3-0.6B").weights_gib == pytest.approx(expected, rel=1e-9)


def test_gguf_files_store_tied_embeddings_as_the_output_matrix(catalog: Catalog) -> None:
    # buffers in public logs of llama.cpp, Q4_K_M: the one matrix is Q6_K, 6.5625 bits; with the embedding's 4.5 bits of
    # 262.7 and 389.0 million weights it would be 64 and 96 MiB less
    for model, mib in (("meta-llama/Llama-3.2-1B-Instruct", 762.81), ("Qwen/Qwen3-4B", 2375.91)):
        found = estimate(catalog, model, "gguf-q4_k_m", engine="llamacpp", gpu="rtx-3090").weights_gib
        assert found == pytest.approx(mib / 1024, rel=0.01)


def test_tied_embeddings_are_stored_on_the_first_and_on_the_last_stage(catalog: Catalog) -> None:
    first, last = stages_of(catalog.models["Qwen/Qwen3-0.6B"], 2)
    # 28 layers are 14 + 14; both hold 151,936 × 1,024; the final norm makes the difference
    assert last.parameters.sum() - first.parameters.sum() == 1024


def test_formats_leave_embeddings_head_and_norms_in_sixteen_bit(catalog: Catalog) -> None:
    # https://github.com/llm-d-incubation/llm-d-planner/pull/205: w4a16 5.38 GiB, w8a8 8.49 GiB
    model = "meta-llama/Llama-3.1-8B-Instruct"
    assert estimate(catalog, model, "gptq-int4", gpu="h100-sxm").weights_gib == pytest.approx(5.38, rel=0.005)
    assert estimate(catalog, model, "int8", gpu="h100-sxm").weights_gib == pytest.approx(8.49, rel=0.005)


def test_a_published_checkpoint_keeps_the_tensors_it_says_it_keeps(catalog: Catalog) -> None:
    kept = catalog.models["openai/gpt-oss-20b"].checkpoint.kept_16bit
    assert kept or catalog.models["openai/gpt-oss-20b"].checkpoint.weight_format == "mxfp4"
    # only 19.1e9 of 20.9e9 parameters are 4-bit experts: 13.64 GiB in the log, 10.3 GiB were all of them
    log = 13.64
    assert estimate(catalog, "openai/gpt-oss-20b", "mxfp4", gpu="h100-sxm").weights_gib == pytest.approx(log, rel=0.01)


def test_experts_repacked_for_marlin_are_padded(catalog: Catalog) -> None:
    # https://github.com/vllm-project/vllm/issues/23278 (Marlin) and .../33155 (Triton): 65.97 and 64.38 GiB. Marlin
    # pads 2880 × 2880 to 2944 × 3072, values and scales; Triton the values alone, to 2880 × 3072
    by_version = {"0.10.1": 65.97, "0.14.1": 64.38}
    for version, gib in by_version.items():
        ours = estimate(catalog, "openai/gpt-oss-120b", "mxfp4", gpu="h100-sxm", engine_version=version).weights_gib
        assert ours == pytest.approx(gib, abs=0.02)
    # the smaller one in https://github.com/llm-d-incubation/llm-d-planner: 13.47 GiB up to 0.16, 13.64 in 0.19
    for version, gib in {"0.16": 13.47, "0.19": 13.64}.items():
        ours = estimate(catalog, "openai/gpt-oss-20b", "mxfp4", gpu="h100-sxm", engine_version=version).weights_gib
        assert ours == pytest.approx(gib, abs=0.02)


def test_biases_of_experts_are_never_quantized(catalog: Catalog) -> None:
    # gpt-oss-20b by llama.cpp, which pads nothing: 24 layers · 32 experts · (3·2880² · 4.25 bits + 3·2880 · 16 bits);
    # it computes sines and cosines as it needs them and keeps no table
    whole = estimate(catalog, "openai/gpt-oss-20b", "mxfp4", gpu="h100-sxm", engine="llamacpp").weights_gib
    architecture = architecture_of(catalog.models["openai/gpt-oss-20b"])
    experts = 24 * 32 * (3 * 2880**2 * 4.25 + 3 * 2880 * 16) / 8
    others = sum(t.parameters for t in architecture.tensors() if t.split is not Split.EXPERTS)
    others -= architecture.parameters_of(TensorRole.EMBEDDING)  # stays in host memory
    assert whole == pytest.approx((experts + 2 * others) / GIB, rel=1e-9)


def test_vllm_expands_doubly_quantized_scales(catalog: Catalog) -> None:
    # a scale of 32 bit for 64 weights of 4 bit: 6.5 % more than the 4.127 bits on disk
    parameters = 24 * (896 * 896 * 2 + 2 * 896 * 128 + 3 * 896 * 4864)
    change = estimate(catalog, "Qwen/Qwen2.5-0.5B-Instruct").weights_gib
    change -= estimate(catalog, "Qwen/Qwen2.5-0.5B-Instruct", "bnb-nf4", gpu="rtx-4090").weights_gib
    assert change == pytest.approx(parameters * (16 - 4.5) / 8 / GIB, rel=0.01)


def test_the_first_llama_3_1_405b_in_fp8_kept_attention_in_sixteen_bit(catalog: Catalog) -> None:
    # https://github.com/vllm-project/vllm/issues/6746: 57.752 GiB a rank; the first and the last layer, which stay
    # whole in 16 bit, would add 0.6
    model = "meta-llama/Meta-Llama-3.1-405B-Instruct-FP8"
    ours = estimate(catalog, model, "fp8", gpu="h100-sxm", tp=8, engine_version="0.5.3").weights_gib
    assert 57.752 - 0.7 < ours < 57.752


def test_key_and_value_projections_replicate_once_there_are_more_ranks_than_heads(catalog: Catalog) -> None:
    # Qwen3-30B-A3B: 4 key/value heads of 128, hidden 2048, 48 layers: k and v projections are 2 × 512 × 2048 a layer.
    # From tp 4 to 8 everything divisible halves, these stay, norms and routers are whole on every rank.
    at = {tp: estimate(catalog, "Qwen/Qwen3-30B-A3B", tp=tp).weights_gib for tp in (2, 4, 8)}
    kv_projection_gib = 48 * 2 * 512 * 2048 * 2 / 4 / GIB
    whole = 2 * at[4] - at[2]  # what does not divide between tp 2 and 4
    assert at[8] == pytest.approx((at[4] - whole - kv_projection_gib) / 2 + whole + kv_projection_gib)


def test_experts_divide_by_every_rank_whether_whole_or_sliced(catalog: Catalog) -> None:
    sliced = estimate(catalog, "Qwen/Qwen3-30B-A3B", tp=4)
    whole = estimate(catalog, "Qwen/Qwen3-30B-A3B", tp=4, ep=4)
    assert sliced.weights_gib == pytest.approx(whole.weights_gib)


def test_attention_data_parallelism_replicates_attention_and_divides_experts(catalog: Catalog) -> None:
    tensor = estimate(catalog, "Qwen/Qwen3-30B-A3B", tp=4)
    data = estimate(catalog, "Qwen/Qwen3-30B-A3B", dp=4, ep=4)
    assert data.weights_gib > tensor.weights_gib
    assert data.kv_bytes_per_token == 4 * tensor.kv_bytes_per_token  # every rank keeps all 4 heads of its own requests


def test_remaining_layers_go_to_later_stages_but_not_to_the_last() -> None:
    assert layers_per_stage(62, 4) == [15, 16, 16, 15]
    assert layers_per_stage(61, 8) == [7, 7, 8, 8, 8, 8, 8, 7]
    assert layers_per_stage(32, 1) == [32]


def test_pipeline_stages_cover_the_model(catalog: Catalog) -> None:
    model = catalog.models["meta-llama/Llama-3.1-8B-Instruct"]
    first, middle, last = stages_of(model, 4)
    assert first.parameters.sum() + 2 * middle.parameters.sum() + last.parameters.sum() == 8_030_261_248
    # Eight layers each: the first has the embedding beside them, the last the output matrix.
    assert limiting_stages(model, 4) == (first, last)


def test_a_vision_tower_is_loaded_with_the_first_stage(catalog: Catalog) -> None:
    # https://github.com/llm-d-incubation/llm-d-planner/pull/205: Llama-4-Scout on 4 H100, 53.12 GiB a rank
    ours = estimate(catalog, "meta-llama/Llama-4-Scout-17B-16E-Instruct", tp=4, gpu="h100-sxm").weights_gib
    assert ours == pytest.approx(53.12, rel=0.002)


def test_large_matrices_take_whole_segments_of_the_allocator(catalog: Catalog) -> None:
    # Qwen2.5-7B: qkv 31.5 MiB in 32, gate and up 259 in 260, down 129.5 in 130; the output's 24.5 leave 1.5 of 26,
    # which is split off. 2 MiB a layer, 28 layers. Every log says 14.25 GiB: 7,615,616,512 × 2 B + 8 MiB rope + 56 MiB
    segments = estimate_memory(
        catalog, model="Qwen/Qwen2.5-7B-Instruct", gpu="h100-sxm", weight_dtype="bf16", max_model_len=8192
    ).weights_gib
    assert segments == pytest.approx((7_615_616_512 * 2 + 64 * 2**20) / 2**30, abs=0.001)
    assert segments == pytest.approx(14.25, abs=0.005)


def test_four_bit_matrices_take_whole_segments_too(catalog: Catalog) -> None:
    # public log of vLLM 0.2x, Qwen2.5-32B-Instruct-AWQ: 18.14 GiB; 2 MiB a layer (qkv 17.5, gate and up 135, down 67.5)
    awq = estimate_memory(
        catalog, model="Qwen/Qwen2.5-32B-Instruct", gpu="h100-sxm", weight_dtype="awq-int4", max_model_len=4096
    )
    assert awq.weights_gib == pytest.approx(18.14, abs=0.02)


def test_latent_attention_keeps_its_projections_twice(catalog: Catalog) -> None:
    # https://github.com/llm-d-incubation/llm-d-planner/pull/205: DeepSeek-V2-Lite loads 29.43 GiB, its tensors are
    # 29.26; 27 layers × 16 heads × (128 + 128) × 512 × 2 B = 108 MiB
    lite = estimate_memory(
        catalog, model="deepseek-ai/DeepSeek-V2-Lite-Chat", gpu="h100-sxm", weight_dtype="bf16", max_model_len=8192
    )
    assert lite.weights_gib == pytest.approx(29.43, abs=0.03)


def test_experts_of_a_format_of_their_own_are_counted_in_it(catalog: Catalog) -> None:
    # DeepSeek-V4-Pro: 1,547.4e9 weights in experts × 4.25 bits ÷ 8 ranks = 95.7 GiB; on every rank 1.29e9 of attention
    # in 8 bit, 0.78e9 of compressors in 16, 0.084e9 that mix streams in 32 and two tables of 256 MiB; the rest divided
    named = {model.checkpoint.expert_format for model in catalog.models.values()} - {None}
    assert named <= set(EXPERT_BITS)
    assert {name: catalog.formats[name].bits_per_weight for name in EXPERT_BITS} == EXPERT_BITS
    pro = estimate_memory(
        catalog, model="deepseek-ai/DeepSeek-V4-Pro", gpu="h200-sxm", weight_dtype="fp8", tp=8, max_model_len=8192
    )
    whole = 1.287e9 + 0.78e9 * 2 + 0.084e9 * 4 + 0.168e9 * 2 + 2**29
    divided = (17.40e9 + 4.03e9 + 2 * 0.927e9 * 2) / 8
    assert pro.weights_gib == pytest.approx(95.74 + (whole + divided) / 2**30, rel=0.003)


@pytest.mark.parametrize(("size", "logged_gib"), [("4b", 8.58), ("12b", 23.31), ("27b", 51.45)])
def test_linear_scaling_multiplies_the_rope_table(catalog: Catalog, size: str, logged_gib: float) -> None:
    # https://github.com/llm-d-incubation/llm-d-planner/pull/205: 8 × 131,072 positions of the global layers and
    # 131,072 of the local ones, × 256 × 2 B = 576 MiB (4B and 12B) or × 128 × 2 B = 288 MiB (27B)
    gemma = estimate_memory(
        catalog, model=f"google/gemma-3-{size}-it", gpu="h100-sxm", weight_dtype="bf16", engine_version="0.19.0",
        max_model_len=8192,
    )  # fmt: skip
    assert gemma.weights_gib == pytest.approx(logged_gib, abs=0.03)
