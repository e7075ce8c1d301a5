"""Every rank of a plan gets a GPU of its own, and the topology file says where."""

from __future__ import annotations

import jsonschema
import networkx as nx
import pytest
import yaml
from hand_built import group, measured_group, plan

from catalog import Catalog
from optimizer.errors import InputError
from optimizer.layout import Layout
from optimizer.plans import plan_sha256
from optimizer.topology import (
    Topology,
    build_topology,
    contradictions,
    parse_topology,
    stage_layers,
    topology_schema,
    topology_yaml,
)


@pytest.fixture
def two_workloads(catalog: Catalog) -> Layout:
    """giant: 16 GPUs over two servers; chat: two replicas of 2 GPUs and one of 1 on a third server of another term."""
    return plan(
        catalog,
        {
            "giant": [group([(0, 1)], model="Qwen/Qwen3-235B-A22B", weight_dtype="bf16", tp=8, pp=2)],
            "chat": [group([(2,)], tp=1), group([(2,), (2,)], tp=2)],
        },
        [("h100-node", "own", 2), ("h100-node", "rent", 1)],
    )


def gpus_of(topology: Topology, replica: str) -> list[tuple[str, int]]:
    found = next(one for one in topology.document.replicas if one.id == replica)
    return [(rank.server, rank.gpu) for stage in found.stages for rank in stage.ranks]


def test_servers_stand_in_the_order_of_the_plan_with_their_terms(two_workloads: Layout, catalog: Catalog) -> None:
    servers = build_topology(two_workloads, catalog).document.servers
    assert [(server.id, server.term, server.gpu) for server in servers] == [
        ("h100-node/0", "own", "h100-sxm"),
        ("h100-node/1", "own", "h100-sxm"),
        ("h100-node/2", "rent", "h100-sxm"),
    ]


def test_larger_parts_come_first_on_a_server_and_idle_gpus_are_null(two_workloads: Layout, catalog: Catalog) -> None:
    topology = build_topology(two_workloads, catalog)
    # chat/0 has 1 GPU and stands first in the plan; chat/1 and chat/2 have 2 and stand first on the server
    assert gpus_of(topology, "chat/1") == [("h100-node/2", 0), ("h100-node/2", 1)]
    assert gpus_of(topology, "chat/2") == [("h100-node/2", 2), ("h100-node/2", 3)]
    assert gpus_of(topology, "chat/0") == [("h100-node/2", 4)]
    assert topology.document.servers[2].gpus[5:] == (None, None, None)


def test_a_stage_stays_on_its_server_when_the_replica_does_not(two_workloads: Layout, catalog: Catalog) -> None:
    giant = build_topology(two_workloads, catalog).document.replicas[0]
    assert [{rank.server for rank in stage.ranks} for stage in giant.stages] == [{"h100-node/0"}, {"h100-node/1"}]
    assert [stage.layers for stage in giant.stages] == [(0, 46), (47, 93)]  # Qwen3-235B-A22B has 94 layers


def test_layers_left_over_go_to_the_stages_before_the_last() -> None:
    # 10 layers over 4 stages: 2 each and 2 left over, for the third and the second (vLLM's get_pp_indices)
    assert stage_layers(10, 4) == ((0, 1), (2, 4), (5, 7), (8, 9))
    assert stage_layers(64, 1) == ((0, 63),)


def test_pipeline_neighbours_are_linked_by_what_lies_between_them(catalog: Catalog) -> None:
    layout = plan(
        catalog,
        {
            "within": [group([(0,)], tp=4, pp=2)],
            "across": [group([(1, 2)], tp=8, pp=2)],
            "cards": [group([(0,)], offer="l40s-box", weight_dtype="awq-int4", tp=1, pp=2)],
            "boxes": [group([(1, 2)], offer="l40s-box", weight_dtype="awq-int4", tp=4, pp=2)],
        },
        [("h100-node", "rent", 3), ("l40s-box", "rent", 3)],
    )
    links = {link.between: (link.kind, link.gb_per_s) for link in build_topology(layout, catalog).document.links}
    assert links == {
        ("within/0/0", "within/0/1"): ("nvlink", catalog.gpus["h100-sxm"].link_gb_per_s),
        ("across/0/0", "across/0/1"): ("network", catalog.calibration.network_gb_per_s),  # not stated
        ("cards/0/0", "cards/0/1"): ("pcie", catalog.gpus["l40s"].pcie_gb_per_s),
        ("boxes/0/0", "boxes/0/1"): ("network", 25.0),  # 200 Gbit/s / 8
    }


def test_a_measured_replica_is_placed_with_its_settings_null(catalog: Catalog) -> None:
    layout = plan(catalog, {"chat": [measured_group([(0,), (0,)], gpus=4)]}, [("h100-node", "rent", 1)])
    replica = build_topology(layout, catalog).document.replicas[1]
    assert (replica.model, replica.engine, replica.tp, replica.max_batch_size) == (None, None, None, None)
    assert [(stage.stage, stage.layers, len(stage.ranks)) for stage in replica.stages] == [(0, None, 4)]


