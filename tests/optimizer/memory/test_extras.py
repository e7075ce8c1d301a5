"""What is loaded beside a model: drafting heads, adapters, vision towers, and a host that shares the memory."""

from __future__ import annotations

from typing import Any

import pytest

from catalog import Catalog
from catalog.errors import InputError
from optimizer.memory import REASONS, MemoryEstimate, ReplicaMemory, estimate_memory, may_draft, replica_memory
from optimizer.scenario import Speculation
from optimizer.serving_config import one_configuration

GIB = 2**30


def estimate(catalog: Catalog, **arguments: Any) -> MemoryEstimate:
    defaults = {"model": "meta-llama/Llama-3.1-8B-Instruct", "gpu": "h100-sxm", "weight_dtype": "bf16",
                "engine_version": "0.19.0", "max_model_len": 8192}  # fmt: skip
    return estimate_memory(catalog, **(defaults | arguments))


def test_an_eagle_head_adds_a_layer_to_weights_and_cache(catalog: Catalog) -> None:
    # public log of vLLM 0.9.1 with EAGLE on Llama-3.1-8B: 51.63 GiB ÷ 410,128 tokens = 135,168 B = 33 layers × 4096
    plain, drafted = estimate(catalog), estimate(catalog, speculative="eagle")
    assert drafted.kv_bytes_per_token == 33 * 4096 == pytest.approx(51.63 * GIB / 410_128, rel=0.0002)
    # One layer of 218,112,000 weights and 2 × 4096 × 4096 that join embedding and hidden state
    added = drafted.weights_gib - plain.weights_gib
    assert added == pytest.approx((218_112_000 + 2 * 4096**2) * 2 / GIB, rel=0.01)


def test_multi_token_prediction_takes_the_layers_of_the_checkpoint(catalog: Catalog) -> None:
    # Qwen3.8-27B: 16 full layers of 64 hold keys and values; with its MTP layer one more, 17 × 4 heads × 512 × 2 B
    plain = estimate(
        catalog, model="Qwen/Qwen3.8-27B", engine="llamacpp", weight_dtype="gguf-q4_k_m", engine_version=None
    )
    drafted = estimate(
        catalog, model="Qwen/Qwen3.8-27B", engine="llamacpp", weight_dtype="gguf-q4_k_m", engine_version=None,
        speculative="mtp",
    )  # fmt: skip
    assert (plain.kv_bytes_per_token, drafted.kv_bytes_per_token) == (16 * 4096, 17 * 4096)


@pytest.mark.parametrize(
    ("model", "speculative"), [("Qwen/Qwen3-8B", "mtp"), ("deepseek-ai/DeepSeek-V2-Lite-Chat", "eagle")]
)
def test_a_model_without_such_layers_says_so(catalog: Catalog, model: str, speculative: str) -> None:
    with pytest.raises(InputError, match="has no layer"):
        estimate(catalog, model=model, speculative=speculative)


def loaded_with(catalog: Catalog, drafter: str, *, tp: int = 1, model: str = "Qwen/Qwen3-8B") -> ReplicaMemory:
    drafts = Speculation.model_construct(method="draft_model", tokens=4, acceptance_fraction=0.6, draft=drafter)
    one = one_configuration(
        catalog.models[model], catalog.engines["vllm"], None, catalog.gpus["h100-sxm"], catalog.formats["fp8"],
        catalog.kv_formats["auto"], tp=tp, speculation=drafts, drafter=catalog.models.get(drafter),
    )  # fmt: skip
    return replica_memory(one, max_model_len=8192)


def test_a_drafting_model_is_loaded_in_16_bit_with_a_cache_of_its_own(catalog: Catalog) -> None:
    # Qwen3-0.6B: 596,049,920 weights, its embedding once; 28 layers of 8 heads of 128 beside the 36 of Qwen3-8B
    plain = estimate(catalog, model="Qwen/Qwen3-8B", weight_dtype="fp8", engine_version=None)
    drafted = loaded_with(catalog, "Qwen/Qwen3-0.6B")
    assert drafted.weights_gib[0] - plain.weights_gib == pytest.approx(596_049_920 * 2 / GIB, rel=0.01)
    assert drafted.kv_bytes_per_token[0] == (28 + 36) * 2 * 8 * 128 * 2
    # Over four ranks all but the norms is divided
    alone = estimate(catalog, model="Qwen/Qwen3-8B", weight_dtype="fp8", engine_version=None, tp=4).weights_gib
    added = loaded_with(catalog, "Qwen/Qwen3-0.6B", tp=4).weights_gib[0] - alone
    assert added == pytest.approx(596_049_920 * 2 / 4 / GIB, rel=0.02)


def test_the_ranks_divide_the_heads_of_a_drafting_model_too(catalog: Catalog) -> None:
    # Qwen3-0.6B has 16 query heads, Qwen3-32B 64
    assert REASONS[int(loaded_with(catalog, "Qwen/Qwen3-0.6B", tp=16, model="Qwen/Qwen3-32B").reason[0])] != "heads"
    assert REASONS[int(loaded_with(catalog, "Qwen/Qwen3-0.6B", tp=32, model="Qwen/Qwen3-32B").reason[0])] == "heads"


@pytest.mark.parametrize(
    ("drafter", "model", "message"),
    [
        ("meta-llama/Llama-3.2-1B-Instruct", "Qwen/Qwen3-8B", "vocabularies of 128,256 and 151,936 tokens"),
        ("google/gemma-3-4b-it", "google/gemma-3-27b-it", "layers other than full attention"),
        ("Qwen/Qwen3-30B-A3B", "Qwen/Qwen3-235B-A22B", "a mixture of experts; name a dense model"),
        ("nobody/knows-it", "Qwen/Qwen3-8B", "is not in the catalog"),
    ],
)
def test_models_that_do_not_go_together_are_refused(drafter: str, model: str, message: str, catalog: Catalog) -> None:
    with pytest.raises(InputError, match=message):
        loaded_with(catalog, drafter, model=model)
    assert not may_draft(catalog.models[model], "draft_model", catalog.models.get(drafter))


