"""Kubernetes files satisfy the API's schema and start what the plan says."""

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

TYPES = {"Deployment": "io.k8s.api.apps.v1.Deployment", "Service": "io.k8s.api.core.v1.Service"}
LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


@pytest.fixture
def k8s(mixed: Topology) -> list[dict[str, Any]]:
    return documents(EXPORTERS["k8s"].render(mixed).files)


def deployments(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [document for document in found if document["kind"] == "Deployment"]


def gpus_of(deployment: dict[str, Any]) -> int:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    limits, requests = container["resources"]["limits"], container["resources"]["requests"]
    (resource,) = limits.keys() - {"memory"}
    assert limits[resource] == requests[resource]
    return int(limits[resource])


def test_files_satisfy_the_schema_of_the_api(k8s: list[dict[str, Any]]) -> None:
    schema = json.loads((DATA / "kubernetes-1.37.json").read_text())
    for document in k8s:
        judge = jsonschema.Draft202012Validator({**schema, "$ref": f"#/$defs/{TYPES[document['kind']]}"})
        assert [error.message for error in judge.iter_errors(document)] == []


def test_the_deployments_mean_what_the_plan_says(k8s: list[dict[str, Any]], mixed_plan: Layout) -> None:
    found = Counter()
    for one in deployments(k8s):
        (container,) = one["spec"]["template"]["spec"]["containers"]
        found[meaning_of(options_of(container["args"])), gpus_of(one)] += one["spec"]["replicas"]
    planned: Counter[object] = Counter()
    for workload in mixed_plan.workloads:
        for group_ in workload.replica_groups:
            if workload.name != "giant":
                meaning = (
                    group_.tp,
                    group_.pp,
                    group_.dp,
                    group_.max_batch_size,
                    group_.max_model_len,
                    group_.kv_cache_dtype,
                )
                planned[meaning, group_.gpus_per_replica] += group_.replicas
    assert found == planned


def test_each_deployment_has_a_service_that_finds_its_pods(k8s: list[dict[str, Any]]) -> None:
    services = {document["metadata"]["name"]: document for document in k8s if document["kind"] == "Service"}
    for one in deployments(k8s):
        labels = one["spec"]["template"]["metadata"]["labels"]
        selector = one["spec"]["selector"]["matchLabels"]
        assert selector.items() <= labels.items()
        assert services[one["metadata"]["name"]]["spec"]["selector"] == selector
    assert len(services) == len(deployments(k8s)) == 4


def test_no_service_reaches_into_the_engines_environment(k8s: list[dict[str, Any]]) -> None:
    # A Service called vllm would set VLLM_PORT, which is vLLM's own variable.
    assert {one["spec"]["template"]["spec"]["enableServiceLinks"] for one in deployments(k8s)} == {False}


def test_a_rollout_may_take_as_long_as_the_first_start(k8s: list[dict[str, Any]]) -> None:
    for one in deployments(k8s):
        probe = one["spec"]["template"]["spec"]["containers"][0]["startupProbe"]
        longest_start_s = probe["periodSeconds"] * probe["failureThreshold"]
        assert one["spec"]["progressDeadlineSeconds"] > longest_start_s


def test_names_and_labels_are_ones_that_kubernetes_accepts(k8s: list[dict[str, Any]]) -> None:
    value = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
    for document in k8s:
        assert LABEL.fullmatch(document["metadata"]["name"])
    for one in deployments(k8s):
        template = one["spec"]["template"]
        for text in (*template["metadata"]["labels"].values(), *template["spec"]["nodeSelector"].values()):
            assert value.fullmatch(text)


def test_pods_run_on_nodes_with_the_planned_card(k8s: list[dict[str, Any]]) -> None:
    found = {
        one["metadata"]["name"]: (
            one["spec"]["template"]["spec"]["nodeSelector"],
            next(iter(one["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"])),
        )
        for one in deployments(k8s)
    }
    h100 = ({"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}, "nvidia.com/gpu")
    assert found == {
        "chat-0": h100,
        "chat-1": h100,
        "experts": h100,
        # nothing labels AMD nodes with their card for us: the user does, by offer
        "red-team": ({"gpuplan/offer": "mi300x-node"}, "amd.com/gpu"),
    }


def test_large_weights_get_more_time_to_start(k8s: list[dict[str, Any]]) -> None:
    # Qwen3-32B in fp8, 32.8 B parameters of which 1.6 B stay in 16 bit: 34 GB at 0.25 GB/s are 137 s, and 300 s warm-up
    (chat,) = (one for one in deployments(k8s) if one["metadata"]["name"] == "chat-0")
    probe = chat["spec"]["template"]["spec"]["containers"][0]["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == pytest.approx(437, abs=10)


def test_a_rollout_needs_no_spare_gpus(k8s: list[dict[str, Any]]) -> None:
    for one in deployments(k8s):
        assert one["spec"]["strategy"]["rollingUpdate"]["maxSurge"] == 0


def test_a_replica_over_two_servers_is_left_out_by_name(mixed: Topology) -> None:
    assert EXPORTERS["k8s"].render(mixed).left_out == (
        "giant: a replica stretches over 2 servers, a pod stays on one; export to lws",
    )


def test_a_checkpoint_that_is_not_published_comes_from_a_config_map(catalog: Catalog) -> None:
    layout = plan(catalog, {"chat": [group([(0,)], weight_dtype="nvfp4")]}, [("h100-node", "rent", 1)])
    ((name, text),) = EXPORTERS["k8s"].render(build_topology(layout, catalog)).files.items()
    (container,) = documents({name: text})[0]["spec"]["template"]["spec"]["containers"]
    assert container["args"][:2] == ["--model", "$(CHECKPOINT)"]
    variables = {variable["name"]: variable["valueFrom"] for variable in container["env"]}
    assert variables["CHECKPOINT"] == {"configMapKeyRef": {"name": "gpuplan-checkpoints", "key": "chat"}}
    assert "# first put the name of a checkpoint of Qwen/Qwen3-32B in nvfp4 under the key chat" in text
