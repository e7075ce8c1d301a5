"""Kubernetes: a Deployment and a Service for each replica group, on nodes labelled with their offer."""

from __future__ import annotations

from typing import Any

from optimizer.exporters.base import (
    Export,
    NamedGroup,
    dns_labels,
    finished,
    header,
    predicted_groups,
)
from optimizer.exporters.vllm_settings import command_line, image_of, vllm_settings, weights_of
from optimizer.topology import Topology
from optimizer.yaml_text import block_yaml

PORT = 8000
"""vLLM's default."""
OFFER_LABEL = "gpuplan/offer"
"""Node label: which offer of the plan a node is one of."""
CHECKPOINTS = "gpuplan-checkpoints"
"""ConfigMap, made by the user, that names the checkpoints which are not published."""
CHECKPOINT_VARIABLE = "CHECKPOINT"
RESOURCES = {"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu"}
"""What the vendors' device plugins call a GPU."""


def render(topology: Topology) -> Export:
    """`k8s-GROUP.yaml`, for `kubectl apply`."""
    groups = predicted_groups(topology, "k8s")
    left_out = {named.name: reason for named in groups if (reason := _cannot(named, topology))}
    offers = list(dict.fromkeys(server.offer for server in topology.document.servers))
    labels = dict(zip(offers, dns_labels(offers), strict=True))
    files = {
        f"k8s-{named.name}.yaml": _file(named, labels[named.group.offer], topology)
        for named in groups
        if named.name not in left_out
    }
    return finished(files, left_out.values(), "k8s")


def _cannot(named: NamedGroup, topology: Topology) -> str:
    group = named.group
    if group.engine != "vllm":
        return f"{named.workload}: runs on {group.engine}, and only vllm is started by Deployments so far"
    if image_of(group, topology.catalog) is None:
        return f"{named.workload}: there is no vLLM image for {topology.catalog.gpus[group.gpu].vendor} cards"
    if (n_servers := named.n_servers) > 1:
        return f"{named.workload}: a replica stretches over {n_servers} servers, a pod stays on one; export to vllm"
    return ""


def _file(named: NamedGroup, offer_label: str, topology: Topology) -> str:
    group = named.group
    lines = [f"nodes: kubectl label node NODE {OFFER_LABEL}={offer_label}, for each server of {group.offer}"]
    if needs := weights_of(group, topology.catalog).needs:
        lines.append(f"first put the name of {needs} under the key {named.name} into the ConfigMap {CHECKPOINTS}")
    documents = (_deployment(named, offer_label, topology), _service(named))
    return header(topology, *lines) + "---\n".join(block_yaml(document) for document in documents)


def _deployment(named: NamedGroup, offer_label: str, topology: Topology) -> dict[str, Any]:
    group = named.group
    labels = {
        "app.kubernetes.io/name": named.name,
        "app.kubernetes.io/component": dns_labels([named.workload])[0],
        "app.kubernetes.io/managed-by": "gpuplan",
    }
    selector = {"app.kubernetes.io/name": named.name}
    resource = RESOURCES[topology.catalog.gpus[group.gpu].vendor.lower()]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": named.name,
            "labels": labels,
            "annotations": {"gpuplan/plan-sha256": topology.document.plan_sha256},
        },
        "spec": {
            "replicas": group.replicas,
            "selector": {"matchLabels": selector},
            # A new pod finds no free GPUs before an old one is gone.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "nodeSelector": {OFFER_LABEL: offer_label},
                    "tolerations": [{"key": resource, "operator": "Exists", "effect": "NoSchedule"}],
                    "containers": [_container(named, resource, topology)],
                    # Tensor parallel processes share memory.
                    "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}],
                },
            },
        },
    }


def _container(named: NamedGroup, resource: str, topology: Topology) -> dict[str, Any]:
    group, catalog = named.group, topology.catalog
    settings = vllm_settings(named.group, catalog)
    words = [word.replace("$(", "$$(") for word in command_line(settings)]  # $(…) is a variable in args
    token = {"secretKeyRef": {"name": "hf-token", "key": "token", "optional": True}}
    env: list[dict[str, Any]] = [{"name": "HF_TOKEN", "valueFrom": token}]
    if weights_of(group, catalog).checkpoint is None:
        words = ["--model", f"$({CHECKPOINT_VARIABLE})", *words]
        checkpoint = {"configMapKeyRef": {"name": CHECKPOINTS, "key": named.name}}
        env.append({"name": CHECKPOINT_VARIABLE, "valueFrom": checkpoint})
    health = {"httpGet": {"path": "/health", "port": "http"}}
    gpus = {resource: str(group.gpus_per_replica)}
    return {
        "name": "vllm",
        "image": image_of(group, catalog),
        "args": [*words, "--port", str(PORT)],
        "env": env,
        "ports": [{"name": "http", "containerPort": PORT}],
        "resources": {"limits": gpus, "requests": gpus},
        # Half an hour to fetch and load a large model.
        "startupProbe": {**health, "periodSeconds": 10, "failureThreshold": 180},
        "readinessProbe": {**health, "periodSeconds": 5},
        "livenessProbe": {**health, "periodSeconds": 10, "failureThreshold": 3},
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
    }


def _service(named: NamedGroup) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": named.name},
        "spec": {
            "selector": {"app.kubernetes.io/name": named.name},
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
        },
    }
