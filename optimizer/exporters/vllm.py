"""vLLM: a configuration file for each replica group, and for each server a script that starts its replicas."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from catalog import Catalog
from optimizer.exporters.base import (
    Export,
    NamedGroup,
    dns_labels,
    finished,
    header,
    one_line,
    predicted_groups,
    servers_of,
)
from optimizer.exporters.vllm_settings import vllm_settings, weights_of
from optimizer.topology import Replica, Topology
from optimizer.yaml_text import block_yaml

FIRST_PORT = 8000
"""Of the first replica on a server, and vLLM's default; the others follow."""
FIRST_MASTER_PORT = 29501
"""vLLM's default of `--master-port`; each replica over several servers has its own."""


@dataclass(frozen=True, slots=True)
class _Start:
    """One `vllm serve` on one server: a replica, or its part there."""

    named: NamedGroup
    replica: Replica
    server: str
    gpus: tuple[int, ...]
    """In vLLM's rank order: data parallel outermost, then pipeline, then tensor parallel."""
    node_rank: int
    servers: tuple[str, ...]
    """All servers of the replica, in the order of its stages."""


def render(topology: Topology) -> Export:
    """`vllm-GROUP.yaml` and `vllm-SERVER.sh`; run each script on its server, beside the configuration files."""
    groups = predicted_groups(topology, "vllm")
    left_out = {named.name: reason for named in groups if (reason := _cannot(named))}
    started = [named for named in groups if named.name not in left_out]
    files = {f"vllm-{named.name}.yaml": _configuration(named, topology) for named in started}
    on_server: dict[str, list[_Start]] = {}
    for start in (start for named in started for start in _starts(named)):
        on_server.setdefault(start.server, []).append(start)
    spanning = [replica.id for named in started for replica in named.replicas if named.n_servers > 1]
    master_ports = {replica: FIRST_MASTER_PORT + position for position, replica in enumerate(spanning)}
    labels = _server_labels(topology)
    for server in topology.document.servers:
        if here := on_server.get(server.id):
            files[f"vllm-{labels[server.id]}.sh"] = _script(here, master_ports, labels, topology)
    return finished(files, left_out.values(), "vllm")


def gpus_in_rank_order(replica: Replica, server: str) -> tuple[int, ...]:
    """A replica's GPUs on one server in the order of vLLM's ranks, where data parallel ranks come outermost."""
    tp, dp = replica.tp or 1, replica.dp or 1
    return tuple(
        stage.ranks[data * tp + tensor].gpu
        for data in range(dp)
        for stage in replica.stages
        if stage.ranks[0].server == server
        for tensor in range(tp)
    )


def checkpoint_variable(named: NamedGroup) -> str:
    """Environment variable that names the checkpoint of a group whose format no published one is in."""
    return f"CHECKPOINT_{named.name.upper().replace('-', '_')}"


def checkpoint_hint(named: NamedGroup, catalog: Catalog) -> str:
    """What the variable must name, in characters that no shell and no Compose file gives a meaning to."""
    needs = weights_of(named.group, catalog).needs
    return re.sub(r"[^A-Za-z0-9 ._/-]", "_", one_line(f"set it to {needs}"))


def _cannot(named: NamedGroup) -> str:
    """Why vLLM cannot be started for this group; empty when it can."""
    group = named.group
    if group.engine != "vllm":
        return f"{named.workload}: runs on {group.engine}, not on vllm"
    n_servers = named.n_servers
    if n_servers > 1 and (group.dp or 1) > 1:
        return f"{named.workload}: dp {group.dp} over {n_servers} servers needs a start of its own for each rank"
    if n_servers > 1 and (group.pp or 1) % n_servers:
        return f"{named.workload}: vLLM wants equal shares, and pp {group.pp} is not even on {n_servers} servers"
    return ""


def _starts(named: NamedGroup) -> Iterator[_Start]:
    for replica in named.replicas:
        servers = servers_of(replica)
        for node_rank, server in enumerate(servers):
            yield _Start(named, replica, server, gpus_in_rank_order(replica, server), node_rank, servers)


def _configuration(named: NamedGroup, topology: Topology) -> str:
    group = named.group
    lines = [f"{named.workload} on {group.offer}: replicas {group.replicas}, GPUs of each {group.gpus_per_replica}"]
    if needs := weights_of(group, topology.catalog).needs:
        lines.append(f"No `model` here: set {checkpoint_variable(named)} to {needs}")
    return header(topology, *lines) + block_yaml(vllm_settings(named.group, topology.catalog))


def _script(here: list[_Start], master_ports: dict[str, int], labels: dict[str, str], topology: Topology) -> str:
    """Starts every replica of a server; when one of them ends, all are stopped and the script ends as it did."""
    lines = []
    for position, start in enumerate(here):
        words = [f"CUDA_VISIBLE_DEVICES={','.join(map(str, start.gpus))}", "vllm serve"]
        if weights_of(start.named.group, topology.catalog).checkpoint is None:
            words.append(_required(checkpoint_variable(start.named), checkpoint_hint(start.named, topology.catalog)))
        words.append(f"--config vllm-{start.named.name}.yaml")
        if start.node_rank == 0:
            words.append(f"--port {FIRST_PORT + position}")
        if len(start.servers) > 1:
            head = labels[start.servers[0]]
            address = _required(f"ADDRESS_{head.upper().replace('-', '_')}", f"set it to the address of server {head}")
            words.append(f"--nnodes {len(start.servers)} --node-rank {start.node_rank} --master-addr {address}")
            words.append(f"--master-port {master_ports[start.replica.id]}")
            words += ["--headless"] * (start.node_rank > 0)
        lines.append(f"{' '.join(words)} &  # {one_line(start.replica.id)}")
    top = header(topology, f"server {here[0].server}: run this there, beside the configuration files that it names")
    return "\n".join(
        [
            "#!/usr/bin/env bash",
            top + "set -euo pipefail",
            'cd "$(dirname "$0")"',
            "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT",
            *lines,
            "wait -n",
            "",
        ]
    )


def _required(variable: str, hint: str) -> str:
    return f'"${{{variable}:?{hint}}}"'


def _server_labels(topology: Topology) -> dict[str, str]:
    ids = [server.id for server in topology.document.servers]
    return dict(zip(ids, dns_labels(ids), strict=True))