def test_the_yaml_reads_back_to_the_same_document(two_workloads: Layout, catalog: Catalog) -> None:
    document = build_topology(two_workloads, catalog).document
    text = topology_yaml(document)
    assert parse_topology(text) == document
    assert topology_yaml(parse_topology(text)) == text
    assert document.plan_sha256 == plan_sha256(two_workloads)


def test_each_server_stage_and_link_stands_on_a_line_of_its_own(two_workloads: Layout, catalog: Catalog) -> None:
    lines = topology_yaml(build_topology(two_workloads, catalog).document).splitlines()
    # 3 servers, 2 + 1 + 1 + 1 stages, 1 link; and each replica's 13 settings on lines of their own
    assert len([line for line in lines if line.lstrip().startswith("- {")]) == 3 + 5 + 1
    assert lines[:2] == ["kind: Topology", "scenario: hand-built"]


def test_the_schema_accepts_the_yaml(two_workloads: Layout, catalog: Catalog) -> None:
    schema = topology_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    keys = yaml.safe_load(topology_yaml(build_topology(two_workloads, catalog).document))
    judge = jsonschema.Draft202012Validator(schema)
    assert list(judge.iter_errors(keys)) == []
    assert list(judge.iter_errors({**keys, "colour": "red"}))


def test_the_graph_holds_servers_gpus_replicas_stages_and_ranks(two_workloads: Layout, catalog: Catalog) -> None:
    graph = build_topology(two_workloads, catalog).graph()
    kinds = [node[0] for node in graph]
    # 3 servers of 8 GPUs; 4 replicas with 2 + 1 + 1 + 1 stages and 16 + 1 + 2 + 2 ranks
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "server": 3,
        "gpu": 24,
        "replica": 4,
        "stage": 5,
        "rank": 21,
    }
    assert nx.is_directed_acyclic_graph(graph)
    reached = {node for node in nx.descendants(graph, ("replica", "giant/0")) if node[0] == "gpu"}
    assert reached == {("gpu", f"h100-node/{server}", gpu) for server in (0, 1) for gpu in range(8)}
    assert graph.edges[("stage", "giant/0", 0), ("stage", "giant/0", 1)]["kind"] == "network"


def test_a_plan_without_servers_has_no_topology(two_workloads: Layout, catalog: Catalog) -> None:
    infeasible = two_workloads.model_copy(update={"status": "infeasible", "cost": None})
    with pytest.raises(InputError, match="the plan of hand-built is infeasible"):
        build_topology(infeasible, catalog)


@pytest.mark.parametrize(
    ("servers", "message"),
    [
        ([(0,), (0,), (0,)], "server h100-node/0 is given more replicas than it has GPUs for"),
        ([(0,), (1,)], "replica chat/1 is not placed on servers of h100-node"),
        ([(0,), ()], "replica chat/1 is not placed on servers of h100-node"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(
    servers: list[tuple[int, ...]], message: str, catalog: Catalog
) -> None:
    layout = plan(catalog, {"chat": [group(servers, tp=4)]}, [("h100-node", "rent", 1)])
    with pytest.raises(InputError, match=message):
        build_topology(layout, catalog)


def test_what_contradicts_itself_in_a_file_is_found(two_workloads: Layout, catalog: Catalog) -> None:
    text = topology_yaml(build_topology(two_workloads, catalog).document)
    with pytest.raises(InputError, match="GPU 0 of h100-node/2 is given to 2 ranks"):
        parse_topology(
            text.replace("{rank: 1, server: h100-node/2, gpu: 1}", "{rank: 1, server: h100-node/2, gpu: 0}", 1)
        )
    with pytest.raises(InputError, match="there is no GPU 9 in server h100-node/2"):
        parse_topology(
            text.replace("{rank: 1, server: h100-node/2, gpu: 1}", "{rank: 1, server: h100-node/2, gpu: 9}", 1)
        )
    with pytest.raises(InputError, match="stage 0 of replica chat/1 is split over h100-node/0, h100-node/2"):
        parse_topology(
            text.replace("{rank: 1, server: h100-node/2, gpu: 1}", "{rank: 1, server: h100-node/0, gpu: 1}", 1)
        )
    with pytest.raises(InputError, match="no link between giant/0/0 and giant/0/1"):
        parse_topology(text.replace("between: [giant/0/0, giant/0/1]", "between: [giant/0/0, chat/0/0]"))
    with pytest.raises(InputError, match="server h100-node/0 occurs 2 times"):
        parse_topology(text.replace("id: h100-node/1,", "id: h100-node/0,"))
    document = parse_topology(text)
    assert contradictions(document) == []


@pytest.mark.parametrize("text", ["", "kind: Plan\n", "[1, 2]\n"])
def test_what_is_no_topology_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="not a topology"):
        parse_topology(text)


def test_an_unknown_key_in_a_topology_is_refused(two_workloads: Layout, catalog: Catalog) -> None:
    text = topology_yaml(build_topology(two_workloads, catalog).document)
    with pytest.raises(InputError, match="topology is damaged: colour"):
        parse_topology(text + "colour: red\n")
