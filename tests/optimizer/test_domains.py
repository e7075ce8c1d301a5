"""`spare: rack` and `spare: region`: what may fail as a whole, in numbers to be worked out by hand."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import pytest
from measured import rented, scenario, workload

from catalog import Catalog
from optimizer import load_scenario, optimize, verify
from optimizer.errors import InputError
from optimizer.layout import Layout
from optimizer.topology import build_topology, parse_topology, topology_yaml


def solved(given: dict[str, Any], catalog: Catalog) -> Layout:
    loaded = load_scenario(given, catalog)
    layout = optimize(loaded, catalog, gap=0.0)
    assert layout.status in ("optimal", "infeasible")
    assert verify(layout, loaded, catalog) == []
    return layout


def usd_per_hour(layout: Layout) -> float:
    return math.inf if layout.cost is None else layout.cost.usd_per_hour


def by_rack(layout: Layout) -> dict[str | None, int]:
    """Replicas in each rack."""
    found: dict[str | None, int] = {}
    for plan in layout.workloads:
        for group in plan.replica_groups:
            for place in group.placement:
                found[place.rack] = found.get(place.rack, 0) + 1
    return found


def single(rate: float, spare: str) -> dict[str, Any]:
    return workload(rate, [("l4", 1, 1.0)], spare=spare)


def test_replicas_are_spread_so_that_any_one_rack_may_fail(catalog: Catalog) -> None:
    # 4/s must be left. Two racks: 4 + 4; three: 2 + 2 + 2, of which any one leaves 4.
    two = rented("l4", 1, 1.0) | {"racks": {"a": 9, "b": 9}}
    three = rented("l4", 1, 1.0) | {"racks": {"a": 9, "b": 9, "c": 9}}
    assert by_rack(solved(scenario({"w": single(4, "rack")}, {"node": two}), catalog)) == {"a": 4, "b": 4}
    assert by_rack(solved(scenario({"w": single(4, "rack")}, {"node": three}), catalog)) == {"a": 2, "b": 2, "c": 2}


def test_a_rack_holds_only_so_many_servers(catalog: Catalog) -> None:
    # 4/s must be left whichever rack fails, and c holds one server: a and b need three each.
    node = rented("l4", 1, 1.0) | {"racks": {"a": 9, "b": 9, "c": 1}}
    placed = by_rack(solved(scenario({"w": single(4, "rack")}, {"node": node}), catalog))
    assert placed == {"a": 3, "b": 3, "c": 1}


def test_losing_a_server_of_a_rack_is_less_than_losing_the_rack(catalog: Catalog) -> None:
    node = rented("l4", 1, 1.0) | {"racks": {"a": 9, "b": 9}}
    costs = [
        usd_per_hour(solved(scenario({"w": single(4, spare)}, {"node": node}), catalog))
        for spare in ("none", "n+1", "rack")
    ]
    assert costs == pytest.approx([4, 5, 8])


def test_an_offer_that_names_no_racks_is_one(catalog: Catalog) -> None:
    # Either all stands twice, on both offers, or nowhere: the second offer must carry all alone.
    offers = {"near": rented("l4", 1, 1.0), "far": rented("l4", 1, 2.0)}
    layout = solved(scenario({"w": single(3, "rack")}, offers), catalog)
    assert usd_per_hour(layout) == pytest.approx(3 * 1 + 3 * 2)


def test_racks_of_one_name_are_one_rack_whichever_offer_names_them(catalog: Catalog) -> None:
    # Both offers stand in a alone, so that a's failure leaves nothing; with b in the second, b's servers are left.
    same = {"one": rented("l4", 1, 1.0) | {"racks": {"a": 9}}, "two": rented("l4", 1, 1.5) | {"racks": {"a": 9}}}
    assert solved(scenario({"w": single(2, "rack")}, same), catalog).status == "infeasible"
    other = same | {"two": rented("l4", 1, 1.5) | {"racks": {"a": 9, "b": 9}}}
    layout = solved(scenario({"w": single(2, "rack")}, other), catalog)
    assert by_rack(layout) == {"a": 2, "b": 2}
    assert usd_per_hour(layout) == pytest.approx(2 * 1 + 2 * 1.5)


def test_other_workloads_fill_what_is_left(catalog: Catalog) -> None:
    # Pairs of GPUs: two replicas of `safe` in two racks, and `other` beside them.
    node = rented("l4", 2, 1.0) | {"racks": {"a": 1, "b": 1}}
    layout = solved(scenario({"safe": single(1, "rack"), "other": single(2, "none")}, {"node": node}), catalog)
    assert usd_per_hour(layout) == pytest.approx(4.0)
    assert by_rack(layout) == {"a": 2, "b": 2}


def test_without_racks_enough_the_plan_says_what_contradicts(catalog: Catalog) -> None:
    node = rented("l4", 1, 1.0) | {"racks": {"a": 4, "b": 2}}
    layout = solved(scenario({"w": single(3, "rack")}, {"node": node}), catalog)
    assert layout.infeasible is not None
    messages = [one.message for one in layout.infeasible.conflict]
    assert any("is rack; when a rack is lost" in message for message in messages)
    assert "w: spare: none" in layout.infeasible.changes


def test_the_loss_of_a_region_is_survived_by_the_others(catalog: Catalog) -> None:
    # Three regions at $1, $2 and $4; 2/s must be left whichever fails: 2 + 2 + 0 cost $6, 1 + 1 + 1 $7.
    offers = {
        name: rented("l4", 1, price) | {"region": region}
        for name, price, region in (("x", 1.0, "eu"), ("y", 2.0, "us"), ("z", 4.0, "asia"))
    }
    layout = solved(scenario({"w": single(2, "region")}, offers), catalog)
    assert usd_per_hour(layout) == pytest.approx(6.0)
    offers["z"] = rented("l4", 1, 2.5) | {"region": "asia"}
    assert usd_per_hour(solved(scenario({"w": single(2, "region")}, offers), catalog)) == pytest.approx(5.5)


def test_offers_of_one_region_fail_together_and_those_without_are_one(catalog: Catalog) -> None:
    offers = {"x": rented("l4", 1, 1.0), "y": rented("l4", 1, 1.0)}
    assert solved(scenario({"w": single(1, "region")}, offers), catalog).status == "infeasible"
    offers["y"] |= {"region": "eu"}
    assert usd_per_hour(solved(scenario({"w": single(1, "region")}, offers), catalog)) == pytest.approx(2.0)


def test_several_classes_are_rerouted_to_the_other_region(catalog: Catalog) -> None:
    # Each class takes half of a replica at 1/s: one replica in each region carries both whichever fails.
    both = workload(1, [("l4", 1, {"s": 1.0, "l": 1.0})], classes={"s": "50%", "l": "50%"}, spare="region")
    offers = {name: rented("l4", 1, 1.0) | {"region": name} for name in ("eu", "us")}
    assert usd_per_hour(solved(scenario({"w": both}, offers), catalog)) == pytest.approx(2.0)
    del offers["us"]
    assert solved(scenario({"w": both}, offers), catalog).status == "infeasible"


def test_the_topology_says_in_which_rack_a_server_stands(catalog: Catalog) -> None:
    node = rented("l4", 1, 1.0) | {"racks": {"a": 1, "b": 1}}
    layout = solved(scenario({"w": single(1, "rack")}, {"node": node}), catalog)
    document = build_topology(layout, catalog).document
    assert [server.rack for server in document.servers] == ["a", "b"]
    assert parse_topology(topology_yaml(document)) == document


def test_a_plan_that_puts_all_into_one_rack_is_not_sound(catalog: Catalog) -> None:
    loaded = load_scenario(
        scenario({"w": single(1, "rack")}, {"node": rented("l4", 1, 1.0) | {"racks": {"a": 1, "b": 1}}}), catalog
    )
    keys = optimize(loaded, catalog, gap=0.0).model_dump(mode="json")
    for place in keys["workloads"][0]["replica_groups"][0]["placement"]:
        place["rack"] = "a"
    problems = verify(Layout.model_validate(keys), loaded, catalog)
    assert "node: 2 servers are in rack a, which holds 1" in problems
    assert "w: spare is rack, and without rack a the replicas left cannot serve every class" in problems


def test_more_owned_than_racks_hold_is_refused(catalog: Catalog) -> None:
    with pytest.raises(InputError, match="the racks hold 3 servers; 4 are owned"):
        load_scenario(
            scenario({"w": single(1, "rack")}, {"node": {"gpu": "l4", "gpus_per_server": 1, "own": 4,
                                                         "racks": {"a": 1, "b": 2}}}), catalog
        )  # fmt: skip


@pytest.mark.parametrize("seed", range(25))
def test_trying_every_placement_finds_nothing_cheaper(seed: int, catalog: Catalog) -> None:
    """Two offers of small servers in racks that they may share, one or two workloads, every way to fill the racks."""
    rng = random.Random(seed)
    racks = {"big": {"a": rng.randint(1, 2), "b": rng.randint(0, 2)}, "small": {"b": 1, "c": rng.randint(1, 2)}}
    racks = {offer: {rack: room for rack, room in rooms.items() if room} for offer, rooms in racks.items()}
    usd = {"big": rng.choice([1.5, 2.0]), "small": 1.0}
    rate = {"big": rng.choice([1.5, 2.0]), "small": 1.0}
    cards = {"big": "h100-sxm", "small": "l4"}
    demand = rng.choice([1.0, 1.5, 2.0])
    given = scenario(
        {"w": workload(demand, [(cards[o], 1, rate[o]) for o in usd], spare="rack")},
        {offer: rented(cards[offer], 1, usd[offer]) | {"racks": racks[offer]} for offer in usd},
    )
    places = [(offer, rack) for offer in usd for rack in racks[offer]]
    best = math.inf
    for counts in itertools.product(*(range(racks[offer][rack] + 1) for offer, rack in places)):
        filled = list(zip(places, counts, strict=True))
        left = [
            sum(rate[o] * n for (o, rack), n in filled if rack != lost)
            for lost in {rack for _, rack in places} | {None}
        ]
        if min(left) >= demand - 1e-9:
            best = min(best, sum(usd[o] * n for (o, _), n in filled))
    assert usd_per_hour(solved(given, catalog)) == pytest.approx(best)
