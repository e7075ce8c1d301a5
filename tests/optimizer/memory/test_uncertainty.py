"""Margins: what each part may be off by, what the KV cache carries of it, and what fits even then."""

from __future__ import annotations

import math
from typing import Any

import pytest

from catalog import Catalog
from optimizer.memory import MemoryEstimate, estimate_memory, replica_memory
from optimizer.memory.uncertainty import PARTS, certainties
from optimizer.serving_config import one_configuration


def estimate(catalog: Catalog, **arguments: Any) -> MemoryEstimate:
    defaults = {"model": "Qwen/Qwen3-14B", "gpu": "a100-40gb-sxm", "weight_dtype": "bf16", "max_model_len": 8192}
    return estimate_memory(catalog, **(defaults | arguments))


def test_independent_errors_add_up_as_squares(catalog: Catalog) -> None:
    one = estimate(catalog, engine_version="0.19.0")  # graphs outside the budget
    inside = [one.plus_minus_gib[part] for part in ("weights", "activation", "non_torch")]
    assert one.margin_gib == pytest.approx(math.sqrt(sum(part**2 for part in inside)))
    newer = estimate(catalog, engine_version="0.21")
    assert newer.margin_gib == pytest.approx(math.sqrt(sum(newer.plus_minus_gib[part] ** 2 for part in PARTS)))


def test_sglang_does_not_carry_activations_into_the_pool(catalog: Catalog) -> None:
    one = estimate(catalog, engine="sglang")
    assert one.margin_gib < one.plus_minus_gib["activation"]


def test_the_larger_of_the_two_bounds_holds(catalog: Catalog) -> None:
    one = estimate(catalog)
    known = certainties(catalog.engines["vllm"].at(None).memory)["weights"]
    assert one.plus_minus_gib["weights"] == pytest.approx(
        max(known.plus_minus_gib, known.plus_minus_fraction * one.weights_gib)
    )


def test_what_fits_only_without_the_margin_does_not_fit_a_plan(catalog: Catalog) -> None:
    # The longest context that fits at all leaves nothing for the error of the prediction
    roomy = estimate(catalog, max_model_len=16, gpu_memory_utilization=0.85)
    longest = int(roomy.kv_cache_tokens // 16 * 16)
    tight = estimate(catalog, max_model_len=longest, gpu_memory_utilization=0.85)
    assert (tight.fits, tight.fits_with_margin) == (True, False)
    configuration = one_configuration(
        catalog.models["Qwen/Qwen3-14B"], catalog.engines["vllm"], None, catalog.gpus["a100-40gb-sxm"],
        catalog.formats["bf16"], catalog.kv_formats["auto"],
    )  # fmt: skip
    asked = {"gpu_memory_utilization": 0.85, "with_margin": True}
    assert not replica_memory(configuration, max_model_len=longest, **asked).fits[0]
    shorter = int(longest * (1 - 1.1 * roomy.margin_gib / roomy.kv_cache_gib)) // 16 * 16
    assert replica_memory(configuration, max_model_len=shorter, **asked).fits[0]


def test_what_does_not_fit_does_not_fit_with_margin_either(catalog: Catalog) -> None:
    assert not estimate(catalog, gpu="rtx-4090").fits_with_margin


def test_a_vision_tower_makes_the_peak_less_sure(catalog: Catalog) -> None:
    text = estimate(catalog, gpu="h100-sxm")
    vision = estimate(catalog, model="Qwen/Qwen3-VL-8B-Instruct", gpu="h100-sxm")
    # 80 % of the 0.7 GiB that the tower takes over images as large as they come
    assert vision.plus_minus_gib["activation"] - text.plus_minus_gib["activation"] == pytest.approx(0.56)
    assert vision.margin_gib > text.margin_gib
