"""The parts of replicas that are started one by one on servers, and how they find each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from optimizer.exporters.base import NamedGroup, servers_of
from optimizer.exporters.engines import DIALECTS, Node
from optimizer.scenario.pipelines import ENGINES_OF_UNEQUAL_STAGES
from optimizer.topology import Replica

NODES_OF_UNEQUAL_STAGES = tuple(
    engine for engine in ENGINES_OF_UNEQUAL_STAGES if DIALECTS[engine].node_words is not None
)
"""Engines of which each stage is a node that is started by itself, wherever it stands."""
FIRST_JOINING_PORT = 29501
"""vLLM's default of `--master-port`; each replica over several servers has its own."""


@dataclass(frozen=True, slots=True)
class Part:
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
        """Where it is started."""
        return self.servers[self.node_rank]

    @property
    def lends(self) -> bool:
        """Whether it only lends GPUs to the last one."""
        return self.named.start.dialect.lend_words is not None and self.server != self.servers[-1]

    @property
    def environment(self) -> dict[str, str]:
        """Variables that say how many layers each stage takes, where these differ."""
        start = self.named.start
        return dict(start.dialect.layers_environment(start.planned.layers)) if self.named.group.stages else {}

    def node(self, labels: Mapping[str, str], ports: Mapping[str, int], quote: str = "") -> Node:
        """Its part among several, with the address of the first of their servers as a variable in quotation marks."""
        return Node(
            nodes=str(len(self.servers)),
            rank=str(self.node_rank),
            address=f"{quote}{address_of(labels[self.servers[0]])}{quote}",
            port=ports[self.replica.id],
            follows=self.node_rank > 0,
        )


def parts_of(named: NamedGroup) -> Iterator[Part]:
    """All parts of a group that are started by themselves."""
    dialect = named.start.dialect
    for replica in named.replicas:
        if dialect.lend_words is not None:
            own = replica.stages[-1].ranks[0].server  # its GPUs hold the output matrix, so that logits stay there
            servers = (*(server for server in servers_of(replica) if server != own), own)
            for position, server in enumerate(servers):
                yield Part(named, replica, dialect.gpus_in_rank_order(replica, server), position, servers)
            continue
        if named.group.stages is not None:  # servers of unlike GPU counts join stage by stage
            at = tuple(stage.ranks[0].server for stage in replica.stages)
            for stage in replica.stages:
                yield Part(named, replica, tuple(rank.gpu for rank in stage.ranks), stage.stage, at)
            continue
        servers = servers_of(replica)
        alone = dialect.start_over_servers is not None  # the first server starts what runs on the others
        for node_rank, server in enumerate(servers[:1] if alone else servers):
            yield Part(named, replica, dialect.gpus_in_rank_order(replica, server), node_rank, servers)


def joining_ports(started: Iterable[NamedGroup]) -> dict[str, int]:
    """Replica over several servers -> the port at which its parts meet."""
    spanning = [replica.id for named in started for replica in named.replicas if named.n_servers > 1]
    return {replica: FIRST_JOINING_PORT + position for position, replica in enumerate(spanning)}


def by_server(started: Iterable[NamedGroup]) -> dict[str, list[Part]]:
    """Server -> what is started there."""
    found: dict[str, list[Part]] = {}
    for part in (part for named in started for part in parts_of(named)):
        found.setdefault(part.server, []).append(part)
    return found


def address_of(server_label: str) -> str:
    """Variable that must hold the address of a server, as shells and Compose files read it."""
    return f"${{ADDRESS_{server_label.upper().replace('-', '_')}:?set it to the address of server {server_label}}}"
