"""The longest context and the changes that make a replica fit are what the memory estimate says when asked again."""

from __future__ import annotations

from typing import Any

import pytest

from catalog import Catalog
from optimizer.fitting import (
    BLOCK_TOKENS,
    changes_that_fit,
    default_weight_dtype,
    fewest_gpus,
    first_format,
    longest_context_tokens,
    what_fits,
)
from optimizer.memory import estimate_memory

FITS = {"model": "Qwen/Qwen3-14B", "gpu": "h100-sxm", "weight_dtype": "bf16"}
TOO_LONG = {"model": "Qwen/Qwen3-32B", "gpu": "h100-sxm", "weight_dtype": "bf16"}
TOO_LARGE = {"model": "Qwen/Qwen3-14B", "gpu": "t4", "weight_dtype": "fp16", "tp": 2}
"""Two T4, which the rule of thumb says are enough."""


@pytest.mark.parametrize("question", [TOO_LONG, {**TOO_LARGE, "weight_dtype": "awq-int4"}])
def test_the_longest_context_fits_and_one_block_more_does_not(catalog: Catalog, question: dict[str, Any]) -> None:
    longest = longest_context_tokens(catalog, question)
    assert longest is not None
    assert estimate_memory(catalog, **question, max_model_len=longest).fits
    beyond = longest + BLOCK_TOKENS
    if beyond <= catalog.models[question["model"]].max_context_tokens:
        assert not estimate_memory(catalog, **question, max_model_len=beyond).fits


def test_a_model_with_room_to_spare_reaches_its_own_maximum(catalog: Catalog) -> None:
    assert longest_context_tokens(catalog, FITS) == catalog.models["Qwen/Qwen3-14B"].max_context_tokens


def test_weights_that_do_not_fit_leave_no_context_at_all(catalog: Catalog) -> None:
    assert longest_context_tokens(catalog, TOO_LARGE) is None


@pytest.mark.parametrize("question", [TOO_LONG, TOO_LARGE, {**TOO_LARGE, "gpu": "rtx-3090"}])
def test_every_change_named_makes_it_fit(catalog: Catalog, question: dict[str, Any]) -> None:
    changes = changes_that_fit(catalog, question) if not estimate_memory(catalog, **question).fits else ()
    for change in changes:
        changed = estimate_memory(catalog, **{**question, **change.flags})
        assert changed.fits
        assert changed.max_concurrency == change.max_concurrency >= 1


def test_what_fits_needs_no_change(catalog: Catalog) -> None:
    assert changes_that_fit(catalog, FITS) == ()


def test_a_context_that_is_too_long_can_be_helped_in_several_ways(catalog: Catalog) -> None:
    changed = {name for change in changes_that_fit(catalog, TOO_LONG) for name in change.flags}
    assert {"weight_dtype", "tp", "max_model_len", "gpu"} <= changed


def test_two_t4_are_helped_by_fewer_bits_or_more_cards(catalog: Catalog) -> None:
    changed = {name for change in changes_that_fit(catalog, TOO_LARGE) for name in change.flags}
    assert {"weight_dtype", "tp"} <= changed


def test_a_card_given_by_its_memory_is_not_exchanged_for_another(catalog: Catalog) -> None:
    changes = changes_that_fit(catalog, {**TOO_LONG, "gpu_memory_gib": 70.0})
    assert changes
    assert all("gpu" not in change.flags for change in changes)


def test_weights_are_bf16_where_the_card_can(catalog: Catalog) -> None:
    assert default_weight_dtype(catalog.gpus["h100-sxm"]) == "bf16"
    assert default_weight_dtype(catalog.gpus["t4"]) == "fp16"


def test_the_fewest_gpus_fit_and_fewer_do_not(catalog: Catalog) -> None:
    asked = {**TOO_LONG, "gpu": "rtx-4090", "max_model_len": 8192}
    change = fewest_gpus(catalog, asked)
    assert change is not None
    assert estimate_memory(catalog, **{**asked, **change.flags}).fits
    for tp, pp in ((1, 1), (2, 1), (1, 2)):
        assert not estimate_memory(catalog, **asked, tp=tp, pp=pp).fits


def test_what_fits_is_what_the_estimate_says_of_every_model(catalog: Catalog) -> None:
    asked = {"gpu": "l4", "engine": "vllm", "weight_dtype": "bf16", "max_model_len": 4096}
    fitting = {fit.model for fit in what_fits(catalog, asked)}
    for model in ("Qwen/Qwen3-8B", "Qwen/Qwen3-14B", "meta-llama/Llama-3.1-8B-Instruct"):
        assert estimate_memory(catalog, model=model, **asked).fits is (model in fitting)


def test_the_first_format_is_the_model_s_own_where_that_fits(catalog: Catalog) -> None:
    own = first_format(catalog, {**FITS, "weight_dtype": "awq-int4"})
    assert own is not None
    assert own.flags == {"weight_dtype": "bf16"}
