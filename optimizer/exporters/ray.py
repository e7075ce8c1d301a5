"""Ray Serve: one application with a configuration for each replica group, alone and as a KubeRay RayService."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from catalog.units import GIB
from optimizer.exporters.base import Export, NamedGroup, chosen, dns_labels, finished, header, servers_of
from optimizer.exporters.containers import (
    CPUS_PER_GPU,
    HOST_GIB_PER_GPU,
    SHARED_GIB_PER_GPU,
    environment,
    gpu_resource,
    most_memory_gib,
    node_selector,
    plan_annotation,
)
from optimizer.topology import Topology
from optimizer.yaml_text import block_yaml

RELEASE = "2.52.0"
IMAGE = f"rayproject/ray-llm:{RELEASE}-py311-cu128"
"""Ray with vLLM (https://docs.ray.io/en/latest/serve/llm/)."""
SAID_BY_RAY = ("served-model-name",)
"""Options of vLLM that Ray Serve writes itself, from `model_loading_config`."""


def render_serve(topology: Topology) -> Export:
    """`ray-serve.yaml`: `serve run`, or `serve deploy` on a running cluster."""
    started, left_out = chosen(topology, "ray-serve", _cannot)
    files = {"ray-serve.yaml": _header(started, topology) + block_yaml(_applications(started))} if started else {}
    return finished(files, left_out, "ray-serve", started)


def render_service(topology: Topology) -> Export:
    """`rayservice.yaml`: the same application on workers that are the plan's servers, for `kubectl apply`."""
    started, left_out = chosen(topology, "rayservice", _cannot)
    files = {"rayservice.yaml": _header(started, topology) + block_yaml(_service(started, topology))} if started else {}
    return finished(files, left_out, "rayservice", started)


def _cannot(named: NamedGroup) -> str:
    start = named.start
    if start.engine != "vllm":
        return f"runs on {start.engine}, and Ray Serve starts vllm"
    if start.planned.gpu.vendor.lower() != "nvidia":
        return f"there is no ray-llm image for {start.planned.gpu.vendor} cards"
    if start.planned.dp > 1:
        return f"dp {start.planned.dp}: Ray Serve places each data parallel rank by itself"
    return ""


def _header(started: tuple[NamedGroup, ...], topology: Topology) -> str:
    needs = [named.start.weights for named in started if named.start.weights.needs]
    return header(topology, *(f"put the name of {one.needs} in place of {one.placeholder}" for one in needs))


def _applications(started: tuple[NamedGroup, ...]) -> dict[str, Any]:
    return {
        "applications": [
            {
                "name": "llms",
                "import_path": "ray.serve.llm:build_openai_app",
                "route_prefix": "/",
                "args": {"llm_configs": [_config(named) for named in started]},
            }
        ]
    }


def _config(named: NamedGroup) -> dict[str, Any]:
    start = named.start
    settings: dict[str, Any] = {
        key.replace("-", "_"): value for key, value in start.settings.items() if key not in SAID_BY_RAY
    }
    if "speculative_config" in settings:  # text on a command line only
        settings["speculative_config"] = json.loads(str(settings["speculative_config"]))
    config: dict[str, Any] = {
        "model_loading_config": {"model_id": named.name, "model_source": start.checkpoint},
        "engine_kwargs": settings,
        "deployment_config": {
            "num_replicas": named.group.replicas,
            "max_ongoing_requests": start.planned.max_batch_size,
        },
    }
    if accelerator := start.planned.gpu.called.ray:
        config["accelerator_type"] = accelerator
    return config


def _service(started: tuple[NamedGroup, ...], topology: Topology) -> dict[str, Any]:
    (name,) = dns_labels([topology.document.scenario])
    head = {"cpu": "2", "memory": "8Gi"}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": name[:40].rstrip("-"), "annotations": plan_annotation(topology)},
        "spec": {
            # The old cluster keeps its GPUs until it is gone: a second one beside it would find none.
            "upgradeStrategy": {"type": "None"},
            "serveConfigV2": block_yaml(_applications(started)),
            "rayClusterConfig": {
                "rayVersion": RELEASE,
                "headGroupSpec": {
                    "rayStartParams": {"num-cpus": "0", "num-gpus": "0"},
                    "template": {
                        "spec": {
                            "containers": [
                                {
                                    "name": "ray-head",
                                    "image": IMAGE,
                                    "env": environment(started[0])[:1],  # it reads the models' configurations
                                    "resources": {"limits": head, "requests": head},
                                }
                            ]
                        }
                    },
                },
                "workerGroupSpecs": _workers(started, topology),
            },
        },
    }


def _workers(started: tuple[NamedGroup, ...], topology: Topology) -> list[dict[str, Any]]:
    """For each offer as many workers as its servers in use, each with all GPUs of its server."""
    used = {server for named in started for replica in named.replicas for server in servers_of(replica)}
    offers = Counter(server.offer for server in topology.document.servers if server.id in used)
    sizes = {server.offer: len(server.gpus) for server in topology.document.servers}
    groups = []
    for (offer, n_servers), label in zip(offers.items(), dns_labels(offers), strict=True):
        named = next(one for one in started if one.group.offer == offer)
        gpus, resource = sizes[offer], gpu_resource(named)
        size = {resource: str(gpus), "cpu": str(CPUS_PER_GPU * gpus)}
        shared_gib = SHARED_GIB_PER_GPU * gpus  # half of it for Ray, which goes to disk where it finds less
        shm = {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{shared_gib}Gi"}}
        groups.append(
            {
                "groupName": label,
                "replicas": n_servers,
                "minReplicas": n_servers,
                "maxReplicas": n_servers,
                "numOfHosts": 1,
                "rayStartParams": {"num-gpus": str(gpus), "object-store-memory": str(shared_gib * GIB // 2)},
                "template": {
                    "spec": {
                        "enableServiceLinks": False,  # as in every other pod
                        "nodeSelector": node_selector(named, topology),
                        "tolerations": [{"key": resource, "operator": "Exists", "effect": "NoSchedule"}],
                        "containers": [
                            {
                                "name": "ray-worker",
                                "image": IMAGE,
                                "env": environment(named)[:1],
                                "resources": {
                                    "limits": {**size, "memory": f"{most_memory_gib(gpus)}Gi"},
                                    "requests": {**size, "memory": f"{HOST_GIB_PER_GPU * gpus}Gi"},
                                },
                                "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
                            }
                        ],
                        "volumes": [shm],
                    }
                },
            }
        )
    return groups
