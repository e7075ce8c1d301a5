"""Pods and containers: what every Kubernetes target says alike of images, GPUs, memory, probes and nodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from catalog.units import GB, GIB
from optimizer.exporters.base import NamedGroup, dns_labels
from optimizer.exporters.engines import Node
from optimizer.topology import Topology

PORT = 8000
"""vLLM's default."""
JOINING_PORT = 29501
"""vLLM's default of `--master-port`."""
OFFER_LABEL = "gpuplan/offer"
"""Node label: which offer of the plan a node is one of; only where nothing labels nodes with their card."""
CHECKPOINTS = "gpuplan-checkpoints"
"""ConfigMap, made by the user, that names the checkpoints which are not published."""
CHECKPOINT_VARIABLE = "CHECKPOINT"
RESOURCES = {"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu"}
"""What the vendors' device plugins call a GPU."""

CPUS_PER_GPU = 4
"""A worker process for each GPU, and tokenizer, scheduler and server beside them (estimate)."""
HOST_GIB_PER_GPU = 16
"""Of a worker process: CUDA context, pinned buffers, one shard of the checkpoint while it is read (estimate)."""
SHARED_GIB_PER_GPU = 2
"""Of /dev/shm, through which tensor parallel processes exchange data when no GPU link does (estimate)."""
FETCH_GB_PER_S = 0.25
"""A slow download, 2 Gbit/s: weights may have to be fetched before the first answer."""
WARM_UP_S = 300
"""Compilation and graph capture (estimate, minutes on large models)."""
PROBE_S = 10


def gpu_resource(named: NamedGroup) -> str:
    """Resource that the device plugin of the card's vendor offers."""
    return RESOURCES[named.start.planned.gpu.vendor.lower()]


def gpus_per_server(named: NamedGroup) -> int:
    """GPUs of each part of a replica that is a pod of its own."""
    return named.group.gpus_per_replica // named.n_nodes


def node_selector(named: NamedGroup, topology: Topology, *, follows: bool = False) -> dict[str, str]:
    """The label of nodes with the planned card, of what follows the first or of that; the offer's own where nobody
    sets one."""
    offer = named.node_offers[-1 if follows else 0]
    if product := _product(offer, topology):
        return {"nvidia.com/gpu.product": product}
    return {OFFER_LABEL: offer_labels(topology)[offer]}


def node_note(named: NamedGroup, topology: Topology) -> str:
    """What must be done for the selectors to find nodes; empty when GPU feature discovery does it."""
    labels = offer_labels(topology)
    unlabelled = [offer for offer in dict.fromkeys(named.node_offers) if not _product(offer, topology)]
    notes = [f"kubectl label node NODE {OFFER_LABEL}={labels[o]}, for each server of {o}" for o in unlabelled]
    return f"nodes: {'; '.join(notes)}" if notes else ""


def _product(offer: str, topology: Topology) -> str | None:
    """What GPU feature discovery calls the card of an offer."""
    return topology.catalog.gpus[topology.scenario.inventory[offer].gpu].called.kubernetes


def offer_labels(topology: Topology) -> dict[str, str]:
    """Offer -> value of its node label."""
    offers = list(dict.fromkeys(server.offer for server in topology.document.servers))
    return dict(zip(offers, dns_labels(offers), strict=True))


def labels_of(named: NamedGroup) -> dict[str, str]:
    """Labels of everything that belongs to the group."""
    return {
        "app.kubernetes.io/name": named.name,
        "app.kubernetes.io/component": dns_labels([named.workload])[0],
        "app.kubernetes.io/managed-by": "gpuplan",
    }


def resources_of(named: NamedGroup) -> dict[str, dict[str, str]]:
    """GPUs, and host memory and processors in proportion, of a replica on one server."""
    gpus, resource = gpus_per_server(named), gpu_resource(named)
    memory_gib = HOST_GIB_PER_GPU * gpus
    return {
        "limits": {resource: str(gpus), "memory": f"{most_memory_gib(gpus)}Gi"},
        "requests": {resource: str(gpus), "cpu": str(CPUS_PER_GPU * gpus), "memory": f"{memory_gib}Gi"},
    }


def most_memory_gib(gpus: int) -> int:
    """What a pod of so many GPUs may take of the host: twice what it asks for and /dev/shm, which counts as its."""
    return (2 * HOST_GIB_PER_GPU + SHARED_GIB_PER_GPU) * gpus


def start_up_s(named: NamedGroup) -> int:
    """Time to fetch the weights and warm up, before which silence is no fault."""
    return math.ceil(named.start.planned.weights_gib * GIB / GB / FETCH_GB_PER_S) + WARM_UP_S


