"""`spare: n+1` from scenario to verified plan: what it costs, where replicas stand, that a loss is survived."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import numpy as np
import pytest
from measured import rented, scenario, workload

from catalog import Catalog
from optimizer import load_scenario, optimize, verify
from optimizer.layout import Layout
from optimizer.scenario import Scenario
from optimizer.solve import route
from optimizer.topology import build_topology
from optimizer.verification.rerouting import least_peak


def solved(given: dict[str, Any], catalog: Catalog) -> tuple[Layout, Scenario]:
    loaded = load_scenario(given, catalog)
    layout = optimize(loaded, catalog, gap=0.0)
    assert layout.status in ("optimal", "infeasible")
    assert verify(layout, loaded, catalog) == []
    return layout, loaded


def usd_per_hour(layout: Layout) -> float:
    return math.inf if layout.cost is None else layout.cost.usd_per_hour


def on_servers(layout: Layout, offer: str) -> dict[str, list[int]]:
    """Replicas of each workload on each server of an offer."""
    n = sum(row.in_use for row in layout.servers if row.offer == offer)
    found = {one.name: [0] * n for one in layout.workloads}
    for one in layout.workloads:
        for group in one.replica_groups:
            for place in group.placement if group.offer == offer else ():
                for server in place.servers:
                    found[one.name][server] += 1
    return found


def test_replicas_are_spread_so_that_few_are_lost_together(catalog: Catalog) -> None:
    # chat needs 3 replicas of 1/s; batch needs 5 GPUs. Without spare that is one server of 8. With it, 3 replicas of
    # chat must be left when a server is lost: 3 + 3 on two servers are 6 GPUs, with batch 11 on two servers of 8.
    chat, batch = workload(3, [("h100-sxm", 1, 1.0)]), workload(5, [("h100-sxm", 1, 1.0)])
    node = {"node": rented("h100-sxm", 8, 1.0)}
    plain, _ = solved(scenario({"chat": chat, "batch": batch}, node), catalog)
    assert on_servers(plain, "node") == {"chat": [3], "batch": [5]}
    safe, _ = solved(scenario({"chat": chat | {"spare": "n+1"}, "batch": batch}, node), catalog)
    placed = on_servers(safe, "node")
    assert placed["chat"] == [3, 3]
    assert sum(placed["batch"]) == 5
    assert usd_per_hour(safe) == pytest.approx(16.0)


def test_more_servers_need_fewer_spare_replicas(catalog: Catalog) -> None:
    # Six replicas must be left: three pairs lose two of six, four pairs lose two of eight.
    layout, _ = solved(
        scenario({"a": workload(6, [("l4", 1, 1.0)], spare="n+1")}, {"pair": rented("l4", 2, 1.0)}), catalog
    )
    assert on_servers(layout, "pair") == {"a": [2, 2, 2, 2]}


def test_what_max_utilization_leaves_is_used_after_a_loss(catalog: Catalog) -> None:
    # At 50 % four replicas carry 2/s; two of them at 100 % carry it too, so two servers of two are enough as they are.
    given = scenario({"a": workload(2, [("l4", 1, 1.0)], spare="n+1")}, {"pair": rented("l4", 2, 1.0)})
    layout, _ = solved(given | {"max_utilization": "50%"}, catalog)
    assert on_servers(layout, "pair") == {"a": [2, 2]}


def test_the_loss_may_be_carried_by_another_offer(catalog: Catalog) -> None:
    # One big replica carries all; when its server is lost, a small one does: $4 + $1 rather than two big ones.
    both = workload(1, [("h100-sxm", 1, 1.0), ("l4", 1, 1.0)], spare="n+1")
    offers = {"big": rented("h100-sxm", 1, 4.0), "small": rented("l4", 1, 1.0, most=1)}
    layout, _ = solved(scenario({"a": both}, offers), catalog)
    assert usd_per_hour(layout) == pytest.approx(5.0)


def test_a_pipeline_over_two_servers_is_lost_with_either(catalog: Catalog) -> None:
    giant = {
        "model": "Qwen/Qwen3-235B-A22B",
        "requests": "0.2/s",
        "input_tokens": 1000,
        "output_tokens": 200,
        "slo": "throughput",
        "weight_dtypes": ["bf16"],
        "tp": [8],
        "pp": [2],
        "spare": "n+1",
    }
    given = {"name": "giant", "workloads": {"giant": giant}, "inventory": {"node": rented("h100-sxm", 8, 2.0)}}
    layout, _ = solved(given, catalog)
    assert [place.servers for place in layout.workloads[0].replica_groups[0].placement] == [(0, 1), (2, 3)]


def test_a_plan_that_crowds_its_replicas_does_not_verify(catalog: Catalog) -> None:
    layout, loaded = solved(
        scenario({"a": workload(2, [("l4", 1, 1.0)], spare="n+1")}, {"quad": rented("l4", 4, 1.0)}), catalog
    )
    keys = layout.model_dump(mode="json")
    (group,) = keys["workloads"][0]["replica_groups"]
    assert [place["servers"] for place in group["placement"]] == [[0], [0], [1], [1]]
    group["placement"][1]["servers"] = [1]
    (problem,) = verify(Layout.model_validate(keys), loaded, catalog)
    assert problem == ("a: spare is n+1, and without server 1 of quad the replicas left are busy for 2 of their time")


def test_the_topology_places_replicas_as_the_plan_says(catalog: Catalog) -> None:
    layout, _ = solved(
        scenario({"a": workload(2, [("l4", 1, 1.0)], spare="n+1")}, {"quad": rented("l4", 4, 1.0)}), catalog
    )
    servers = build_topology(layout, catalog).document.servers
    assert [sum(gpu is not None for gpu in server.gpus) for server in servers] == [2, 2]


def draw(rng: random.Random) -> dict[str, Any]:
    """One workload of two classes on one or two offers; replicas of 1 to 3 GPUs on servers of 2 to 4."""
    gpus = rng.sample(["l4", "l40s", "h100-sxm"], rng.choice((1, 2)))
    inventory = {gpu: rented(gpu, rng.choice((2, 3, 4)), round(rng.uniform(0.5, 3), 2)) for gpu in gpus}
    measured = [
        (gpu, size, {"x": round(rng.uniform(0.5, 2), 2), "y": round(rng.uniform(0, 2), 2)})
        for gpu, offer in inventory.items()
        for size in rng.sample(range(1, offer["gpus_per_server"] + 1), rng.choice((1, 2)))
    ]
    measured[0][2]["y"] += 0.5
    return scenario(
        {"a": workload(round(rng.uniform(0.5, 2.0), 2), measured, classes={"x": "60%", "y": "40%"}, spare="n+1")},
        inventory,
        max_utilization=rng.choice(("80%", "100%")),
    )


def enumerated(given: dict[str, Any]) -> float:
    """The least USD per hour over every way to fill up to four servers, each with any replicas that fit."""
    (entry,) = given["workloads"].values()
    rate = float(entry["requests"].removesuffix("/s"))
    demand = [rate * 0.6, rate * 0.4]
    measured = entry["measured"]
    rates = [[m["requests_per_s"].get(c, 0.0) for c in ("x", "y")] for m in measured]
    utilization = float(given["max_utilization"].removesuffix("%")) / 100
    kinds: list[tuple[float, tuple[int, ...]]] = []
    for offer in given["inventory"].values():
        usd = float(offer["rent"]["price"][1:].removesuffix("/gpu/h")) * offer["gpus_per_server"]
        sizes = [m["gpus"] if m["gpu"] == offer["gpu"] else 99 for m in measured]
        kinds += [
            (usd, filling)
            for filling in itertools.product(*(range(offer["gpus_per_server"] // size + 1) for size in sizes))
            if 0 < sum(n * size for n, size in zip(filling, sizes, strict=True)) <= offer["gpus_per_server"]
        ]
    best = math.inf
    for n_servers in range(1, 5):
        for servers in itertools.combinations_with_replacement(kinds, n_servers):
            usd = sum(price for price, _ in servers)
            if usd >= best:
                continue
            total = np.sum([filling for _, filling in servers], axis=0)
            if least_peak(demand, total.tolist(), rates) <= utilization * (1 + 1e-9) and all(
                least_peak(demand, (total - filling).tolist(), rates) <= 1 + 1e-9 for _, filling in set(servers)
            ):
                best = usd
    return best


@pytest.mark.parametrize("seed", range(25))
def test_the_cheapest_plan_that_survives_is_the_one_enumeration_finds(seed: int, catalog: Catalog) -> None:
    given = draw(random.Random(seed))
    layout, _ = solved(given, catalog)
    expected = enumerated(given)
    if sum(row.count for row in layout.servers) <= 4:  # what enumeration looks at
        assert usd_per_hour(layout) == pytest.approx(expected)
    else:
        assert usd_per_hour(layout) <= expected


@pytest.mark.parametrize("seed", range(25))
def test_surviving_never_costs_less(seed: int, catalog: Catalog) -> None:
    given = draw(random.Random(1000 + seed))
    safe, _ = solved(given, catalog)
    del given["workloads"]["a"]["spare"]
    plain, _ = solved(given, catalog)
    assert usd_per_hour(plain) <= usd_per_hour(safe) * (1 + 1e-9)


def test_two_independent_programs_agree_on_how_busy_replicas_must_be() -> None:
    # `route` asks GLOP, `least_peak` is the verifier's own simplex method.
    rng = np.random.default_rng(0)
    for _ in range(300):
        n_groups, n_classes = rng.integers(1, 5), rng.integers(1, 5)
        replicas = rng.integers(0, 4, n_groups)
        rates = np.where(rng.random((n_groups, n_classes)) < 0.25, 0.0, rng.uniform(0.2, 5, (n_groups, n_classes)))
        demand = rng.uniform(0.1, 3, n_classes)
        with np.errstate(divide="ignore"):
            routing = route(replicas, demand / rates) if replicas.any() else None
        expected = math.inf if routing is None else routing.peak_utilization
        found = least_peak(demand.tolist(), replicas.tolist(), rates.tolist())
        assert found == pytest.approx(expected, rel=1e-6)
