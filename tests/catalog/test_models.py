"""Every shipped model against counts and cache sizes that were found independently, see model_truth.csv."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from catalog.architecture import Architecture, Split, architecture_of
from catalog.model_text import model_text
from catalog.schema import Model, TensorRole
from catalog.schema.model import RECURRENT_MIXERS

MODELS = Path(__file__).parents[2] / "catalog" / "data" / "models"
BF16_BYTES = 2
KNOWN_ONLY_FROM_CONFIGURATION = 5
"""Granite Vision, Kimi-K3, Kimi-VL, MiniMax-M3, Step-3.7: nobody instantiated them, so there is no count to compare."""


def truth() -> Iterator[dict[str, str]]:
    lines = (Path(__file__).parent / "model_truth.csv").read_text(encoding="utf-8").splitlines()
    yield from csv.DictReader(line for line in lines if not line.startswith("#"))


TRUTH = {row["id"]: row for row in truth()}


def file_of(model_id: str) -> Path:
    return MODELS / f"{model_id.replace('/', '--')}.yaml"


@cache
def shipped(model_id: str) -> Model:
    return Model.model_validate(yaml.safe_load(file_of(model_id).read_text(encoding="utf-8")))


def kv_bytes(architecture: Architecture, *kinds: str) -> int:
    """bf16 bytes of one token in the layers of these kinds, on one rank that holds every head."""
    return sum(
        BF16_BYTES
        * (layer.cache.kv_heads * layer.cache.values_per_token_per_head + layer.cache.latent_values_per_token)
        for layer in architecture.layers
        if layer.cache.kind in kinds
    )


def known(*fields: str) -> pytest.MarkDecorator:
    """Every model of which these are known, with their values."""
    rows = [row for row in TRUTH.values() if all(row[field] for field in fields)]
    values = [(row["id"], *(int(row[field]) for field in fields)) for row in rows]
    return pytest.mark.parametrize(("model_id", *fields), values, ids=[row["id"] for row in rows])


each_model = pytest.mark.parametrize("model_id", TRUTH)


@known("parameters", "active_parameters")
def test_parameters_are_exact(model_id: str, parameters: int, active_parameters: int) -> None:
    architecture = architecture_of(shipped(model_id))
    assert architecture.parameters == parameters, file_of(model_id).name
    assert architecture.active_parameters == active_parameters, file_of(model_id).name


@known("embedding", "lm_head")
def test_embedding_and_head_are_exact(model_id: str, embedding: int, lm_head: int) -> None:
    architecture = architecture_of(shipped(model_id))
    assert architecture.parameters_of(TensorRole.EMBEDDING) == embedding
    assert architecture.parameters_of(TensorRole.LM_HEAD) == lm_head


@known("routed_experts")
def test_routed_experts_are_exact(model_id: str, routed_experts: int) -> None:
    tensors = architecture_of(shipped(model_id)).tensors()
    assert sum(tensor.parameters for tensor in tensors if tensor.split is Split.EXPERTS) == routed_experts


@known("kv_bytes_per_token")
def test_kv_cache_grows_by_the_layers_without_a_window(model_id: str, kv_bytes_per_token: int) -> None:
    assert kv_bytes(architecture_of(shipped(model_id)), "full", "latent") == kv_bytes_per_token


@known("kv_bytes_per_token_without_windows")
def test_kv_cache_of_all_layers_is_what_an_engine_without_windows_keeps(
    model_id: str, kv_bytes_per_token_without_windows: int
) -> None:
    architecture = architecture_of(shipped(model_id))
    assert kv_bytes(architecture, "full", "sliding", "chunked") == kv_bytes_per_token_without_windows


@known("kv_bytes_at_window")
def test_layers_with_a_window_stop_growing_there(model_id: str, kv_bytes_at_window: int) -> None:
    model = shipped(model_id)
    per_token = kv_bytes(architecture_of(model), "sliding", "chunked")
    assert per_token * (model.window_tokens or 0) == kv_bytes_at_window


@known("indexer_bytes_per_token_per_layer")
def test_indexer_keys_are_cached_where_a_layer_has_its_own_indexer(
    model_id: str, indexer_bytes_per_token_per_layer: int
) -> None:
    model = shipped(model_id)
    for kind, layer in zip(model.layer_kinds, architecture_of(model).layers, strict=True):
        expected = indexer_bytes_per_token_per_layer if kind.mixer in ("dsa", "sparse") else 0
        assert layer.cache.indexer_bytes_per_token == expected


@known("state_values", "conv_values", "recurrent_layers")
def test_recurrent_state_has_the_known_size(
    model_id: str, state_values: int, conv_values: int, recurrent_layers: int
) -> None:
    states = [layer.cache for layer in architecture_of(shipped(model_id)).layers if layer.cache.kind == "recurrent"]
    assert len(states) == recurrent_layers
    assert {state.state_values for state in states} == {state_values}
    assert {state.conv_values for state in states} == {conv_values}


@known("full_layers", "local_layers", "recurrent_layers")
def test_layer_census_is_that_of_the_configuration(
    model_id: str, full_layers: int, local_layers: int, recurrent_layers: int
) -> None:
    mixers = [kind.mixer for kind in shipped(model_id).layer_kinds if kind.mixer]
    local = sum(mixer in ("sliding", "chunked", "window") for mixer in mixers)
    recurrent = sum(mixer in RECURRENT_MIXERS for mixer in mixers)
    assert (len(mixers) - local - recurrent, local, recurrent) == (full_layers, local_layers, recurrent_layers)


@each_model
def test_the_verification_label_is_carried_over_verbatim(model_id: str) -> None:
    assert shipped(model_id).verification == TRUTH[model_id]["verification"], f"{file_of(model_id).name}: verification"


@each_model
def test_the_label_says_how_far_the_published_count_is_away(model_id: str) -> None:
    model = shipped(model_id)
    published = model.published.parameters
    counted = architecture_of(model).parameters + (model.vision_parameters if model.published.with_vision else 0)
    where = f"{file_of(model_id).name}: published"
    match model.verification:
        case "exact_match" | "exact_match_recalled":
            assert counted == published, where
        case "explained_diff":
            assert counted - (published or 0) == model.published.difference != 0, where
            assert model.published.difference_reason, where
        case "rounds_to_published":  # Kimi-K2.5 calls 1.026T parameters 1T: the widest, 2.6 %
            assert counted == pytest.approx(published, rel=0.03), where
        case "rounded_published_differs":  # Olmo 3 calls 7.298B parameters 7B
            assert counted != pytest.approx(published, rel=0.03), where
        case "meta_only(no published number)" | "config_only":
            assert published is None, where
        case label:
            pytest.fail(f"{where}: a shipped entry labelled {label}")


@each_model
def test_an_entry_survives_json_and_its_own_yaml(model_id: str) -> None:
    model = shipped(model_id)
    assert Model.model_validate(model.model_dump(mode="json")) == model
    assert Model.model_validate(yaml.safe_load(model_text(model))) == model
    assert file_of(model_id).read_text(encoding="utf-8") == model_text(model), (
        "written by hand? see catalog/model_text.py"
    )


def test_every_file_is_a_model_named_after_its_id() -> None:
    files = {path.name for path in MODELS.iterdir()}
    assert files == {file_of(model_id).name for model_id in TRUTH}
    for model_id in TRUTH:
        assert shipped(model_id).id == model_id, file_of(model_id).name


def test_only_models_without_an_instantiated_count_go_unchecked() -> None:
    unchecked = [model_id for model_id, row in TRUTH.items() if not row["parameters"]]
    assert len(unchecked) == KNOWN_ONLY_FROM_CONFIGURATION
    assert {shipped(model_id).verification for model_id in unchecked} == {"config_only"}


def test_what_is_recalled_is_not_called_published() -> None:
    for model_id in TRUTH:
        for source in shipped(model_id).sources:
            if "recalled" in source.text.split(";")[0]:
                assert source.label == "recalled", f"{file_of(model_id).name}: sources: {source.text}"


@each_model
def test_the_checkpoint_is_in_formats_that_the_catalog_has(model_id: str) -> None:
    checkpoint = shipped(model_id).checkpoint
    for folder, ids in (
        ("formats", (checkpoint.weight_format, checkpoint.expert_format)),
        ("kv_formats", (checkpoint.kv_format,)),
    ):
        known = {path.stem for path in (MODELS.parent / folder).iterdir()}
        assert {name for name in ids if name is not None} <= known, f"{file_of(model_id).name}: checkpoint"
