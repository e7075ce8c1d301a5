"""The topology as a networkx graph, and what a topology that contradicts itself gets wrong."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from optimizer.topology.document import TopologyDocument

if TYPE_CHECKING:
    import networkx as nx


def topology_graph(document: TopologyDocument) -> nx.DiGraph:
    """Servers hold GPUs; replicas hold stages, stages hold ranks; a rank runs on a GPU; a stage passes on to the next.

    Nodes are ("server", id), ("gpu", server, index), ("replica", id), ("stage", replica, stage) and ("rank", replica,
    stage, rank). Edges carry `relation`: `holds`, `runs_on`, or `passes_on` with the link's `kind` and `gb_per_s`.
    """
    import networkx as nx  # half a tenth of a second, only when a graph is asked for

    graph = nx.DiGraph(scenario=document.scenario, plan_sha256=document.plan_sha256)
    for server in document.servers:
        graph.add_node(("server", server.id), offer=server.offer, term=server.term)
        for index in range(len(server.gpus)):
            graph.add_node(("gpu", server.id, index), gpu=server.gpu)
            graph.add_edge(("server", server.id), ("gpu", server.id, index), relation="holds")
    for replica in document.replicas:
        graph.add_node(("replica", replica.id), workload=replica.workload, model=replica.model)
        for stage in replica.stages:
            stage_node = ("stage", replica.id, stage.stage)
            graph.add_node(stage_node, layers=stage.layers)
            graph.add_edge(("replica", replica.id), stage_node, relation="holds")
            for rank in stage.ranks:
                rank_node = ("rank", replica.id, stage.stage, rank.rank)
                graph.add_edge(stage_node, rank_node, relation="holds")
                graph.add_edge(rank_node, ("gpu", rank.server, rank.gpu), relation="runs_on")
    for link in document.links:
        ends = [("stage", *_stage_of(end)) for end in link.between]
        graph.add_edge(*ends, relation="passes_on", kind=link.kind, gb_per_s=link.gb_per_s)
    return graph


def contradictions(document: TopologyDocument) -> list[str]:
    """Ids that occur twice, GPUs that are not there or taken twice, split stages, links that join no neighbours."""
    found = [
        f"{what} {name} occurs {times} times"
        for what, names in (
            ("server", [server.id for server in document.servers]),
            ("replica", [replica.id for replica in document.replicas]),
        )
        for name, times in Counter(names).items()
        if times > 1
    ]
    graph = topology_graph(document)
    for node in graph:
        if node[0] == "gpu":
            _, server, index = node
            holders = [u for u, _, relation in graph.in_edges(node, data="relation") if relation == "holds"]
            users = [u for u, _, relation in graph.in_edges(node, data="relation") if relation == "runs_on"]
            if not holders:
                found.append(f"there is no GPU {index} in server {server}")
            if len(users) > 1:
                found.append(f"GPU {index} of {server} is given to {len(users)} ranks")
        elif node[0] == "stage":
            if not graph.nodes[node] or not graph.in_degree(node):
                found.append(f"there is no stage {node[2]} of replica {node[1]}")
            elif len(servers := {gpu[1] for rank in graph[node] for gpu in graph[rank] if gpu[0] == "gpu"}) > 1:
                found.append(f"stage {node[2]} of replica {node[1]} is split over {', '.join(sorted(servers))}")
    return found + _uses_that_differ(document) + _links_that_differ(document)


def _uses_that_differ(document: TopologyDocument) -> list[str]:
    """GPUs whose server says something else than the replica that runs there."""
    said = {
        (server.id, index): (use.replica, use.stage, use.rank)
        for server in document.servers
        for index, use in enumerate(server.gpus)
        if use is not None
    }
    claimed = {
        (rank.server, rank.gpu): (replica.id, stage.stage, rank.rank)
        for replica in document.replicas
        for stage in replica.stages
        for rank in stage.ranks
    }
    return [
        f"GPU {index} of {server}: the server lists {said.get((server, index), 'nothing')}, "
        f"the replicas say {claimed.get((server, index), 'nothing')}"
        for server, index in sorted(said.keys() | claimed.keys())
        if said.get((server, index)) != claimed.get((server, index))
    ]


def _links_that_differ(document: TopologyDocument) -> list[str]:
    """Neighbouring stages without a link, and links between others."""
    wanted = {
        (f"{replica.id}/{stage.stage}", f"{replica.id}/{stage.stage + 1}")
        for replica in document.replicas
        for stage in replica.stages[:-1]
    }
    given = {link.between for link in document.links}
    return [f"no link between {a} and {b}" for a, b in sorted(wanted - given)] + [
        f"{a} and {b} are linked, and are no neighbouring stages" for a, b in sorted(given - wanted)
    ]


def _stage_of(name: str) -> tuple[str, int]:
    """`assistant/0/1` is stage 1 of replica `assistant/0`; a name without a number is no stage of anything."""
    replica, _, stage = name.rpartition("/")
    return replica, int(stage) if stage.isdecimal() else -1
