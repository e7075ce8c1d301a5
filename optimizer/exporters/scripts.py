"""Start scripts: for each server one that starts its replicas, and where the engine reads one a configuration file."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from optimizer.exporters.base import (
    Export,
    NamedGroup,
    cannot_join_servers,
    chosen,
    dns_labels,
    finished,
    header,
    one_line,
    servers_of,
)
from optimizer.exporters.engines import DIALECTS, Node, Share, Start
from optimizer.topology import Replica, Topology
from optimizer.yaml_text import block_yaml

FIRST_PORT = 8000
"""Of the first replica on a server, and vLLM's default; the others follow."""
FIRST_JOINING_PORT = 29501
"""vLLM's default of `--master-port`; each replica over several servers has its own."""

Configuration = Callable[[Start], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class _Begin:
    """One start on one server: a replica, or its part there."""

    named: NamedGroup
    replica: Replica
    gpus: tuple[int, ...]
    node_rank: int
    servers: tuple[str, ...]
    """All servers of the replica, in the order of its stages; where these differ, one for each stage."""

    @property
    def server(self) -> str:
        return self.servers[self.node_rank]


def render_scripts(topology: Topology, engine: str, configuration: Configuration | None) -> Export:
    """`ENGINE-SERVER.sh`, and `ENGINE-GROUP.yaml` where the engine reads its settings from a file."""

    def cannot(named: NamedGroup) -> str:
        if named.start.engine != engine:
            return f"runs on {named.start.engine}, not on {engine}"
        return "" if named.group.stages else cannot_join_servers(named, by_script=True)

    joins_offers = DIALECTS[engine].layers_words is not None
    started, left_out = chosen(topology, engine, cannot, joins_offers=joins_offers)
    files = {}
    if configuration is not None:
        files = {f"{engine}-{named.name}.yaml": _settings_file(named, topology, configuration) for named in started}
    on_server: dict[str, list[_Begin]] = {}
    for begin in (begin for named in started for begin in _begins(named)):
        on_server.setdefault(begin.server, []).append(begin)
    spanning = [replica.id for named in started for replica in named.replicas if named.n_servers > 1]
    ports = {replica: FIRST_JOINING_PORT + position for position, replica in enumerate(spanning)}
    ids = [server.id for server in topology.document.servers]
    labels = dict(zip(ids, dns_labels(ids), strict=True))
    for server in topology.document.servers:
        if here := on_server.get(server.id):
            commands = [
                _command(begin, FIRST_PORT + position, ports, labels, configuration)
                for position, begin in enumerate(here)
            ]
            lines = [f"{line} &  # {one_line(begin.replica.id)}" for line, begin in zip(commands, here, strict=True)]
            beside = ", beside the configuration files that it names" if configuration else ""
            top = header(topology, f"server {server.id}: run this there{beside}")
            files[f"{engine}-{labels[server.id]}.sh"] = _script(top, lines)
    return finished(files, left_out, engine, started)


def checkpoint_variable(named: NamedGroup) -> str:
    """Environment variable that names the checkpoint of a group whose format no published one is in."""
    return f"CHECKPOINT_{named.name.upper().replace('-', '_')}"


def checkpoint_hint(named: NamedGroup) -> str:
    """What the variable must name, in characters that no shell and no Compose file gives a meaning to."""
    return re.sub(r"[^A-Za-z0-9 ._/-]", "_", one_line(f"set it to {named.start.weights.needs}"))


def _begins(named: NamedGroup) -> Iterator[_Begin]:
    for replica in named.replicas:
        if named.group.stages is not None:  # servers of unlike GPU counts join stage by stage
            at = tuple(stage.ranks[0].server for stage in replica.stages)
            for stage in replica.stages:
                yield _Begin(named, replica, tuple(rank.gpu for rank in stage.ranks), stage.stage, at)
            continue
        servers = servers_of(replica)
        alone = named.start.dialect.start_over_servers is not None  # the first server starts what runs on the others
        for node_rank, server in enumerate(servers[:1] if alone else servers):
            gpus = named.start.dialect.gpus_in_rank_order(replica, server)
            yield _Begin(named, replica, gpus, node_rank, servers)


def _settings_file(named: NamedGroup, topology: Topology, configuration: Configuration) -> str:
    group, start = named.group, named.start
    lines = [f"{named.workload} on {group.offer}: replicas {group.replicas}, GPUs of each {group.gpus_per_replica}"]
    lines += [f"stage on {s.offer}: {s.tp} × {s.gpu}, layers {s.layers[0]}-{s.layers[1]}" for s in group.stages or ()]
    if start.weights.needs:
        lines.append(f"No `model` here: set {checkpoint_variable(named)} to {start.weights.needs}")
    return header(topology, *lines) + block_yaml(dict(configuration(start)))


def _command(
    begin: _Begin, port: int, ports: Mapping[str, int], labels: Mapping[str, str], configuration: Configuration | None
) -> str:
    named, start = begin.named, begin.named.start
    words = [*start.dialect.program, *_checkpoint(named, in_file=configuration is not None)]
    if configuration is not None:
        words += ["--config", f"{start.engine}-{named.name}.yaml"]
    else:
        words += map(shlex.quote, start.options)
    if begin.node_rank == 0:
        words += start.dialect.listen_words(port)
    if len(begin.servers) > 1 and start.dialect.start_over_servers is not None:
        gpus_of = start.dialect.gpus_in_rank_order
        shares = [Share(_address(labels[server]), gpus_of(begin.replica, server)) for server in begin.servers]
        return " ".join(start.dialect.start_over_servers(shares, words))
    if len(begin.servers) > 1:
        assert start.dialect.node_words is not None, "left out before"
        node = Node(
            nodes=str(len(begin.servers)),
            rank=str(begin.node_rank),
            address=_address(labels[begin.servers[0]]),
            port=ports[begin.replica.id],
            follows=begin.node_rank > 0,
        )
        words += start.dialect.node_words(node)
    layers = [stage.layers[1] - stage.layers[0] + 1 for stage in named.group.stages or ()]
    before = start.dialect.layers_words(layers) if layers and start.dialect.layers_words is not None else ()
    return " ".join([*before, f"CUDA_VISIBLE_DEVICES={','.join(map(str, begin.gpus))}", *words])


def _address(server_label: str) -> str:
    """Variable that must hold the address of a server."""
    return f'"${{ADDRESS_{server_label.upper().replace("-", "_")}:?set it to the address of server {server_label}}}"'


def _checkpoint(named: NamedGroup, in_file: bool) -> list[str]:
    """Words for the checkpoint, none when the configuration file names it."""
    dialect, known = named.start.dialect, named.start.weights.checkpoint
    if known is None:
        required = f'"${{{checkpoint_variable(named)}:?{checkpoint_hint(named)}}}"'
        return [required if word == "CHECKPOINT" else word for word in dialect.model_words("CHECKPOINT")]
    return [] if in_file and dialect.model_key else [shlex.quote(word) for word in dialect.model_words(known)]


def _script(top: str, lines: list[str]) -> str:
    """Runs all lines at once; when one of them ends, all are stopped and the script ends as it did."""
    body = [
        "#!/usr/bin/env bash",
        top + "set -euo pipefail",
        'cd "$(dirname "$0")"',
        "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT",
        *lines,
        "wait -n",
        "",
    ]
    return "\n".join(body)
