"""Start scripts: for each server one that starts its replicas, and where the engine reads one a configuration file."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
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
)
from optimizer.exporters.engines import Loan, Share, Start
from optimizer.exporters.parts import Part, address_of, by_server, joining_ports
from optimizer.scenario.pipelines import ENGINES_OF_UNEQUAL_STAGES
from optimizer.topology import Topology
from optimizer.yaml_text import block_yaml

FIRST_PORT = 8000
"""Of the first replica on a server, and vLLM's default; the others follow."""
AWAIT = 'await() { until (: > "/dev/tcp/$1/$2") 2>/dev/null; do sleep 1; done; }'
"""Waits for what another server lends: which of them starts first does not matter."""

Configuration = Callable[[Start], Mapping[str, Any]]


def render_scripts(topology: Topology, engine: str, configuration: Configuration | None) -> Export:
    """`ENGINE-SERVER.sh`, and `ENGINE-GROUP.yaml` where the engine reads its settings from a file."""

    def cannot(named: NamedGroup) -> str:
        if named.start.engine != engine:
            return f"runs on {named.start.engine}, not on {engine}"
        return cannot_join_servers(named, by_script=True)

    started, left_out = chosen(topology, engine, cannot, joins_offers=ENGINES_OF_UNEQUAL_STAGES)
    files = {}
    if configuration is not None:
        files = {f"{engine}-{named.name}.yaml": _settings_file(named, topology, configuration) for named in started}
    on_server, ports = by_server(started), joining_ports(started)
    ids = [server.id for server in topology.document.servers]
    labels = dict(zip(ids, dns_labels(ids), strict=True))
    for server in topology.document.servers:
        if here := on_server.get(server.id):
            commands = [
                _command(part, FIRST_PORT + position, ports, labels, configuration)
                for position, part in enumerate(here)
            ]
            lines = [f"{line} &  # {one_line(part.replica.id)}" for line, part in zip(commands, here, strict=True)]
            beside = ", beside the configuration files that it names" if configuration else ""
            top = header(topology, f"server {server.id}: run this there{beside}")
            files[f"{engine}-{labels[server.id]}.sh"] = _script(top, lines)
    return finished(files, left_out, engine, started)


def checkpoint_variable(named: NamedGroup) -> str:
    """Environment variable that names the checkpoint of a group whose format no published one is in."""
    return f"CHECKPOINT_{named.name.upper().replace('-', '_')}"


def checkpoint_hint(named: NamedGroup) -> str:
    """What the variable must name, in characters that no shell and no Compose file gives a meaning to."""
    return re.sub(r"[^A-Za-z0-9 .,_/-]", "_", one_line(f"set it to {named.start.weights.needs}"))


def _settings_file(named: NamedGroup, topology: Topology, configuration: Configuration) -> str:
    group, start = named.group, named.start
    offers = " and ".join(dict.fromkeys(named.node_offers))
    lines = [f"{named.workload} on {offers}: replicas {group.replicas}, GPUs of each {group.gpus_per_replica}"]
    lines += [f"stage on {s.offer}: {s.tp} × {s.gpu}, layers {s.layers[0]}-{s.layers[1]}" for s in group.stages or ()]
    if start.weights.needs:
        lines.append(f"No `model` here: set {checkpoint_variable(named)} to {start.weights.needs}")
    return header(topology, *lines) + block_yaml(dict(configuration(start)))


def _command(
    part: Part, port: int, ports: Mapping[str, int], labels: Mapping[str, str], configuration: Configuration | None
) -> str:
    named, start = part.named, part.named.start
    words = [*start.dialect.program, *_checkpoint(named, in_file=configuration is not None)]
    if configuration is not None:
        words += ["--config", f"{start.engine}-{named.name}.yaml"]
    else:
        words += map(shlex.quote, start.options)
    if start.dialect.lend_words is not None and len(part.servers) > 1:
        return _lent_or_borrowed(part, [*words, *start.dialect.listen_words(port)], ports, labels)
    if part.node_rank == 0:
        words += start.dialect.listen_words(port)
    if len(part.servers) > 1 and start.dialect.start_over_servers is not None:
        gpus_of = start.dialect.gpus_in_rank_order
        shares = [Share(_address(labels[server]), gpus_of(part.replica, server)) for server in part.servers]
        return " ".join(start.dialect.start_over_servers(shares, words))
    if len(part.servers) > 1:
        assert start.dialect.node_words is not None, "left out before"
        words += start.dialect.node_words(part.node(labels, ports, quote='"'))
    return " ".join([*(f"{name}={value}" for name, value in part.environment.items()), _visible(part), *words])


def _lent_or_borrowed(part: Part, words: Sequence[str], ports: Mapping[str, int], labels: Mapping[str, str]) -> str:
    """A command that lends a server's GPUs to a replica, or one that waits for what is lent and runs the replica."""
    start, port = part.named.start, ports[part.replica.id]
    assert start.dialect.lend_words is not None
    assert start.dialect.borrow_words is not None
    if part.lends:
        return " ".join([_visible(part), *start.dialect.lend_words(start.planned, len(part.gpus), port)])
    lenders = [_address(labels[server]) for server in part.servers[:-1]]
    gpus = [start.dialect.gpus_in_rank_order(part.replica, server) for server in part.servers]
    ranks = (rank for stage in part.replica.stages for rank in stage.ranks)
    of_stages = ((part.servers.index(rank.server), rank.gpu) for rank in ranks)
    loan = Loan(
        endpoints=tuple(f"{address}:{port}" for address in lenders),
        n_gpus=tuple(map(len, gpus[:-1])),
        of_stages=tuple((lender, gpus[lender].index(gpu)) for lender, gpu in of_stages),
    )
    waits = (f"await {address} {port};" for address in lenders)
    run = ["exec", "env", _visible(part), *words, *start.dialect.borrow_words(start.planned, loan)]
    return " ".join(["{", *waits, *run, ";", "}"])


def _visible(part: Part) -> str:
    return f"CUDA_VISIBLE_DEVICES={','.join(map(str, part.gpus))}"


def _address(server_label: str) -> str:
    """Quoted, so that it stays one word."""
    return f'"{address_of(server_label)}"'


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