def test_a_drafting_model_must_reach_as_far_as_the_requests(catalog: Catalog) -> None:
    model, drafter = catalog.models["Qwen/Qwen3-8B"], catalog.models["Qwen/Qwen3-0.6B"]
    assert may_draft(model, "draft_model", drafter, drafter.max_context_tokens)
    assert not may_draft(model, "draft_model", drafter, drafter.max_context_tokens + 1)


def test_adapters_keep_their_slots_free(catalog: Catalog) -> None:
    # Rank 16 on Llama-3.1-8B: a layer has qkv 3 × 4096 + 6144, output 4096 + 4096, gate and up 2 × 4096 + 28672, down
    # 14336 + 4096: 81,920 values × 16 × 2 B × 32 layers = 80 MiB a slot
    plain, adapted = estimate(catalog), estimate(catalog, max_loras=4, lora_rank=16)
    assert adapted.weights_gib - plain.weights_gib == pytest.approx(4 * 81_920 * 16 * 2 * 32 / GIB)
    # Over two ranks the halves on the divided side shrink: 12,288 + 3072, 4096 + 2048, 8192 + 14336, 4096 + 7168
    split = estimate(catalog, tp=2, max_loras=4).weights_gib - estimate(catalog, tp=2).weights_gib
    assert split == pytest.approx(4 * 55_296 * 16 * 2 * 32 / GIB)


def test_experts_have_adapters_of_their_own(catalog: Catalog) -> None:
    # Qwen3-30B-A3B: 48 layers of 128 experts, three matrices of 2048 × 768 each: 128 · 3 · (2048 + 768) values a rank,
    # beside qkv 3 · 2048 + 5120 and output 4096 + 2048; over two ranks the experts' 768 are halved
    asked: dict[str, Any] = {"model": "Qwen/Qwen3-30B-A3B", "engine_version": "0.19"}

    def slot_gib(**more: Any) -> float:
        plain, adapted = (estimate(catalog, **(asked | more | extra)) for extra in ({}, {"max_loras": 1}))
        return adapted.weights_gib - plain.weights_gib

    attention = 3 * 2048 + 5120 + 4096 + 2048
    assert slot_gib() == pytest.approx(48 * 16 * 2 * (128 * 3 * (2048 + 768) + attention) / GIB)
    divided = 3 * 2048 + 2560 + 2048 + 2048
    assert slot_gib(tp=2) == pytest.approx(48 * 16 * 2 * (128 * 3 * (2048 + 384) + divided) / GIB)
    assert slot_gib(engine_version="0.11") == pytest.approx(48 * 16 * 2 * attention / GIB)  # experts took none


def test_a_vision_tower_keeps_a_cache_of_what_it_encoded(catalog: Catalog) -> None:
    # https://github.com/llm-d-incubation/llm-d-planner/pull/205: Kimi-VL-A3B peaks at 2.92 GiB, 41.32 GiB are left
    logged = estimate(catalog, model="moonshotai/Kimi-VL-A3B-Instruct", gpu_memory_utilization=0.95)
    assert logged.activation_gib == pytest.approx(2.92, abs=0.05)
    assert logged.kv_cache_gib == pytest.approx(41.32, rel=0.005)


def test_a_host_that_shares_the_memory_leaves_less_free_at_start(catalog: Catalog) -> None:
    spark = {"gpu": "dgx-spark-gb10", "model": "Qwen/Qwen3-8B", "engine_version": "0.25"}
    # 119.7 GiB × 0.95 = 113.7 are asked for; 119.7 − 0.51 − 4 = 115.2 are free, 119.7 × 0.97 = 116.1 are not
    assert estimate(catalog, **spark, gpu_memory_utilization=0.95).fits
    assert estimate(catalog, **spark, gpu_memory_utilization=0.97).reason_key == "utilization"
    discrete = {**spark, "gpu": "h200-sxm"}
    assert estimate(catalog, **discrete, gpu_memory_utilization=0.97).fits


@pytest.mark.parametrize(
    ("version", "degrees", "refused"),
    [
        ("0.11.0", {"tp": 4, "ep": 4}, False),  # experts take no adapters
        ("0.20.2", {"tp": 4, "ep": 4}, True),  # "EP support for Fused MoE LoRA is not implemented yet."
        ("0.20.2", {"tp": 4}, False),
        ("0.21.0", {"tp": 4, "ep": 4}, False),  # https://github.com/vllm-project/vllm/pull/40867
        ("0.21.0", {"dp": 4, "ep": 4}, False),
        ("0.21.0", {"tp": 2, "dp": 2, "ep": 4}, True),  # assert not is_sequence_parallel
    ],
)
def test_vllm_refuses_adapters_on_spread_experts(
    catalog: Catalog, version: str, degrees: dict[str, int], refused: bool
) -> None:
    asked: dict[str, Any] = {"model": "Qwen/Qwen3-30B-A3B", "engine_version": version, **degrees}
    assert estimate(catalog, **asked).fits
    answer = estimate(catalog, **asked, max_loras=1)
    assert (answer.reason_key == "adapters") is refused
    assert estimate(catalog, **{**asked, "model": "Qwen/Qwen3-14B", "ep": 1}, max_loras=1).reason_key != "adapters"