def probes(named: NamedGroup) -> dict[str, Any]:
    """Start-up by the size of the weights; then ready and alive by the engine's health page."""
    health = {"httpGet": {"path": named.start.dialect.health_path, "port": "http"}}
    return {
        "startupProbe": {
            **health,
            "periodSeconds": PROBE_S,
            "failureThreshold": math.ceil(start_up_s(named) / PROBE_S),
        },
        "readinessProbe": {**health, "periodSeconds": 5},
        "livenessProbe": {**health, "periodSeconds": 10, "failureThreshold": 3},
    }


def environment(named: NamedGroup) -> list[dict[str, Any]]:
    """The Hugging Face token, and the checkpoint where the user must name it."""
    token = {"secretKeyRef": {"name": "hf-token", "key": "token", "optional": True}}
    env: list[dict[str, Any]] = [{"name": "HF_TOKEN", "valueFrom": token}]
    if named.start.weights.checkpoint is None:
        checkpoint = {"configMapKeyRef": {"name": CHECKPOINTS, "key": named.name}}
        env.append({"name": CHECKPOINT_VARIABLE, "valueFrom": checkpoint})
    return env + layers_environment(named)


def layers_environment(named: NamedGroup) -> list[dict[str, str]]:
    """How many layers each stage takes, where these differ."""
    start = named.start
    said = start.dialect.layers_environment(start.planned.layers) if named.group.stages else {}
    return [{"name": name, "value": value} for name, value in said.items()]


def checkpoint_note(named: NamedGroup) -> str:
    """What to put into the ConfigMap; empty when the checkpoint is known."""
    if not named.start.weights.needs:
        return ""
    return (
        f"first put the name of {named.start.weights.needs} under the key {named.name} into the ConfigMap {CHECKPOINTS}"
    )


def words_of(named: NamedGroup, node: Node | None = None) -> list[str]:
    """The engine's words in the image, as Kubernetes reads them: `$(NAME)` is a variable, `$$(` is not."""
    start = named.start
    checkpoint = f"$({CHECKPOINT_VARIABLE})" if start.weights.checkpoint is None else start.weights.checkpoint
    words = [*start.dialect.model_words(checkpoint), *(word.replace("$(", "$$(") for word in start.options)]
    if node is not None:
        assert start.dialect.node_words is not None, "left out before"
        words += start.dialect.node_words(node)
    if node is None or not node.follows:
        words += start.dialect.listen_words(PORT)
    return words


def container(named: NamedGroup, name: str = "", node: Node | None = None) -> dict[str, Any]:
    """The engine's container; one that follows another serves nothing and is not probed."""
    start, serves = named.start, node is None or not node.follows
    found: dict[str, Any] = {"name": name or start.engine, "image": start.image}
    if start.dialect.image_program:
        found["command"] = list(start.dialect.image_program)
    elif node is not None:
        found["command"] = list(start.dialect.program)
    found |= {"args": words_of(named, node), "env": environment(named)}
    if serves:
        found["ports"] = [{"name": "http", "containerPort": PORT}]
    found["resources"] = resources_of(named)
    found |= probes(named) if serves else {}
    found["volumeMounts"] = [{"name": "shm", "mountPath": "/dev/shm"}]
    return found


def pod_spec(
    named: NamedGroup, topology: Topology, containers: Sequence[dict[str, Any]], *, follows: bool = False
) -> dict[str, Any]:
    """A pod on a node with the planned card; `follows` says that it is not the first of several."""
    shared_gib = SHARED_GIB_PER_GPU * gpus_per_server(named)
    return {
        # Else a Service called vllm would set VLLM_PORT, which vLLM takes for its own
        # (https://docs.vllm.ai/en/v0.10.1/configuration/env_vars.html).
        "enableServiceLinks": False,
        "nodeSelector": node_selector(named, topology, follows=follows),
        "tolerations": [{"key": gpu_resource(named), "operator": "Exists", "effect": "NoSchedule"}],
        "containers": list(containers),
        "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{shared_gib}Gi"}}],
    }


def notes(named: NamedGroup, topology: Topology) -> list[str]:
    """What stands at the top of a file: what to do before it is applied."""
    return [note for note in (node_note(named, topology), checkpoint_note(named)) if note]


def plan_annotation(topology: Topology) -> dict[str, str]:
    """Which plan an object comes from."""
    return {"gpuplan/plan-sha256": topology.document.plan_sha256}
