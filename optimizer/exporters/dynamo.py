"""NVIDIA Dynamo: a DynamoGraphDeployment for each workload, a worker component for each of its groups (v1beta1)."""

from __future__ import annotations

from typing import Any

from optimizer.exporters.base import (
    Export,
    NamedGroup,
    cannot_join_servers,
    chosen,
    dns_labels,
    finished,
    header,
)
from optimizer.exporters.containers import (
    SHARED_GIB_PER_GPU,
    environment,
    gpu_resource,
    gpus_per_server,
    labels_of,
    node_selector,
    notes,
    plan_annotation,
    resources_of,
    words_of,
)
from optimizer.topology import Topology
from optimizer.yaml_text import block_yaml

RELEASE = "1.3.1"
IMAGES = {"vllm": f"nvcr.io/nvidia/ai-dynamo/vllm-runtime:{RELEASE}",
          "sglang": f"nvcr.io/nvidia/ai-dynamo/sglang-runtime:{RELEASE}"}  # fmt: skip
"""Runtime with its engine by backend (https://docs.nvidia.com/dynamo)."""


def render(topology: Topology) -> Export:
    """`dynamo-WORKLOAD.yaml`, for `kubectl apply`."""
    started, left_out = chosen(topology, "dynamo", _cannot)
    workloads = list(dict.fromkeys((named.workload, named.start.engine) for named in started))
    names = dns_labels([workload for workload, _ in workloads])
    files = {
        f"dynamo-{name}.yaml": _file(name, [n for n in started if (n.workload, n.start.engine) == key], topology)
        for name, key in zip(names, workloads, strict=True)
    }
    return finished(files, left_out, "dynamo", started)


def _cannot(named: NamedGroup) -> str:
    start = named.start
    if start.engine not in IMAGES:
        return f"runs on {start.engine}; Dynamo is exported for {' and '.join(IMAGES)}"
    if start.planned.gpu.vendor.lower() != "nvidia":
        return f"Dynamo has no image for {start.planned.gpu.vendor} cards"
    return cannot_join_servers(named)


def _file(name: str, groups: list[NamedGroup], topology: Topology) -> str:
    engine = groups[0].start.engine
    front = {"name": "main", "image": IMAGES[engine], "env": environment(groups[0])[:1]}
    document = {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeployment",
        "metadata": {
            "name": name,
            "labels": {"app.kubernetes.io/managed-by": "gpuplan"},
            "annotations": plan_annotation(topology),
        },
        "spec": {
            "backendFramework": engine,
            "components": [
                {
                    "name": "frontend",
                    "type": "frontend",
                    "replicas": 1,
                    "podTemplate": {"spec": {"containers": [front]}},
                },
                *(_worker(named, topology) for named in groups),
            ],
        },
    }
    lines = list(dict.fromkeys(note for named in groups for note in notes(named, topology)))
    return header(topology, *lines) + block_yaml(document)


def _worker(named: NamedGroup, topology: Topology) -> dict[str, Any]:
    start = named.start
    words = words_of(named)
    listening = len(start.dialect.listen_words(0))
    main = {
        "name": "main",
        "image": IMAGES[start.engine],
        "command": ["python3", "-m", f"dynamo.{start.engine}"],
        "args": words[:-listening],  # requests come through the frontend
        "env": environment(named),
        "resources": resources_of(named),
    }
    component: dict[str, Any] = {
        "name": f"worker-{named.name}"[:63].rstrip("-"),
        "type": "worker",
        "replicas": named.group.replicas,
        "sharedMemorySize": f"{SHARED_GIB_PER_GPU * gpus_per_server(named)}Gi",
    }
    if named.n_servers > 1:
        component["multinode"] = {"nodeCount": named.n_servers}  # the operator joins the servers
    component["podTemplate"] = {
        "metadata": {"labels": labels_of(named)},
        "spec": {
            "nodeSelector": node_selector(named, topology),
            "tolerations": [{"key": gpu_resource(named), "operator": "Exists", "effect": "NoSchedule"}],
            "containers": [main],
        },
    }
    return component
