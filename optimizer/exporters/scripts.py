"""Start scripts: for each server one that starts its replicas, and where the engine reads one a configuration file."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from optimizer.exporters.engines import Loan, Node, Share, Start
from optimizer.scenario.pipelines import ENGINES_OF_UNEQUAL_STAGES
from optimizer.topology import Replica, Topology
from optimizer.yaml_text import block_yaml

FIRST_PORT = 8000
"""Of the first replica on a server, and vLLM's default; the others follow."""
FIRST_JOINING_PORT = 29501
"""vLLM's default of `--master-port`; each replica over several servers has its own."""

AWAIT = 'await() { until (: > "/dev/tcp/$1/$2") 2>/dev/null; do sleep 1; done; }'
"""Waits for what another server lends: which of them starts first does not matter."""

Configuration = Callable[[Start], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class _Begin:
    """One start on one server: a replica, its part there, or what is lent to it."""

    named: NamedGroup
    replica: Replica
    gpus: tuple[int, ...]
    node_rank: int
    servers: tuple[str, ...]
    """All servers of the replica, in the order of its stages; where these differ, one for each stage. Where others lend
    to one, that one is the last."""

    @property
    def server(self) -> str:
        return self.servers[self.node_rank]

    @property
    def lends(self) -> bool:
        return self.named.start.dialect.lend_words is not None and self.server != self.servers[-1]


def render_scripts(topology: Topology, engine: str, configuration: Configuration | None) -> Export:
    """`ENGINE-SERVER.sh`, and `ENGINE-GROUP.yaml` where the engine reads its settings from a file."""

    def cannot(named: NamedGroup) -> str:
        if named.start.engine != engine:
            return f"runs on {named.start.engine}, not on {engine}"
        return "" if named.group.stages else cannot_join_servers(named, by_script=True)

    joins_offers = engine in ENGINES_OF_UNEQUAL_STAGES
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
    dialect = named.start.dialect
    for replica in named.replicas:
        if dialect.lend_words is not None:
            own = replica.stages[-1].ranks[0].server  # its GPUs hold the output matrix, so that logits stay there
            servers = (*(server for server in servers_of(replica) if server != own), own)
            for position, server in enumerate(servers):
                yield _Begin(named, replica, dialect.gpus_in_rank_order(replica, server), position, servers)
            continue
        if named.group.stages is not None:  # servers of unlike GPU counts join stage by stage
            at = tuple(stage.ranks[0].server for stage in replica.stages)
            for stage in replica.stages:
                yield _Begin(named, replica, tuple(rank.gpu for rank in stage.ranks), stage.stage, at)
            continue
        servers = servers_of(replica)
        alone = dialect.start_over_servers is not None  # the first server starts what runs on the others
        for node_rank, server in enumerate(servers[:1] if alone else servers):
            gpus = dialect.gpus_in_rank_order(replica, server)
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
    if start.dialect.lend_words is not None and len(begin.servers) > 1:
        return _lent_or_borrowed(begin, [*words, *start.dialect.listen_words(port)], ports, labels)
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
    said = start.dialect.layers_environment(start.planned.layers) if named.group.stages else {}
    return " ".join([*(f"{name}={value}" for name, value in said.items()), _visible(begin), *words])


def _lent_or_borrowed(begin: _Begin, words: Sequence[str], ports: Mapping[str, int], labels: Mapping[str, str]) -> str:
    """A command that lends a server's GPUs to a replica, or one that waits for what is lent and runs the replica."""
    start, port = begin.named.start, ports[begin.replica.id]
    assert start.dialect.lend_words is not None
    assert start.dialect.borrow_words is not None
    if begin.lends:
        return " ".join([_visible(begin), *start.dialect.lend_words(start.planned, len(begin.gpus), port)])
    lenders = [_address(labels[server]) for server in begin.servers[:-1]]
    gpus = [start.dialect.gpus_in_rank_order(begin.replica, server) for server in begin.servers]
    ranks = (rank for stage in begin.replica.stages for rank in stage.ranks)
    of_stages = ((begin.servers.index(rank.server), rank.gpu) for rank in ranks)
    loan = Loan(
        endpoints=tuple(f"{address}:{port}" for address in lenders),
        n_gpus=tuple(map(len, gpus[:-1])),
        of_stages=tuple((lender, gpus[lender].index(gpu)) for lender, gpu in of_stages),
    )
    waits = (f"await {address} {port};" for address in lenders)
    run = ["exec", "env", _visible(begin), *words, *start.dialect.borrow_words(start.planned, loan)]
    return " ".join(["{", *waits, *run, ";", "}"])


def _visible(begin: _Begin) -> str:
    return f"CUDA_VISIBLE_DEVICES={','.join(map(str, begin.gpus))}"


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
        *([AWAIT] if any(line.startswith("{ await") for line in lines) else []),
        *lines,
        "wait -n",
        "",
    ]
    return "\n".join(body)
