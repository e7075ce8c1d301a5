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
            said = options_of(service["command"])
            if said.get("node-rank", "0") == "0":
                found[meaning_of(said), len(gpus_of(service)) * int(said.get("nnodes") or 1)] += 1
    planned: Counter[object] = Counter()
    for workload in mixed_plan.workloads:
        for one in workload.replica_groups:
            meaning = (one.tp, one.pp, one.dp, one.max_batch_size, one.max_model_len, one.kv_cache_dtype)
            planned[meaning, one.gpus_per_replica] += one.replicas
    assert found == planned


def test_services_of_a_server_have_gpus_and_ports_of_their_own(compose: list[dict[str, Any]], mixed: Topology) -> None:
    servers = {server.id: server for server in mixed.document.servers}
    for document in compose:
        gpus = [gpu for service in document["services"].values() for gpu in gpus_of(service)]
        used = [str(i) for i, use in enumerate(servers[document["x-gpuplan"]["server"]].gpus) if use is not None]
        assert sorted(gpus) == used
        ports = [service["ports"][0] for service in document["services"].values() if "ports" in service]
        assert len(ports) == len(set(ports))
        assert re.fullmatch(r"[a-z0-9][a-z0-9_-]*", document["name"])


def test_parts_of_a_replica_over_two_servers_find_each_other(compose: list[dict[str, Any]], mixed: Topology) -> None:
    parts = [
        (document["x-gpuplan"]["server"], name, service)
        for document in compose
        for name, service in document["services"].items()
        if name.startswith("giant")
    ]
    assert [(server, name) for server, name, _ in parts] == [("h100-node/0", "giant-0-0"), ("h100-node/1", "giant-0-1")]
    address = "${ADDRESS_H100_NODE_0:?set it to the address of server h100-node-0}"
    for rank, (_, _, service) in enumerate(parts):
        said = options_of(service["command"])
        assert (said["nnodes"], said["node-rank"], said["master-addr"]) == ("2", str(rank), address)
        assert service["network_mode"] == "host"  # so that the others reach it
        assert "ports" not in service
        assert ("healthcheck" in service, "headless" in said) == (rank == 0, rank > 0)
    assert EXPORTERS["compose"].render(mixed).left_out == ()


def test_a_start_that_reaches_into_other_servers_is_left_out_by_name(engines: Topology) -> None:
    # TensorRT-LLM is started over servers by mpirun from one of them.
    (left_out,) = EXPORTERS["compose"].render(engines).left_out
    assert left_out.startswith("deepest: a replica stretches over 2 servers, and TensorRT-LLM alone does not join them")
    assert left_out.endswith("export to trtllm")


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
