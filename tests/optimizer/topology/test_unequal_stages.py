"""Pipelines over several offers on servers: their stages, formats and links, and back from YAML."""

from __future__ import annotations

import pytest
from mixed_cards import L4, T4, mixed, workload

from catalog import Catalog
from optimizer import load_scenario, optimize
from optimizer.topology import Topology, build_topology, parse_topology, topology_yaml


@pytest.fixture(scope="module")
def topology(catalog: Catalog) -> Topology:
    """One replica of two stages, in two formats."""
    chat = workload(weight_dtypes=["fp16", "gptq-int4"], min_quality="99%", tp=[1], pp=[2])
    given = mixed({"chat": chat}, {"old": T4 | {"network": "10Gbit/s"}, "new": L4 | {"network": "25Gbit/s"}})
    return build_topology(optimize(load_scenario(given, catalog), catalog), catalog)


def test_each_stage_stands_on_a_server_of_its_offer(topology: Topology) -> None:
    (replica,) = topology.document.replicas
    ((group,),) = (plan.replica_groups for plan in topology.layout.workloads)
    for stage, planned in zip(replica.stages, group.stages or (), strict=True):
        assert [rank.server for rank in stage.ranks] == [f"{planned.offer}/0"]
        assert (stage.layers, stage.weight_dtype) == (planned.layers, planned.weight_dtype)
    assert {server.id: len([use for use in server.gpus if use]) for server in topology.document.servers} == {
        "old/0": 1,
        "new/0": 1,
    }


def test_they_are_linked_by_the_slower_network(topology: Topology) -> None:
    (link,) = topology.document.links
    assert (link.kind, link.gb_per_s) == ("network", 1.25)  # 10 Gbit/s


def test_it_survives_being_written(topology: Topology) -> None:
    assert parse_topology(topology_yaml(topology.document)) == topology.document


def test_stages_alike_in_format_do_not_say_it(catalog: Catalog) -> None:
    built = build_topology(optimize(load_scenario(mixed(), catalog), catalog), catalog)
    assert "weight_dtype: fp16" in topology_yaml(built.document)
    assert topology_yaml(built.document).count("weight_dtype") == 1  # of the replica
