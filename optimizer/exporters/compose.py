"""Docker Compose: one file for each server, one service for each replica or unlike stage on it, on GPUs of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optimizer.exporters.base import (
    Export,
    NamedGroup,
    cannot_run_in_a_container,
    chosen,
    dns_labels,
    finished,
    header,
)
from optimizer.exporters.containers import PORT, start_up_s
from optimizer.exporters.parts import NODES_OF_UNEQUAL_STAGES, Part, by_server, joining_ports
from optimizer.exporters.scripts import FIRST_PORT, checkpoint_hint, checkpoint_variable
from optimizer.topology import Server, Topology
from optimizer.yaml_text import block_yaml

CACHE_VOLUME = "hf-cache"
PROBE_S = 10


def render(topology: Topology) -> Export:
    """`compose-SERVER.yaml`: `docker compose -f … up -d` on that server."""
    started, left_out = chosen(topology, "compose", _cannot, joins_offers=NODES_OF_UNEQUAL_STAGES)
    on_server, ports = by_server(started), joining_ports(started)
    ids = [server.id for server in topology.document.servers]
    labels = dict(zip(ids, dns_labels(ids), strict=True))
    names = _service_names([part for parts in on_server.values() for part in parts])
    files = {}
    for server in topology.document.servers:
        if server.id in on_server:
            services = {
                names[part.replica.id, part.node_rank]: _service(part, FIRST_PORT + position, labels, ports)
                for position, part in enumerate(on_server[server.id])
            }
            files[f"compose-{labels[server.id]}.yaml"] = _file(server, labels[server.id], services, topology)
    return finished(files, left_out, "compose", started)


def _cannot(named: NamedGroup) -> str:
    if named.n_servers > 1 and named.group.stages is None:  # other targets have words for them, and not for unlike ones
        return (
            f"a replica stretches over {named.n_servers} servers, a Compose file knows one; "
            f"export to {named.start.engine} or lws"
        )
    return cannot_run_in_a_container(named)


def _service_names(parts: list[Part]) -> dict[tuple[str, int], str]:
    """Replica and number of each part -> its service, numbered only where the replica has several."""
    keys = [(part.replica.id, part.node_rank) for part in parts]
    several = {part.replica.id for part in parts if len(part.servers) > 1}
    named = dns_labels(f"{replica}/{rank}" if replica in several else replica for replica, rank in keys)
    return dict(zip(keys, named, strict=True))


def _file(server: Server, label: str, services: dict[str, dict[str, Any]], topology: Topology) -> str:
    document = {
        "name": label,
        "x-gpuplan": {"server": server.id, "gpu": server.gpu, "plan_sha256": topology.document.plan_sha256},
        "services": services,
        "volumes": {CACHE_VOLUME: {}},
    }
    return header(topology, f"server {server.id}") + block_yaml(document)


def _service(part: Part, port: int, labels: Mapping[str, str], ports: Mapping[str, int]) -> dict[str, Any]:
    """A stage of several is on the server's own network, where the others find it by address and port."""
    named, start, joins = part.named, part.named.start, len(part.servers) > 1
    known = start.weights.checkpoint
    checkpoint = f"${{{checkpoint_variable(named)}:?{checkpoint_hint(named)}}}" if known is None else known
    options = [word.replace("$", "$$") for word in start.options]  # $ begins a variable in Compose files
    command = [*start.dialect.model_words(checkpoint), *options]
    if joins:
        assert start.dialect.node_words is not None, "left out before"
        command += start.dialect.node_words(part.node(labels, ports))
    if part.node_rank == 0:
        command += start.dialect.listen_words(port if joins else PORT)
    service: dict[str, Any] = {"image": start.image}
    if start.dialect.image_program:
        service["entrypoint"] = list(start.dialect.image_program)
    service |= {
        "command": command,
        "ipc": "host",  # tensor parallel processes share memory
        "environment": {"HF_TOKEN": "${HF_TOKEN:-}", **part.environment},
        "volumes": [f"{CACHE_VOLUME}:{start.dialect.cache_folder}"],
        **({"network_mode": "host"} if joins else {"ports": [f"{port}:{PORT}"]}),
        "restart": "unless-stopped",
    }
    if part.node_rank == 0:
        service["healthcheck"] = _healthcheck(named, port if joins else PORT)
    gpus = [str(gpu) for gpu in part.gpus]
    if start.planned.gpu.vendor.lower() == "amd":
        # Container Device Interface names, https://instinct.docs.amd.com/projects/container-toolkit
        service["devices"] = [f"amd.com/gpu={gpu}" for gpu in gpus]
    else:
        device = {"driver": "nvidia", "device_ids": gpus, "capabilities": ["gpu"]}
        service["deploy"] = {"resources": {"reservations": {"devices": [device]}}}
    return service


def _healthcheck(named: NamedGroup, port: int) -> dict[str, Any]:
    return {
        "test": ["CMD", "curl", "-fsS", f"http://localhost:{port}{named.start.dialect.health_path}"],
        "interval": f"{PROBE_S}s",
        "timeout": "5s",
        "retries": 3,
        "start_period": f"{start_up_s(named)}s",
    }
