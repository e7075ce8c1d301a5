"""What must hold of every memory estimate, and which configurations are refused with what words."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog import Catalog, load_catalog
from catalog.architecture import architecture_of
from catalog.errors import InputError
from optimizer.memory import REASONS, SENTENCES, MemoryEstimate, estimate_memory, memory_basis, replica_memory
from optimizer.memory import estimate as estimate_module
from optimizer.memory import job as job_module
from optimizer.memory.stages import layers_per_stage, stages_of
from optimizer.serving_config import Configurations, one_configuration

MODELS = (
    "Qwen/Qwen3-8B", "google/gemma-3-27b-it", "deepseek-ai/DeepSeek-V3", "Qwen/Qwen3-Next-80B-A3B-Instruct",
    "openai/gpt-oss-20b", "Qwen/Qwen3-235B-A22B", "nvidia/NVIDIA-Nemotron-Nano-9B-v2", "ai21labs/AI21-Jamba-1.5-Mini",
)  # fmt: skip
ENGINES = ("vllm", "sglang", "trtllm", "llamacpp")
CATALOG = load_catalog()


def estimate(catalog: Catalog, **arguments: Any) -> MemoryEstimate:
    defaults = {"model": "Qwen/Qwen3-14B", "gpu": "h100-sxm", "weight_dtype": "bf16", "max_model_len": 8192}
    return estimate_memory(catalog, **(defaults | arguments))


def all_ways(catalog: Catalog, model: str, engine: str, n: int) -> Configurations:
    """n random configurations of a model over all cards, formats and degrees."""
    random = np.random.default_rng(0)
    gpus, formats = tuple(catalog.gpus.values()), tuple(catalog.formats.values())
    kv_formats = tuple(catalog.kv_formats.values())
    return Configurations(
        catalog.models[model], catalog.engines[engine], None, gpus, formats, kv_formats,
        random.integers(0, len(gpus), n), random.integers(0, len(formats), n), random.integers(0, len(kv_formats), n),
        random.choice([1, 2, 4, 8], n), random.choice([1, 2, 3], n), random.choice([1, 2], n), np.ones(n, np.int64),
    )  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model", MODELS)
def test_stages_that_hold_less_than_another_never_limit(
    model: str, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    configurations = all_ways(CATALOG, model, engine, 200)
    configurations = replace(configurations, pp=np.random.default_rng(1).choice([1, 2, 4, 8], 200))
    asked = {"max_model_len": 4096, "max_num_seqs": 64, "with_margin": True}
    few = replica_memory(configurations, **asked)
    monkeypatch.setattr(job_module, "limiting_stages", stages_of)
    every = replica_memory(configurations, **asked)
    for name in ("weights_gib", "activation_gib", "kv_cache_gib", "margin_gib", "max_concurrency", "reason"):
        assert np.array_equal(getattr(few, name), getattr(every, name)), name


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model", MODELS)
def test_weights_are_the_same_wherever_they_are_worked_out_once(
    model: str, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    configurations = all_ways(CATALOG, model, engine, 400)
    once = memory_basis(configurations)
    monkeypatch.setattr(estimate_module, "_weight_kinds", lambda c, _: np.arange(len(c)))
    each = memory_basis(configurations)
    assert np.array_equal(once.weights_gib, each.weights_gib)
    assert len(np.unique(once.weights_gib, axis=0)) > 10


@settings(max_examples=60, deadline=None)
@given(
    model=st.sampled_from(MODELS), engine=st.sampled_from(ENGINES), memory=st.floats(8.0, 400.0),
    more=st.floats(0.0, 200.0), tp=st.sampled_from([1, 2, 4, 8]), pp=st.sampled_from([1, 2, 4]),
)  # fmt: skip
def test_more_memory_never_fits_less(model: str, engine: str, memory: float, more: float, tp: int, pp: int) -> None:
    small, large = (
        estimate(CATALOG, model=model, engine=engine, tp=tp, pp=pp, gpu_memory_gib=gib, max_num_seqs=64,
                 max_num_batched_tokens=8192, gpu_memory_utilization=0.9)
        for gib in (memory, memory + more)
    )  # fmt: skip
    assert large.kv_cache_gib >= small.kv_cache_gib - 1e-9
    assert large.max_concurrency >= small.max_concurrency - 1e-9
    assert large.fits or not small.fits


@settings(max_examples=60, deadline=None)
@given(
    model=st.sampled_from(MODELS), engine=st.sampled_from(ENGINES), length=st.integers(1, 200_000),
    longer=st.integers(0, 200_000),
)  # fmt: skip
def test_longer_requests_never_raise_concurrency(model: str, engine: str, length: int, longer: int) -> None:
    entry = CATALOG.models[model]
    one = one_configuration(
        entry, CATALOG.engines[engine], None, CATALOG.gpus["b300-sxm"], CATALOG.formats["fp8"],
        CATALOG.kv_formats["auto"], tp=8,
    )  # fmt: skip
    memory = replica_memory(one, max_model_len=None, max_num_seqs=64)
    assert memory.concurrency(float(length))[0] >= memory.concurrency(float(length + longer))[0] - 1e-9


def test_concurrency_at_max_model_len_is_the_worst_case(catalog: Catalog) -> None:
    for engine in ENGINES:
        memory = replica_memory(all_ways(catalog, "google/gemma-3-27b-it", engine, 200), max_model_len=8192)
        block = 256 / 8192  # of a sequence
        assert memory.concurrency(8192.0)[memory.fits] == pytest.approx(memory.max_concurrency[memory.fits], abs=block)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model", ["google/gemma-3-27b-it", "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16"])
def test_a_pipeline_holds_what_its_fullest_stage_holds_at_every_length(
    model: str, engine: str, catalog: Catalog
) -> None:
    n, one = 600, np.ones(600, np.int64)
    ways = replace(all_ways(catalog, model, engine, n), tp=one, pp=4 * one, dp=one)
    asked = {"max_model_len": 16384, "max_num_seqs": 32}
    memory = replica_memory(ways, **asked)
    edges = np.cumsum([0, *layers_per_stage(len(architecture_of(ways.model).layers), 4)])
    stages = [replica_memory(ways, **asked, spans=np.tile([first, end - 1], (n, 1))) for first, end in pairwise(edges)]
    for tokens in (100.0, 1500.0, 16384.0):
        held = np.stack([stage.concurrency(tokens) for stage in stages])
        assert memory.concurrency(tokens)[memory.fits] == pytest.approx(held.min(axis=0)[memory.fits])
    assert memory.fits.sum() > 5


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model", MODELS)
def test_many_at_once_are_the_same_as_one_by_one(catalog: Catalog, model: str, engine: str) -> None:
    ways = all_ways(catalog, model, engine, 40)
    memory = replica_memory(ways, max_model_len=4096)
    for row in range(0, 40, 7):
        alone = replica_memory(ways.take(np.array([row])), max_model_len=4096)
        for name in ("weights_gib", "activation_gib", "non_torch_gib", "kv_cache_gib", "max_concurrency", "reason"):
            assert getattr(alone, name)[0] == pytest.approx(getattr(memory, name)[row]), (name, row)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_shipped_model_has_finite_figures_on_every_engine(catalog: Catalog, engine: str) -> None:
    for model in catalog.models.values():
        memory = replica_memory(all_ways(catalog, model.id, engine, 12), max_model_len=1024)
        for name in ("weights_gib", "activation_gib", "kv_cache_gib", "kv_bytes_per_token", "max_concurrency"):
            assert np.isfinite(getattr(memory, name)).all(), (model.id, name)
        assert (memory.fits == (memory.reason == 0)).all()


def test_quantized_caches_hold_more_tokens(catalog: Catalog) -> None:
    assert estimate(catalog, kv_cache_dtype="fp8").kv_cache_tokens == pytest.approx(
        2 * estimate(catalog).kv_cache_tokens, rel=0.001
    )


@pytest.mark.parametrize(
    ("arguments", "key", "words"),
    [
        ({"weight_dtype": "bf16", "gpu": "t4"}, "format", "vLLM does not run bf16 on T4"),
        ({"kv_cache_dtype": "q8_0"}, "kv_format", "does not cache in q8_0"),
        ({"pp": 64}, "layers", "40 layers, pp=64"),
        ({"tp": 3}, "heads", "40 heads, 8 key/value heads, tp=3"),
        ({"model": "tiiuae/falcon-7b-instruct", "tp": 2}, "heads", "71 heads"),
        ({"max_model_len": 100_000}, "context_limit", "100000 > 40960 tokens"),
        ({"model": "Qwen/Qwen3-30B-A3B", "tp": 4, "ep": 8}, "experts", "experts"),
        ({"model": "Qwen/Qwen3-14B", "ep": 2, "tp": 2}, "experts", "experts"),
        # 768 ÷ 8 = 96 columns a rank, scales are 128 × 128
        ({"model": "Qwen/Qwen3-30B-A3B", "weight_dtype": "fp8-block", "tp": 8}, "alignment", "scale groups"),
        # 18,944 ÷ 4 = 37 groups of 128
        ({"model": "Qwen/Qwen2.5-7B-Instruct", "weight_dtype": "awq-int4", "tp": 4, "max_model_len": 4096}, "", ""),
        ({"gpu": "rtx-4090"}, "weights", "27.52 GiB"),
        ({"gpu": "a100-40gb-sxm", "gpu_memory_utilization": 0.7}, "memory", "short of a budget of 27."),
        ({"gpu": "a100-40gb-sxm", "max_model_len": 40960, "gpu_memory_utilization": 0.8}, "context", "of 40960 tokens"),
        ({"gpu_memory_utilization": 1.0}, "utilization", "less memory is free"),
    ],
)
def test_what_cannot_run_says_why(catalog: Catalog, arguments: dict[str, Any], key: str, words: str) -> None:
    answer = estimate(catalog, **arguments)
    assert answer.reason_key == key, answer.reason
    assert words in answer.reason
    assert answer.fits is (key == "")


def test_every_reason_has_a_sentence() -> None:
    assert REASONS[0] == ""
    assert len(set(SENTENCES.values())) == len(REASONS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": "Qwen/Qwen3-14"}, "Qwen/Qwen3-14B"),
        ({"gpu": "h100sxm"}, "h100-sxm"),
        ({"weight_dtype": "fp88"}, "fp8"),
        ({"engine": "vlm"}, "vllm"),
        ({"engine_version": "newest"}, "newest"),
        ({"tp": 0}, "tp"),
        ({"gpu_memory_utilization": 1.5}, "fraction"),
        ({"gpu_memory_gib": float("nan")}, "gpu_memory_gib"),
    ],
)
def test_unknown_ids_and_impossible_numbers_are_input_errors(
    catalog: Catalog, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        estimate(catalog, **arguments)


def test_two_t4_do_not_serve_qwen3_14b_in_sixteen_bit_but_do_in_eight_and_four(catalog: Catalog) -> None:
    # 14.768e9 × 2 B = 27.5 GiB against 2 × 14.56 GiB, of which the engine may use 90 %: 26.2 GiB
    t4 = {"gpu": "t4", "tp": 2, "gpu_memory_utilization": 0.9}
    assert estimate(catalog, **t4, weight_dtype="bf16").reason_key == "format"
    half = estimate(catalog, **t4, weight_dtype="fp16")
    assert (half.fits, half.reason_key) == (False, "memory")
    # 14.768e9 parameters and 40 × 3 MiB of segment ends a rank (35, 25 and 85 MiB in 36, 26 and 86)
    assert 2 * half.weights_gib == pytest.approx(27.51 + 2 * 120 / 1024, abs=0.03)
    assert estimate(catalog, **t4, weight_dtype="int8").fits
    assert estimate(catalog, **t4, weight_dtype="awq-int4").fits
    assert estimate(catalog, gpu="t4", weight_dtype="awq-int4").fits  # one is enough


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm", "llamacpp"])
def test_the_token_budget_does_not_depend_on_the_batch(engine: str, catalog: Catalog) -> None:
    # The search for the largest batch by time rests on it.
    ways = all_ways(catalog, "Qwen/Qwen3-8B", engine, 200)
    few, many = (replica_memory(ways, max_model_len=8192, max_num_seqs=n).max_num_batched_tokens for n in (1, 1024))
    assert (few == many).all()


def test_of_stages_that_do_not_fit_the_one_that_lacks_most_is_told_of(catalog: Catalog) -> None:
    # of four stages the last has the logits beside weights that are as large
    asked = {"model": "Qwen/Qwen3-Next-80B-A3B-Instruct", "engine": "llamacpp", "tp": 4, "pp": 4}
    lacking = [estimate(catalog, **asked, gpu_memory_gib=size).kv_cache_gib for size in (6.0, 8.0, 10.0, 12.0)]
    assert lacking == sorted(lacking)
    assert lacking[1] - lacking[0] == pytest.approx(2.0)


def test_what_is_unlawful_holds_nothing_even_where_a_stage_caches_nothing(catalog: Catalog) -> None:
    # 512 experts over 24 ranks; of 44 stages some have feed-forward layers alone.
    model = "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8"
    answer = estimate(catalog, model=model, weight_dtype="fp8", tp=4, pp=44, ep=3)
    assert not answer.fits
    assert np.isfinite(answer.max_concurrency)


def test_a_card_smaller_than_sglang_s_reserve_leaves_no_fraction(catalog: Catalog) -> None:
    # 2,048 tokens · 1.5 MiB and more are set aside, of 2 GiB.
    answer = estimate(catalog, engine="sglang", gpu="rtx-4090", gpu_memory_gib=2.0)
    assert answer.utilization_fraction == answer.budget_gib == 0.0
    assert not answer.fits
