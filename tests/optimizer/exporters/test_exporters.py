"""What every target promises: nothing measured, nothing injected, lawful names, the same bytes every time."""

from __future__ import annotations

import re

import pytest
import yaml
from hand_built import group, measured_group, plan

from catalog import Catalog
from optimizer.errors import InputError
from optimizer.exporters import EXPORTERS
from optimizer.exporters.base import dns_labels
from optimizer.layout import Layout
from optimizer.topology import Topology, build_topology, parse_topology

ENGINE_TARGETS = [name for name in EXPORTERS if name != "topology"]


def test_the_targets_are_these() -> None:
    assert list(EXPORTERS) == ["topology", "vllm", "compose", "k8s"]


@pytest.mark.parametrize("target", EXPORTERS)
def test_the_same_plan_gives_the_same_files(target: str, mixed_plan: Layout, catalog: Catalog) -> None:
    first, second = (EXPORTERS[target].render(build_topology(mixed_plan, catalog)) for _ in range(2))
    assert list(first.files.items()) == list(second.files.items())
    assert first.left_out == second.left_out


def test_targets_can_share_a_folder(mixed: Topology) -> None:
    names = [name for exporter in EXPORTERS.values() for name in exporter.render(mixed).files]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name) for name in names)


@pytest.mark.parametrize("target", ENGINE_TARGETS)
def test_measured_replicas_are_refused_by_name(target: str, catalog: Catalog) -> None:
    layout = plan(catalog, {"known": [group([(0,)])], "search": [measured_group([(0,)])]}, [("h100-node", "rent", 1)])
    with pytest.raises(InputError, match="search: its replicas were measured") as refused:
        EXPORTERS[target].render(build_topology(layout, catalog))
    assert len(refused.value.faults) == 1


def test_the_topology_of_measured_replicas_is_exported(catalog: Catalog) -> None:
    topology = build_topology(plan(catalog, {"a": [measured_group([(0,)])]}, [("h100-node", "rent", 1)]), catalog)
    (text,) = EXPORTERS["topology"].render(topology).files.values()
    assert parse_topology(text) == topology.document


@pytest.mark.parametrize("target", ENGINE_TARGETS)
def test_replicas_of_another_engine_are_left_out_by_name(target: str, catalog: Catalog) -> None:
    groups = {"chat": [group([(0,)])], "edge": [group([(0,)], engine="llamacpp", weight_dtype="gguf-q4_k_m")]}
    export = EXPORTERS[target].render(build_topology(plan(catalog, groups, [("h100-node", "rent", 1)]), catalog))
    assert len(export.left_out) == 1
    assert export.left_out[0].startswith("edge: runs on llamacpp")
    del groups["chat"]
    with pytest.raises(InputError, match=f"nothing to export to {target}: edge"):
        EXPORTERS[target].render(build_topology(plan(catalog, groups, [("h100-node", "rent", 1)]), catalog))


@pytest.mark.parametrize("target", ENGINE_TARGETS)
def test_a_kv_type_that_vllm_lacks_is_refused(target: str, catalog: Catalog) -> None:
    layout = plan(catalog, {"chat": [group([(0,)], kv_cache_dtype="int8")]}, [("h100-node", "rent", 1)])
    with pytest.raises(InputError, match="vLLM has no KV cache type int8"):
        EXPORTERS[target].render(build_topology(layout, catalog))


@pytest.mark.parametrize("target", EXPORTERS)
def test_no_name_breaks_out_of_comments_scripts_or_yaml(target: str, catalog: Catalog) -> None:
    # a scenario's name may be any printable text, a workload's letters, blanks and . _ - + : @ ( )
    name = 'x"; touch /tmp/owned; $(reboot) `reboot` #'
    workload = "a @(b): $c".replace("$", "")
    layout = plan(catalog, {workload: [group([(0,)], weight_dtype="awq-int4")]}, [("h100-node", "rent", 1)], name=name)
    for file, text in EXPORTERS[target].render(build_topology(layout, catalog)).files.items():
        live = [line.split("  # ")[0] for line in text.splitlines() if not line.startswith("#")]
        if file.endswith(".sh"):
            assert not [line for line in live if "reboot" in line or "touch" in line]
        else:
            assert list(yaml.safe_load_all(text))


@pytest.mark.parametrize("target", ENGINE_TARGETS)
def test_images_are_pinned(target: str, mixed: Topology) -> None:
    for text in EXPORTERS[target].render(mixed).files.values():
        assert "latest" not in text


def test_labels_are_valid_different_and_close_to_the_names() -> None:
    names = ["chat", "Chat", "café 9", "7b", "x" * 80, "x" * 80, "@"]
    labels = dns_labels(names)
    assert labels[0] == "chat"
    assert labels[2] == "caf-9"
    assert labels[3] == "n-7b"
    assert labels[6] == "unnamed"
    assert len(set(labels)) == len(names)
    assert all(re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", label) for label in labels)
    assert dns_labels(names) == labels


@pytest.mark.parametrize("target", ["compose", "k8s"])
def test_cards_without_a_vllm_image_are_left_out_by_name(target: str, catalog: Catalog) -> None:
    layout = plan(
        catalog,
        {
            "chat": [group([(0,)])],
            "lab": [group([(0,)], offer="gaudi-node", weight_dtype="bf16", kv_cache_dtype="auto")],
        },
        [("h100-node", "rent", 1), ("gaudi-node", "rent", 1)],
    )
    export = EXPORTERS[target].render(build_topology(layout, catalog))
    assert export.left_out == ("lab: there is no vLLM image for Intel cards",)
