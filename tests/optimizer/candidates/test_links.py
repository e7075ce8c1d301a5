"""What an offer says of links reaches the speed of replicas, and the plan is verified with the same links."""

from __future__ import annotations

from typing import Any

import pytest

from catalog import Catalog
from optimizer import load_scenario, optimize, verify
from optimizer.layout import ReplicaGroup


def workload(tp: int, pp: int, batch: int = 16) -> dict[str, Any]:
    return {
        "model": "Qwen/Qwen3-32B",
        "requests": "0.2/s",
        "input_tokens": 1000,
        "output_tokens": 200,
        "slo": "throughput",
        "weight_dtypes": ["bf16"],
        "kv_cache_dtypes": ["auto"],
        "tp": [tp],
        "pp": [pp],
        "max_batch_size": [batch],
    }


def planned(catalog: Catalog, tp: int, pp: int, batch: int = 16, **offer: Any) -> ReplicaGroup:
    """The replica group of a sound plan on one offer."""
    box = {"gpu": "h100-sxm", "gpus_per_server": 8, "rent": {"price": "$2/gpu/h"}} | offer
    given = {"name": "links", "workloads": {"chat": workload(tp, pp, batch)}, "inventory": {"box": box}}
    scenario = load_scenario(given, catalog)
    layout = optimize(scenario, catalog)
    assert verify(layout, scenario, catalog) == []
    ((group,),) = (planned.replica_groups for planned in layout.workloads)
    return group


def tpot_ms(catalog: Catalog, tp: int, pp: int, batch: int = 16, **offer: Any) -> float:
    group = planned(catalog, tp, pp, batch, **offer)
    assert group.tpot_ms is not None
    return group.tpot_ms["mean"]


def test_ranks_beyond_the_fast_link_talk_over_pcie(catalog: Catalog) -> None:
    # NVLink joins all eight cards of the board; a server that joins them in pairs leaves four ranks on PCIe.
    joined, pairs, none = (tpot_ms(catalog, 4, 1, link_domain=domain) for domain in (8, 2, 1))
    assert joined == tpot_ms(catalog, 4, 1)
    assert pairs == none > joined
    assert tpot_ms(catalog, 2, 1, link_domain=2) == tpot_ms(catalog, 2, 1)


def test_stages_inside_a_server_hand_over_faster_than_between_servers(catalog: Catalog) -> None:
    inside, between = (tpot_ms(catalog, 1, 2, gpus_per_server=size) for size in (2, 1))
    assert between > inside


def test_a_faster_network_shortens_the_hand_over_between_servers_alone(catalog: Catalog) -> None:
    slow, fast = (tpot_ms(catalog, 1, 2, gpus_per_server=1, network=n) for n in ("10Gbit/s", "400Gbit/s"))
    assert slow > fast
    assert tpot_ms(catalog, 1, 2, gpus_per_server=2, network="10Gbit/s") == tpot_ms(catalog, 1, 2, gpus_per_server=2)


def test_offers_of_one_card_are_rated_each_by_its_links(catalog: Catalog) -> None:
    """The cheaper boxes have no links: a target that only linked cards hold takes the plan to the dearer ones."""
    # one request at a time: fewer of them make no token come sooner
    linked, bare = tpot_ms(catalog, 4, 1, batch=1), tpot_ms(catalog, 4, 1, batch=1, link_domain=1)
    offers = {
        "bare": {"gpu": "h100-sxm", "gpus_per_server": 4, "link_domain": 1, "rent": {"price": "$1/gpu/h"}},
        "linked": {"gpu": "h100-sxm", "gpus_per_server": 4, "rent": {"price": "$2/gpu/h"}},
    }
    chosen = []
    for target_ms in (2 * bare, (linked + bare) / 2):
        chat = workload(4, 1, batch=1) | {"slo": {"tpot_mean": f"{target_ms:.3f}ms"}}
        scenario = load_scenario({"name": "two", "workloads": {"chat": chat}, "inventory": offers}, catalog)
        layout = optimize(scenario, catalog)
        assert verify(layout, scenario, catalog) == []
        chosen += [row.offer for row in layout.servers]
    assert chosen == ["bare", "linked"]


@pytest.mark.parametrize("size", [1, 2])
def test_a_pipeline_over_servers_is_placed_as_it_was_rated(size: int, catalog: Catalog) -> None:
    group = planned(catalog, 1, 2, gpus_per_server=size)
    assert len(set(group.placement[0].servers)) == 2 // size
