"""Where number formats run, at which width, and at what quality."""

from __future__ import annotations

import pytest

from catalog import Catalog, load_catalog
from catalog.schema import TensorRole


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog()


@pytest.mark.parametrize(
    ("weight_dtype", "engine", "gpu", "compute_dtype"),
    [
        ("fp8", "vllm", "h100-sxm", "fp8"),
        ("fp8", "vllm", "l4", "fp8"),  # Ada, 8.9
        ("fp8", "vllm", "a100-80gb-sxm", "bf16"),  # weight-only, expanded
        ("fp8", "vllm", "t4", "fp16"),  # weight-only; no bf16 there
        ("fp8", "vllm", "v100-32gb-sxm2", None),  # 7.0 < 7.5
        ("fp8", "sglang", "a100-80gb-sxm", None),
        ("fp8", "vllm", "mi300x", "fp8"),
        ("fp8", "trtllm", "mi300x", None),
        ("bf16", "vllm", "t4", None),  # no bf16: say fp16
        ("fp16", "vllm", "t4", "fp16"),
        ("fp16", "vllm", "a100-80gb-sxm", "fp16"),
        ("bf16", "llamacpp", "t4", "fp16"),
        ("bf16", "llamacpp", "m2-ultra-192gb", "fp16"),
        ("bf16", "vllm", "m2-ultra-192gb", None),
        ("int8", "vllm", "t4", "int8"),
        ("int8", "sglang", "t4", None),
        ("awq-int4", "vllm", "t4", "fp16"),
        ("awq-int4", "vllm", "h100-sxm", "bf16"),
        ("nvfp4", "vllm", "b200-sxm", "fp4"),
        ("nvfp4", "vllm", "h100-sxm", "bf16"),
        ("nvfp4", "trtllm", "h100-sxm", None),
        ("nvfp4", "vllm", "rtx-5090", "fp4"),  # 12.0
        ("mxfp4", "vllm", "mi300x", "bf16"),  # emulated
        ("mxfp4", "vllm", "mi355x", "fp8"),
        ("gguf-q4_k_m", "llamacpp", "p100-pcie-16gb", "fp16"),
        ("exl3-4bpw", "vllm", "h100-sxm", None),
    ],
)
def test_a_format_runs_natively_expanded_or_not_at_all(
    catalog: Catalog, weight_dtype: str, engine: str, gpu: str, compute_dtype: str | None
) -> None:
    assert catalog.formats[weight_dtype].compute_dtype(engine, catalog.gpus[gpu]) == compute_dtype


@pytest.mark.parametrize(
    ("kv_cache_dtype", "engine", "gpu", "supported"),
    [
        ("auto", "vllm", "t4", True),
        ("fp8", "vllm", "a100-80gb-sxm", True),  # stored only
        ("fp8", "trtllm", "a100-80gb-sxm", False),
        ("fp8", "vllm", "t4", False),
        ("int8", "trtllm", "a100-80gb-sxm", True),
        ("int8", "vllm", "a100-80gb-sxm", False),
        ("int4", "vllm", "h100-sxm", False),
        ("nvfp4", "sglang", "b200-sxm", True),
        ("nvfp4", "sglang", "h100-sxm", False),
        ("q8_0", "llamacpp", "m4-max-128gb", True),
        ("q8_0", "vllm", "h100-sxm", False),
    ],
)
def test_a_cache_type_is_supported_by_engine_and_card(
    catalog: Catalog, kv_cache_dtype: str, engine: str, gpu: str, supported: bool
) -> None:
    assert catalog.kv_formats[kv_cache_dtype].supported_on(engine, catalog.gpus[gpu]) is supported


@pytest.mark.parametrize(
    ("weight_dtype", "role", "bits"),
    [
        ("bf16", TensorRole.MLP, 16),
        ("fp8", TensorRole.ATTENTION, 8.01),
        ("fp8", TensorRole.LM_HEAD, 16),
        ("awq-int4", TensorRole.MLP, 4.156),  # 4 + 16/128 + 4/128
        ("mxfp4", TensorRole.EXPERT, 4.25),  # 4 + 8/32
        ("mxfp4", TensorRole.ATTENTION, 16),
        ("gguf-q4_k_m", TensorRole.LM_HEAD, 6.5625),
        ("gguf-q4_k_m", TensorRole.EMBEDDING, 4.5),
        ("gguf-q4_k_m", TensorRole.NORM, 32),
        ("gguf-q8_0", TensorRole.LM_HEAD, 8.5),
    ],
)
def test_each_role_has_its_width(catalog: Catalog, weight_dtype: str, role: TensorRole, bits: float) -> None:
    assert catalog.formats[weight_dtype].bits_of(role) == bits


def test_the_widths_of_q4_k_m_give_the_published_size_of_another_model(catalog: Catalog) -> None:
    # Llama-3.1-8B: 8.03e9 parameters, of which embedding and lm_head 128256 × 4096 = 0.525e9 each.
    # (6.98e9 × 4.81 + 0.525e9 × (4.5 + 6.5625)) / 8 / 2^30 = 4.58 GiB; the file has 4.57.
    q4 = catalog.formats["gguf-q4_k_m"]
    bits = 6.98e9 * q4.bits_of(TensorRole.MLP)
    bits += 0.525e9 * (q4.bits_of(TensorRole.EMBEDDING) + q4.bits_of(TensorRole.LM_HEAD))
    assert bits / 8 / 2**30 == pytest.approx(4.57, rel=0.005)


def test_small_models_lose_more_by_four_bits(catalog: Catalog) -> None:
    awq = catalog.formats["awq-int4"]
    assert awq.quality_fraction(1.5) == 0.96
    assert awq.quality_fraction(7.6) == 0.983
    assert awq.quality_fraction(32.8) == 0.993


def test_a_checkpoint_published_in_a_format_is_its_own_reference(catalog: Catalog) -> None:
    mxfp4, int4 = catalog.formats["mxfp4"], catalog.formats["int4-g32"]
    assert mxfp4.quality_fraction(117, native=True) == 1.0
    assert mxfp4.quality_fraction(117) == pytest.approx((0.93 + 0.96) / 2)
    assert int4.quality_fraction(1000, native=True) == 1.0
    assert int4.quality_fraction(1000) is None


def test_unknown_quality_stays_unknown(catalog: Catalog) -> None:
    unknown = [f.id for f in catalog.kv_formats.values() if f.quality_fraction() is None]
    assert unknown == ["fp8-e5m2", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0"]


def test_fp8_is_arithmetic_from_ada_on_and_storage_alone_before(catalog: Catalog) -> None:
    """No card before 8.9 multiplies in FP8; vLLM keeps FP8 weights there from Turing on, other engines do not."""
    older = [gpu for gpu in catalog.gpus.values() if gpu.cuda_capability is not None and gpu.cuda_capability < 8.9]
    assert {"t4", "v100-32gb-sxm2", "a100-80gb-sxm"} <= {gpu.id for gpu in older}
    for gpu in older:
        runs = {engine: catalog.formats["fp8"].compute_dtype(engine, gpu) for engine in catalog.engines}
        assert "fp8" not in runs.values(), gpu.id
        turing = gpu.cuda_capability is not None and gpu.cuda_capability >= 7.5
        assert [engine for engine, dtype in runs.items() if dtype is not None] == (["vllm"] if turing else []), gpu.id
