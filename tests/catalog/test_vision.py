"""Vision towers count: an engine that serves text alone loads them too."""

from __future__ import annotations

import pytest

from catalog import Catalog
from catalog.architecture import architecture_of
from catalog.units import GIB
from optimizer.memory import estimate_memory

# Patch embedding, positions (64 × 64), 27 layers of attention, MLP and two norms, all with biases, and a last norm.
SIGLIP = (
    (3 * 14 * 14 * 1152 + 1152)
    + 64 * 64 * 1152
    + 27 * (4 * (1152 * 1152 + 1152) + (1152 * 4304 + 4304) + (4304 * 1152 + 1152) + 2 * 2 * 1152)
    + 2 * 1152
)
# Patch embedding, a norm, 24 layers of attention, gated MLP and two norms, none with biases.
PIXTRAL = 3 * 14 * 14 * 1024 + 1024 + 24 * (4 * 1024 * 1024 + 3 * 1024 * 4096 + 2 * 1024)
MISTRAL_SMALL = "mistralai/Mistral-Small-3.2-24B-Instruct-2506"


@pytest.mark.parametrize(
    ("size", "checkpoint_parameters"), [("4b", 4_300_079_472), ("12b", 12_187_325_040), ("27b", 27_432_406_640)]
)
def test_gemma_3_is_its_language_model_its_encoder_and_a_projection(
    size: str, checkpoint_parameters: int, catalog: Catalog
) -> None:
    assert SIGLIP == 416_866_032  # the 417M of the Gemma 3 report, arXiv 2503.19786, table 1
    model = catalog.models[f"google/gemma-3-{size}-it"]
    assert model.vision_parameters == SIGLIP + 1152 * model.hidden_size + 1152
    assert architecture_of(model).parameters + model.vision_parameters == checkpoint_parameters


def test_mistral_small_3_2_is_its_language_model_its_encoder_and_a_projector(catalog: Catalog) -> None:
    model = catalog.models[MISTRAL_SMALL]
    projector = 1024 + 4 * 1024 * 1024 + 1024 * model.hidden_size + model.hidden_size**2  # norm, merger, two products
    assert model.vision_parameters == PIXTRAL + projector
    assert architecture_of(model).parameters + model.vision_parameters == 24_011_361_280


def test_mistral_small_3_2_loads_what_its_engine_says(catalog: Catalog) -> None:
    """Weights of 44.76 GiB in vLLM 0.11 on one H100: llm-d-planner, docs/empirical-vllm-memory-results.md."""
    estimate = estimate_memory(
        catalog, model=MISTRAL_SMALL, gpu="h100-sxm", weight_dtype="bf16", engine_version="0.11.0", max_model_len=16_000
    )
    assert estimate.weights_gib == pytest.approx(44.76, abs=0.02)
    assert estimate.weights_gib * GIB > 2 * architecture_of(catalog.models[MISTRAL_SMALL]).parameters
