"""Compose files satisfy the Compose specification and start what the plan says, each replica on its own GPUs."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import jsonschema
import pytest
from export_reading import DATA, documents, meaning_of, options_of
from hand_built import group, plan

from catalog import Catalog
from optimizer.exporters import EXPORTERS
from optimizer.layout import Layout
from optimizer.topology import Topology, build_topology


@pytest.fixture
def compose(mixed: Topology) -> list[dict[str, Any]]:
    return documents(EXPORTERS["compose"].render(mixed).files)


def gpus_of(service: dict[str, Any]) -> list[str]:
    if "deploy" in service:
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        return list(device["device_ids"])
    return [name.removeprefix("amd.com/gpu=") for name in service["devices"]]


def test_files_satisfy_the_compose_specification(compose: list[dict[str, Any]]) -> None:
    judge = jsonschema.Draft7Validator(json.loads((DATA / "compose-spec.json").read_text()))
    for document in compose:
        assert [error.message for error in judge.iter_errors(document)] == []


def test_the_services_mean_what_the_plan_says(compose: list[dict[str, Any]], mixed_plan: Layout) -> None:
    found: Counter[object] = Counter()
    for document in compose:
        for service in document["services"].values():
            found[meaning_of(options_of(service["command"])), len(gpus_of(service))] += 1
    planned: Counter[object] = Counter()
    for workload in mixed_plan.workloads:
        for one in workload.replica_groups:
            if workload.name != "giant":
                meaning = (one.tp, one.pp, one.dp, one.max_batch_size, one.max_model_len, one.kv_cache_dtype)
                planned[meaning, one.gpus_per_replica] += one.replicas
    assert found == planned


def test_services_of_a_server_have_gpus_and_ports_of_their_own(compose: list[dict[str, Any]], mixed: Topology) -> None:
    servers = {server.id: server for server in mixed.document.servers}
    for document in compose:
        gpus = [gpu for service in document["services"].values() for gpu in gpus_of(service)]
        used = [str(i) for i, use in enumerate(servers[document["x-gpuplan"]["server"]].gpus) if use is not None]
        assert sorted(gpus) == used
        ports = [service["ports"][0] for service in document["services"].values()]
        assert len(ports) == len(set(ports))
        assert re.fullmatch(r"[a-z0-9][a-z0-9_-]*", document["name"])


def test_a_replica_over_two_servers_is_left_out_by_name(mixed: Topology) -> None:
    assert EXPORTERS["compose"].render(mixed).left_out == (
        "giant: a replica stretches over 2 servers, a Compose file knows one; export to vllm or lws",
    )


def test_amd_cards_get_their_image_and_device_names(compose: list[dict[str, Any]]) -> None:
    (document,) = (one for one in compose if one["x-gpuplan"]["gpu"] == "mi300x")
    (service,) = document["services"].values()
    assert service["image"] == "vllm/vllm-openai-rocm:v0.33.0"
    assert service["devices"] == ["amd.com/gpu=0", "amd.com/gpu=1"]


def test_a_checkpoint_that_is_not_published_must_be_named_before_the_start(catalog: Catalog) -> None:
    layout = plan(catalog, {"chat": [group([(0,)], weight_dtype="nvfp4")]}, [("h100-node", "rent", 1)])
    (document,) = documents(EXPORTERS["compose"].render(build_topology(layout, catalog)).files)
    command = document["services"]["chat-0"]["command"]
    # `${NAME:?text}`: Compose stops with the text when NAME is not set
    assert command[:2] == ["--model", "${CHECKPOINT_CHAT:?set it to a checkpoint of Qwen/Qwen3-32B in nvfp4}"]
