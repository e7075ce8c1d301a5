"""Engine entries: rows of versions that inherit, and the facts in the shipped ones."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from catalog import Catalog
from catalog.schema import Engine
from catalog.schema.engine import VllmRules
from catalog.schema.uncertainty import Certainty
from catalog.schema.versions import version_key


def shipped(catalog: Catalog, engine: str) -> dict[str, Any]:
    return catalog.engines[engine].model_dump()


def vllm(catalog: Catalog, version: str | None) -> VllmRules:
    rules = catalog.engines["vllm"].at(version).memory
    assert isinstance(rules, VllmRules)
    return rules


def test_versions_compare_number_by_number() -> None:
    assert version_key("0.9") < version_key("0.10") < version_key("0.10.1") < version_key("1")
    assert version_key("v0.19.0") == version_key("0.19")


@pytest.mark.parametrize(
    ("spelt", "release"),
    [
        ("0.8.5.post1", "0.8.5"),
        ("v0.11.0rc2.dev3+gb06f1cf4a.cu128", "0.11"),
        ("1.2.0-rc.3", "1.2"),
        ("b6139", "6139"),
    ],
)
def test_what_is_built_around_a_release_counts_as_that_release(spelt: str, release: str) -> None:
    assert version_key(spelt) == version_key(release)


@pytest.mark.parametrize("spelt", ["newest", "", "0.8.x", "0..8", "1.0 or later", "-1", "٣.1"])
def test_what_is_no_release_is_refused(spelt: str) -> None:
    with pytest.raises(ValueError, match="is no release"):
        version_key(spelt)


def test_rules_are_only_estimates_of_what_is_older(catalog: Catalog) -> None:
    engine = catalog.engines["vllm"]
    assert (engine.predates("0.4.2"), engine.predates("0.5"), engine.predates(None)) == (True, False, False)
    older, first = engine.at("0.4.2").memory, engine.at("0.5").memory
    assert (first.uncertainty.weights.certainty, older.uncertainty.weights.certainty) == ("exact", "estimated")
    assert older.model_copy(update={"uncertainty": first.uncertainty}) == first


@pytest.mark.parametrize(
    ("version", "since"),
    [
        ("0.1", "0.5"),
        ("0.7.1", "0.5"),
        ("0.7.3", "0.7.3"),
        ("0.8", "0.8"),
        ("0.8.5", "0.8.4"),
        ("0.11.0", "0.11"),
        ("0.11.2", "0.11.1"),
        ("0.12.9", "0.12"),
        ("0.16.9", "0.13"),
        ("0.19.1", "0.18"),
        ("9.9", "0.27"),
        (None, "0.27"),
    ],
)
def test_a_version_follows_the_newest_row_that_is_not_newer(catalog: Catalog, version: str | None, since: str) -> None:
    assert catalog.engines["vllm"].at(version).since == since


def test_a_row_inherits_what_it_does_not_state(catalog: Catalog) -> None:
    old, new = vllm(catalog, "0.16"), vllm(catalog, "0.17")
    assert new.activation.sampler_copies < old.activation.sampler_copies
    assert new.activation.layer_hidden_copies == old.activation.layer_hidden_copies
    assert new.non_torch == old.non_torch


def test_rows_out_of_order_are_refused(catalog: Catalog) -> None:
    data = shipped(catalog, "vllm")
    with pytest.raises(ValidationError, match="ascend by `since`"):
        Engine.model_validate({**data, "versions": data["versions"][::-1]})


def test_an_unknown_rule_is_refused(catalog: Catalog) -> None:
    data = shipped(catalog, "llamacpp")
    first = data["versions"][0]
    with pytest.raises(ValidationError, match="margin_gib"):
        Engine.model_validate({**data, "versions": [{**first, "memory": {**first["memory"], "margin_gib": 1}}]})


def test_engines_have_the_ids_that_formats_speak_of(catalog: Catalog) -> None:
    assert sorted(catalog.engines) == ["llamacpp", "sglang", "trtllm", "vllm"]
    named = {row.engine for fmt in catalog.formats.values() for row in fmt.support}
    assert named & set(catalog.engines) == set(catalog.engines)


def test_vllm_raised_its_default_fraction_when_graphs_moved_inside(catalog: Catalog) -> None:
    assert (vllm(catalog, "0.20").gpu_memory_utilization, vllm(catalog, "0.20").graphs.inside_budget) == (0.9, False)
    assert (vllm(catalog, "0.21").gpu_memory_utilization, vllm(catalog, "0.21").graphs.inside_budget) == (0.92, True)


def test_tensorrt_llm_builds_engines_for_more_sequences_since_0_14(catalog: Catalog) -> None:
    # https://github.com/NVIDIA/TensorRT-LLM/pull/1969 and 2253
    batches = [catalog.engines["trtllm"].at(version).memory.max_num_seqs for version in ("0.11", "0.13", "0.14", "1.2")]
    assert batches == [256, 256, 2048, 2048]


def test_formats_named_by_rules_are_in_the_catalog(catalog: Catalog) -> None:
    for engine in catalog.engines.values():
        assert {*engine.formats_made_while_loading, *engine.experimental_formats} <= set(catalog.formats), engine.id
        for row in engine.versions:
            named = {*row.memory.law.alignment, *row.memory.expert_padding}
            assert named <= set(catalog.formats), (engine.id, row.since)
            if (latent := row.memory.cache.sparse_latent_row) is not None:
                assert set(latent.kv_formats) <= set(catalog.kv_formats), (engine.id, row.since)


def test_architectures_named_by_rules_are_those_of_models(catalog: Catalog) -> None:
    known = {model.architecture for model in catalog.models.values()}
    for engine in catalog.engines.values():
        for row in engine.versions:
            cache = row.memory.cache
            assert {*cache.state_bytes_by_architecture, *cache.window_architectures} <= known, (engine.id, row.since)


def test_only_what_follows_from_the_configuration_is_called_exact(catalog: Catalog) -> None:
    for engine in catalog.engines.values():
        for row in engine.versions:
            parts = row.memory.uncertainty
            assert parts.activation.certainty is not Certainty.EXACT
            assert parts.non_torch.certainty is not Certainty.EXACT
            for part in (parts.weights, parts.activation, parts.non_torch, parts.cuda_graph):
                assert part.certainty is Certainty.EXACT or part.plus_minus_gib or part.plus_minus_fraction
