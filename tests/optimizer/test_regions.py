"""Workloads are served where they may be, and the way there is part of their latency."""

from __future__ import annotations

from typing import Any

import pytest
from measured import rented, scenario, workload

from catalog import Catalog
from optimizer import load_scenario, optimize, verify
from optimizer.errors import InputError
from optimizer.layout import Layout

OFFERS = {
    "here": rented("l40s", 1, 2.0) | {"region": "eu-west"},
    "there": rented("l40s", 1, 1.0) | {"region": "us-east"},
}
CHAT: dict[str, Any] = {
    "model": "Qwen/Qwen3-8B",
    "requests": "1/s",
    "input_tokens": 500,
    "output_tokens": 100,
    "slo": {"ttft_p95": "600ms", "tpot_p95": "80ms"},
    "region": "eu-west",
}


def predicted(round_trip: str, **more: Any) -> dict[str, Any]:
    """A workload of users in eu-west, on servers there and cheaper ones over the ocean."""
    return {
        "name": "regions",
        "workloads": {"chat": CHAT | more},
        "inventory": OFFERS,
        "region_latency": {"us-east": {"eu-west": round_trip}},
    }


def solved(keys: dict[str, Any], catalog: Catalog) -> Layout:
    loaded = load_scenario(keys, catalog)
    layout = optimize(loaded, catalog, gap=0.0)
    assert layout.status == "optimal"
    assert verify(layout, loaded, catalog) == []
    return layout


def offers_of(layout: Layout) -> set[str]:
    return {group.offer for one in layout.workloads for group in one.replica_groups}


def test_a_workload_is_served_only_in_its_regions(catalog: Catalog) -> None:
    both = {"free": workload(1, [("l40s", 1, 1.0)]), "bound": workload(1, [("l40s", 1, 1.0)], residency=["eu-west"])}
    layout = solved(scenario(both, OFFERS), catalog)
    assert {one.name: one.replica_groups[0].offer for one in layout.workloads} == {"free": "there", "bound": "here"}


def test_a_replica_outside_of_the_residency_does_not_verify(catalog: Catalog) -> None:
    free = scenario({"a": workload(1, [("l40s", 1, 1.0)])}, OFFERS)
    bound = scenario({"a": workload(1, [("l40s", 1, 1.0)], residency=["eu-west"])}, OFFERS)
    loaded = load_scenario(bound, catalog)
    layout = solved(free, catalog).model_copy(update={"inputs": loaded.canonical(), "scenario_sha256": loaded.sha256})
    assert verify(layout, loaded, catalog) == ["a on there: there is in us-east, residency is eu-west"]


def test_the_network_takes_its_time_from_the_first_token(catalog: Catalog) -> None:
    near = solved(predicted("1ms"), catalog)
    assert offers_of(near) == {"there"}
    (group,) = near.workloads[0].replica_groups
    assert group.ttft_ms is not None
    assert group.ttft_ms["p95"] <= 599
    # With 590 ms on the way 10 ms are left, in which no server answers; at home all 600 ms are.
    assert offers_of(solved(predicted("590ms"), catalog)) == {"here"}


def test_the_time_on_the_way_never_makes_a_plan_cheaper(catalog: Catalog) -> None:
    costs = [solved(predicted(f"{ms}ms", requests="40/s"), catalog).cost for ms in (0, 200, 400, 500)]
    usd = [cost.usd_per_hour for cost in costs if cost is not None]
    assert usd == sorted(usd)


def test_a_plan_that_forgets_the_way_does_not_verify(catalog: Catalog) -> None:
    near = solved(predicted("0ms", requests="40/s"), catalog)
    far = load_scenario(predicted("590ms", requests="40/s"), catalog)
    layout = near.model_copy(update={"inputs": far.canonical(), "scenario_sha256": far.sha256})
    assert any("ttft_p95" in problem for problem in verify(layout, far, catalog))


def test_an_instance_brings_its_region(catalog: Catalog) -> None:
    keys = predicted("80ms") | {"inventory": {"p5": {"instance": "aws/us-east-1/p5.48xlarge"}}}
    keys["workloads"] = {"chat": CHAT | {"region": "us-east-1"}}
    assert load_scenario(keys, catalog).inventory["p5"].region == "us-east-1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"workloads": {"chat": CHAT | {"residency": ["eu-wst"]}}}, "no offer is in region 'eu-wst'; did you mean"),
        (
            {"region_latency": {"eu-west": {"asia": "1ms"}}},
            "no round trip from eu-west to us-east, the region of offer",
        ),
        ({"inventory": {"x": rented("l40s", 1, 2.0)}}, "no round trip from eu-west to no region, as of offer x"),
    ],
)
def test_what_is_not_known_of_regions_is_asked_for(change: dict[str, Any], message: str, catalog: Catalog) -> None:
    with pytest.raises(InputError) as caught:
        load_scenario(predicted("80ms") | change, catalog)
    assert message in str(caught.value)
