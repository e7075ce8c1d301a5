"""Random tiny scenarios against plain enumeration of replicas and servers."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import pytest
from measured import rented, scenario, workload

from catalog import Catalog
from optimizer import load_scenario, optimize, verify

GPUS = {"l4": (1.0, 0.7), "l40s": (3.0, 1.8), "h100-sxm": (11.0, 3.9)}  # speed, $/GPU/h
MOST_VECTORS = 500  # replica counts that enumeration looks at


def draw(seed: int) -> dict[str, Any]:
    """A scenario small enough to enumerate."""
    for attempt in itertools.count():
        given = draw_any(random.Random(f"{seed}/{attempt}"))
        if math.prod(most + 1 for *_, most in kinds_of_replica(given)) <= MOST_VECTORS:
            return given
    raise AssertionError("the count has no end")


def draw_any(rng: random.Random) -> dict[str, Any]:
    """One or two workloads of one class on one or two offers; sizes of 1, 2 and 3 GPUs on servers of 1, 2, 4 or 6."""
    inventory = {}
    for i, gpu in enumerate(rng.sample(sorted(GPUS), rng.choice((1, 2)))):
        limit = rng.choice((None, None, 1, 2))
        inventory[f"{gpu}-{i}"] = rented(
            gpu, rng.choice((1, 2, 4, 6)), round(GPUS[gpu][1] * rng.uniform(0.7, 1.4), 2), limit
        )
    workloads = {}
    for w in range(rng.choice((1, 2))):
        measured = [
            (offer["gpu"], size, round(GPUS[offer["gpu"]][0] * size ** rng.uniform(0.7, 1.05), 2))
            for offer in inventory.values()
            for size in sorted(
                {s for s in rng.sample((1, 2, 3), rng.choice((1, 2))) if s <= offer["gpus_per_server"]} or {1}
            )
        ]
        rate = max(rps for _, _, rps in measured) * rng.uniform(0.3, 2.2)
        workloads[f"w{w}"] = workload(round(rate, 2), measured)
    return scenario(workloads, inventory)


def fits(sizes: list[int], servers: int, gpus_per_server: int) -> bool:
    """Whether groups fit into servers, by trying every server for every group."""
    free = [gpus_per_server] * servers

    def go(i: int) -> bool:
        if i == len(sizes):
            return True
        for s in {f: j for j, f in enumerate(free)}.values():
            if free[s] >= sizes[i]:
                free[s] -= sizes[i]
                if go(i + 1):
                    return True
                free[s] += sizes[i]
        return False

    return go(0)


def rate_of(entry: dict[str, Any]) -> float:
    return float(entry["requests"].removesuffix("/s"))


def kinds_of_replica(given: dict[str, Any]) -> list[tuple[str, int, int, float, int]]:
    """(workload, offer, GPUs, requests/s, replicas that carry all alone: more are of no use)"""
    return [
        (w, o, m["gpus"], m["requests_per_s"]["all"], math.ceil(rate_of(entry) / m["requests_per_s"]["all"]))
        for w, entry in given["workloads"].items()
        for m in entry["measured"]
        for o, offer in enumerate(given["inventory"].values())
        if offer["gpu"] == m["gpu"] and m["gpus"] <= offer["gpus_per_server"]
    ]


def optimum(given: dict[str, Any]) -> float:
    """The least USD per hour, infinite when nothing serves everything."""
    offers = list(given["inventory"].values())
    kinds = kinds_of_replica(given)
    demand = {w: rate_of(entry) for w, entry in given["workloads"].items()}
    best = math.inf
    for counts in itertools.product(*(range(most + 1) for *_, most in kinds)):
        served = dict.fromkeys(demand, 0.0)
        for n, (w, _, _, rps, _) in zip(counts, kinds, strict=True):
            served[w] += n * rps
        if any(served[w] < rate * (1 - 1e-9) for w, rate in demand.items()):
            continue
        cost = 0.0
        for o, offer in enumerate(offers):
            sizes = [g for n, (_, at, g, _, _) in zip(counts, kinds, strict=True) if at == o for _ in range(n)]
            sizes.sort(reverse=True)
            n = next(n for n in range(len(sizes) + 1) if fits(sizes, n, offer["gpus_per_server"]))
            usd = float(offer["rent"]["price"][1:].removesuffix("/gpu/h")) * offer["gpus_per_server"]
            cost += n * usd if n <= offer["rent"].get("max", math.inf) else math.inf
        best = min(best, cost)
    return best


@pytest.mark.parametrize("seed", range(40))
def test_the_cheapest_plan_is_the_one_enumeration_finds(seed: int, catalog: Catalog) -> None:
    given = draw(seed)
    loaded = load_scenario(given, catalog)
    layout = optimize(loaded, catalog, gap=0.0)
    expected = optimum(given)
    if expected == math.inf:
        assert layout.status == "infeasible"
    else:
        assert layout.status == "optimal"
        assert layout.cost is not None
        assert layout.cost.usd_per_hour == pytest.approx(expected, rel=1e-9)
        assert verify(layout, loaded, catalog) == []
