"""Docker Compose: one file for each server, one service for each replica on it, on GPUs of its own."""

from __future__ import annotations

from typing import Any

from optimizer.exporters.base import (
    Export,
    NamedGroup,
    cannot_run_in_a_container,
    chosen,
    dns_labels,
    finished,
    header,
    servers_of,
)
from optimizer.exporters.containers import PORT, start_up_s
from optimizer.exporters.scripts import FIRST_PORT, checkpoint_hint, checkpoint_variable
from optimizer.topology import Replica, Server, Topology
from optimizer.yaml_text import block_yaml

CACHE_VOLUME = "hf-cache"
PROBE_S = 10


def render(topology: Topology) -> Export:
    """`compose-SERVER.yaml`: `docker compose -f … up -d` on that server."""
    started, left_out = chosen(topology, "compose", _cannot)
    on_server: dict[str, list[tuple[NamedGroup, Replica]]] = {}
    for named in started:
        for replica in named.replicas:
            on_server.setdefault(servers_of(replica)[0], []).append((named, replica))
    ids = [replica.id for replica in topology.document.replicas]
    names = dict(zip(ids, dns_labels(ids), strict=True))
    server_ids = [server.id for server in topology.document.servers]
    files = {
        f"compose-{label}.yaml": _file(server, label, on_server[server.id], names, topology)
        for server, label in zip(topology.document.servers, dns_labels(server_ids), strict=True)
        if server.id in on_server
    }
    return finished(files, left_out, "compose", started)


def _cannot(named: NamedGroup) -> str:
    if named.n_servers > 1:
        return (
            f"a replica stretches over {named.n_servers} servers, a Compose file knows one; "
            f"export to {named.start.engine} or lws"
        )
    return cannot_run_in_a_container(named)


def _file(
    server: Server, label: str, here: list[tuple[NamedGroup, Replica]], names: dict[str, str], topology: Topology
) -> str:
    document = {
        "name": label,
        "x-gpuplan": {"server": server.id, "gpu": server.gpu, "plan_sha256": topology.document.plan_sha256},
        "services": {
            names[replica.id]: _service(named, replica, server, FIRST_PORT + position)
            for position, (named, replica) in enumerate(here)
        },
        "volumes": {CACHE_VOLUME: {}},
    }
    return header(topology, f"server {server.id}") + block_yaml(document)


def _service(named: NamedGroup, replica: Replica, server: Server, port: int) -> dict[str, Any]:
    start = named.start
    known = start.weights.checkpoint
    checkpoint = f"${{{checkpoint_variable(named)}:?{checkpoint_hint(named)}}}" if known is None else known
    options = [word.replace("$", "$$") for word in start.options]  # $ begins a variable in Compose files
    service: dict[str, Any] = {"image": start.image}
    if start.dialect.image_program:
        service["entrypoint"] = list(start.dialect.image_program)
    service |= {
        "command": [*start.dialect.model_words(checkpoint), *options, *start.dialect.listen_words(PORT)],
        "ipc": "host",  # tensor parallel processes share memory
        "environment": {"HF_TOKEN": "${HF_TOKEN:-}"},
        "volumes": [f"{CACHE_VOLUME}:{start.dialect.cache_folder}"],
        "ports": [f"{port}:{PORT}"],
        "restart": "unless-stopped",
        "healthcheck": {
            "test": ["CMD", "curl", "-fsS", f"http://localhost:{PORT}{start.dialect.health_path}"],
            "interval": f"{PROBE_S}s",
            "timeout": "5s",
            "retries": 3,
            "start_period": f"{start_up_s(named)}s",
        },
    }
    gpus = [str(gpu) for gpu in start.dialect.gpus_in_rank_order(replica, server.id)]
    if start.planned.gpu.vendor.lower() == "amd":
        # Container Device Interface names, https://instinct.docs.amd.com/projects/container-toolkit
        service["devices"] = [f"amd.com/gpu={gpu}" for gpu in gpus]
    else:
        device = {"driver": "nvidia", "device_ids": gpus, "capabilities": ["gpu"]}
        service["deploy"] = {"resources": {"reservations": {"devices": [device]}}}
    return service
