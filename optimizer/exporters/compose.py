"""Docker Compose: one file for each server, one service for each replica on it, on GPUs of its own."""

from __future__ import annotations

from typing import Any

from optimizer.exporters.base import (
    Export,
    NamedGroup,
    dns_labels,
    finished,
    header,
    predicted_groups,
    servers_of,
)
from optimizer.exporters.vllm import FIRST_PORT, checkpoint_hint, checkpoint_variable, gpus_in_rank_order
from optimizer.exporters.vllm_settings import command_line, image_of, vllm_settings, weights_of
from optimizer.topology import Replica, Server, Topology
from optimizer.yaml_text import block_yaml

CACHE_VOLUME = "hf-cache"
CACHE_FOLDER = "/root/.cache/huggingface"
"""Where the image's user keeps downloaded models (https://docs.vllm.ai/en/stable/deployment/docker/)."""


def render(topology: Topology) -> Export:
    """`compose-SERVER.yaml`: `docker compose -f … up -d` on that server."""
    groups = predicted_groups(topology, "compose")
    left_out = {named.name: reason for named in groups if (reason := _cannot(named, topology))}
    on_server: dict[str, list[tuple[NamedGroup, Replica]]] = {}
    for named in groups:
        for replica in named.replicas if named.name not in left_out else ():
            on_server.setdefault(servers_of(replica)[0], []).append((named, replica))
    ids = [replica.id for replica in topology.document.replicas]
    names = dict(zip(ids, dns_labels(ids), strict=True))
    server_ids = [server.id for server in topology.document.servers]
    files = {
        f"compose-{label}.yaml": _file(server, label, on_server[server.id], names, topology)
        for server, label in zip(topology.document.servers, dns_labels(server_ids), strict=True)
        if server.id in on_server
    }
    return finished(files, left_out.values(), "compose")


def _cannot(named: NamedGroup, topology: Topology) -> str:
    group = named.group
    if group.engine != "vllm":
        return f"{named.workload}: runs on {group.engine}, and only vllm is started by Compose files so far"
    if image_of(group, topology.catalog) is None:
        return f"{named.workload}: there is no vLLM image for {topology.catalog.gpus[group.gpu].vendor} cards"
    if (n_servers := named.n_servers) > 1:
        return (
            f"{named.workload}: a replica stretches over {n_servers} servers, a Compose file knows one; export to vllm"
        )
    return ""


def _file(
    server: Server, label: str, here: list[tuple[NamedGroup, Replica]], names: dict[str, str], topology: Topology
) -> str:
    document = {
        "name": label,
        "x-gpuplan": {"server": server.id, "gpu": server.gpu, "plan_sha256": topology.document.plan_sha256},
        "services": {
            names[replica.id]: _service(named, replica, server, FIRST_PORT + position, topology)
            for position, (named, replica) in enumerate(here)
        },
        "volumes": {CACHE_VOLUME: {}},
    }
    return header(topology, f"server {server.id}") + block_yaml(document)


def _service(named: NamedGroup, replica: Replica, server: Server, port: int, topology: Topology) -> dict[str, Any]:
    group, catalog = named.group, topology.catalog
    settings = vllm_settings(named.group, catalog)
    words = [word.replace("$", "$$") for word in command_line(settings)]  # $ begins a variable in Compose files
    if weights_of(group, catalog).checkpoint is None:
        hint = checkpoint_hint(named, catalog)
        words = ["--model", f"${{{checkpoint_variable(named)}:?{hint}}}", *words]
    gpus = [str(gpu) for gpu in gpus_in_rank_order(replica, server.id)]
    service: dict[str, Any] = {
        "image": image_of(group, catalog),
        "command": [*words, "--port", str(FIRST_PORT)],
        "ipc": "host",  # tensor parallel processes share memory
        "environment": {"HF_TOKEN": "${HF_TOKEN:-}"},
        "volumes": [f"{CACHE_VOLUME}:{CACHE_FOLDER}"],
        "ports": [f"{port}:{FIRST_PORT}"],
        "restart": "unless-stopped",
        "healthcheck": {
            "test": ["CMD", "curl", "-fsS", f"http://localhost:{FIRST_PORT}/health"],
            "interval": "10s",
            "timeout": "5s",
            "retries": 180,  # half an hour to fetch and load a large model
        },
    }
    if catalog.gpus[group.gpu].vendor.lower() == "amd":
        # Container Device Interface names, https://instinct.docs.amd.com/projects/container-toolkit
        service["devices"] = [f"amd.com/gpu={gpu}" for gpu in gpus]
    else:
        device = {"driver": "nvidia", "device_ids": gpus, "capabilities": ["gpu"]}
        service["deploy"] = {"resources": {"reservations": {"devices": [device]}}}
    return service
