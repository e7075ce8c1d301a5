"""What every target promises: nothing measured, nothing injected, lawful names, the same bytes every time."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hand_built import group, measured_group, plan

from catalog import Catalog
from optimizer.errors import InputError
from optimizer.exporters import EXPORTERS, render_everything
from optimizer.exporters.base import dns_labels
from optimizer.exporters.engines import DIALECTS
from optimizer.layout import Layout
from optimizer.topology import Topology, build_topology, parse_topology

ENGINE_TARGETS = [name for name in EXPORTERS if name not in ("topology", "kueue", "bill-of-materials")]


def test_the_targets_are_these() -> None:
    assert list(EXPORTERS) == [
        "topology", "vllm", "sglang", "trtllm", "llamacpp", "compose", "k8s", "lws", "kserve", "llm-d", "dynamo",
        "ray-serve", "rayservice", "kueue", "skypilot", "bill-of-materials",
    ]  # fmt: skip


@pytest.mark.parametrize("target", EXPORTERS)
def test_the_same_plan_gives_the_same_files(target: str, engines_plan: Layout, catalog: Catalog) -> None:
    first, second = (EXPORTERS[target].render(build_topology(engines_plan, catalog)) for _ in range(2))
    assert list(first.files.items()) == list(second.files.items())
    assert first.left_out == second.left_out


def test_targets_can_share_a_folder(engines: Topology) -> None:
    names = [name for exporter in EXPORTERS.values() for name in exporter.render(engines).files]
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


@pytest.mark.parametrize("target", ["vllm", "sglang", "llm-d", "dynamo", "ray-serve", "rayservice", "skypilot"])
def test_replicas_of_another_engine_are_left_out_by_name(target: str, catalog: Catalog) -> None:
    edge = group([(0,)], engine="llamacpp", weight_dtype="gguf-q4_k_m", kv_cache_dtype="q8_0", max_batch_size=2)
    engine = target if target == "sglang" else "vllm"
    groups = {"chat": [group([(0,)], engine=engine)], "edge": [edge]}
    export = EXPORTERS[target].render(build_topology(plan(catalog, groups, [("h100-node", "rent", 1)]), catalog))
    assert len(export.left_out) == 1
    assert export.left_out[0].startswith("edge: runs on llamacpp")
    del groups["chat"]
    with pytest.raises(InputError, match=f"nothing to export to {target}: edge"):
        EXPORTERS[target].render(build_topology(plan(catalog, groups, [("h100-node", "rent", 1)]), catalog))


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm", "llamacpp"])
def test_a_kv_type_that_the_engine_lacks_is_refused(engine: str, catalog: Catalog) -> None:
    layout = plan(catalog, {"chat": [group([(0,)], engine=engine, kv_cache_dtype="int4")]}, [("h100-node", "rent", 1)])
    with pytest.raises(InputError, match="has no KV cache type int4; plan with"):
        EXPORTERS[engine].render(build_topology(layout, catalog))


HOSTILE = 'x"; touch /tmp/owned; $(reboot) `reboot` #'
"""A scenario's name may be any printable text, a workload's letters, blanks and . _ - + : @ ( )."""


def hostile_plan(catalog: Catalog) -> Layout:
    # two servers for lws, one for the rest; each engine target finds a group of its own
    groups = {
        "a @(b): c": [group([(0,)], weight_dtype="awq-int4")],
        "yes": [group([(0,)], engine="sglang", weight_dtype="nvfp4")],
        "c @(rm -rf)": [group([(0,)], engine="trtllm", weight_dtype="awq-int4")],
        "d: + no": [
            group([(0,)], engine="llamacpp", weight_dtype="gguf-q2_k", kv_cache_dtype="q8_0", max_batch_size=2)
        ],
        "wide @()": [group([(1, 2)], tp=8, pp=2, weight_dtype="awq-int4")],
    }
    return plan(catalog, groups, [("h100-node", "rent", 3)], name=HOSTILE)


@pytest.mark.parametrize("target", EXPORTERS)
def test_no_name_breaks_out_of_comments_scripts_or_yaml(target: str, catalog: Catalog) -> None:
    for file, text in EXPORTERS[target].render(build_topology(hostile_plan(catalog), catalog)).files.items():
        live = [line.split("  # ")[0] for line in text.splitlines() if not line.startswith("#")]
        if file.endswith(".sh"):
            assert not [line for line in live if "reboot" in line or "touch" in line]
        elif file.endswith(".yaml"):
            assert list(yaml.safe_load_all(text))


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm", "llamacpp"])
def test_scripts_of_hostile_names_start_nothing_but_the_engine(engine: str, catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    program = DIALECTS[engine].program[0]
    for name in (program, "reboot", "touch"):
        script = tmp_path / "bin" / name
        script.write_text(f'#!/bin/sh\necho "{name} $#" >> {tmp_path}/started\n')
        script.chmod(0o755)
    files = EXPORTERS[engine].render(build_topology(hostile_plan(catalog), catalog)).files
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    variables = {
        word: "owner/name" for text in files.values() for word in re.findall(r"(?:CHECKPOINT|ADDRESS)_\w+", text)
    }
    for name in files:
        if name.endswith(".sh"):
            path = f"{tmp_path}/bin:{os.environ['PATH']}"
            subprocess.run(["bash", str(tmp_path / name)], env={"PATH": path, **variables}, timeout=30, check=False)
    assert {line.split()[0] for line in (tmp_path / "started").read_text().splitlines()} == {program}


def test_cells_that_a_spreadsheet_would_calculate_are_text(catalog: Catalog) -> None:
    topology = build_topology(plan(catalog, {"a": [group([(0,)])]}, [("h100-node", "rent", 1)]), catalog)
    rows = tuple(row.model_copy(update={"offer": "+cmd|' /C calc'!A0"}) for row in topology.layout.servers)
    inventory = {"+cmd|' /C calc'!A0": topology.scenario.inventory["h100-node"]}
    hostile = replace(
        topology,
        layout=topology.layout.model_copy(update={"servers": rows}),
        scenario=topology.scenario.model_copy(update={"inventory": inventory}),
    )
    text = EXPORTERS["bill-of-materials"].render(hostile).files["bill-of-materials.csv"]
    assert text.splitlines()[1].startswith("'+cmd")


def test_everything_gets_a_folder_each_and_a_readme(engines: Topology) -> None:
    export = render_everything(engines)
    assert {name.partition("/")[0] for name in export.files} == {*EXPORTERS, "README.md"}
    for target, exporter in EXPORTERS.items():
        for name, text in exporter.render(engines).files.items():
            assert export.files[f"{target}/{name}"] == text
    assert (
        "| `k8s` | Kubernetes: a Deployment and a Service per replica group | `kubectl apply -f k8s` |"
        in export.files["README.md"]
    )


def test_the_readme_of_everything_shows_hostile_names_as_text(catalog: Catalog) -> None:
    readme = render_everything(build_topology(hostile_plan(catalog), catalog)).files["README.md"]
    # every sign that Markdown gives a meaning to stands behind a backslash
    assert readme.startswith('# x"; touch /tmp/owned; $\\(reboot\\) \\`reboot\\` \\#\n')


def test_measured_replicas_are_no_reason_to_write_nothing_at_all(catalog: Catalog) -> None:
    layout = plan(catalog, {"search": [measured_group([(0,)])]}, [("h100-node", "rent", 1)])
    export = render_everything(build_topology(layout, catalog))
    folders = {name.partition("/")[0] for name in export.files}
    assert folders == {"topology", "kueue", "bill-of-materials", "README.md"}
    assert any("its replicas were measured" in line for line in export.left_out)


@pytest.mark.parametrize("target", ENGINE_TARGETS)
def test_images_are_pinned(target: str, engines: Topology) -> None:
    for text in EXPORTERS[target].render(engines).files.values():
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


def test_every_format_that_an_engine_makes_while_loading_has_the_options_for_it(catalog: Catalog) -> None:
    made = {engine: set(entry.formats_made_while_loading) for engine, entry in catalog.engines.items()}
    assert made == {engine: set(dialect.online_quantization) for engine, dialect in DIALECTS.items()}
