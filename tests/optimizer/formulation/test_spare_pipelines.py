"""Replicas over several offers that must survive a loss: the program finds what trying everything finds."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from catalog import Catalog
from optimizer import load_scenario
from optimizer.candidates import Candidates, ReplicaSpec
from optimizer.candidates.spec import StageSpec
from optimizer.errors import InputError
from optimizer.explain.resolver import unservable
from optimizer.formulation import build_instance
from optimizer.placed import placements_of
from optimizer.scenario import Scenario
from optimizer.solve import Limits, solve

Parts = dict[str, tuple[int, int]]
"""Offer -> GPUs of a part that stands on one server, and parts of a replica there."""


def scenario_of(rng: random.Random, catalog: Catalog, spare: str) -> Scenario:
    """Two or three offers, of up to three servers each, in two regions at most."""
    offers: dict[str, Any] = {
        f"o{i}": {
            "gpu": "l4",
            "gpus_per_server": rng.choice([1, 1, 2, 3, 4]),
            "rent": {"price": f"${rng.randint(1, 9)}/server/h", "max": rng.randint(2, 3)},
            "region": "here" if i < 2 else "there",
        }
        for i in range(rng.randint(3 if spare == "region" else 2, 3))
    }
    chat = {
        "model": "Qwen/Qwen3-4B",
        "requests": f"{rng.randint(1, 3)}/s",
        "input_tokens": 100,
        "output_tokens": 100,
        "slo": "throughput",
        "single_format": False,
        "heterogeneous_pipelines": True,
        "spare": spare,
    }
    utilization = rng.choice(["60%", "100%"])
    given = {"name": "s", "workloads": {"chat": chat}, "inventory": offers, "max_utilization": utilization}
    return load_scenario(given, catalog)


def candidates_of(rng: random.Random, scenario: Scenario) -> Candidates:
    """One on one offer and three over several of a region, which carry more; rates are made up."""
    offers, specs, first = list(scenario.inventory), [], []
    size = {name: offer.gpus_per_server for name, offer in scenario.inventory.items()}
    for number in range(4):
        if not number:
            name = rng.choice(offers if scenario.workloads["chat"].spare == "n+1" else offers[2:])
            spec = ReplicaSpec(gpu="l4", gpus=size[name], model="m", max_batch_size=number)
        else:
            on = ["o0", "o1", *rng.choices(["o0", "o1"], k=rng.randint(0, 2))]
            name, tp = on[0], rng.randint(1, min(size["o0"], size["o1"]))
            stages = tuple(StageSpec(offer, "l4", i, i, "fp16") for i, offer in enumerate(on))
            spec = ReplicaSpec(gpu="l4", gpus=tp * len(on), model="m", max_batch_size=number, stages=stages)
        specs.append(spec)
        first.append(offers.index(name))
    return Candidates(
        workload="chat",
        specs=tuple(specs),
        offer=np.array(first, np.int64),
        gpus_per_replica=np.array([spec.gpus for spec in specs], np.int64),
        rate_rps=np.array([[float(rng.randint(2, 6) if spec.stages else 1)] for spec in specs]),
    )


def limits(scenario: Scenario) -> dict[str, int]:
    """Servers of each offer."""
    return {name: offer.rent.max or 0 for name, offer in scenario.inventory.items() if offer.rent is not None}


def parts_of(spec: ReplicaSpec, offer: str, scenario: Scenario) -> Parts:
    """With n+1 those on one offer stand on as few servers as hold them; none where these would hold unequal numbers."""
    if not spec.stages:
        return {offer: (spec.gpus, 1)}
    tp = spec.gpus // len(spec.stages)
    counts = Counter(stage.offer for stage in spec.stages)
    if scenario.workloads["chat"].spare != "n+1":
        return {name: (tp, n) for name, n in counts.items()}
    parts: Parts = {}
    for name, n in counts.items():
        fit = scenario.inventory[name].gpus_per_server // tp
        servers = math.ceil(n / fit)
        if n % servers:
            return {}
        parts[name] = (n // servers * tp, servers)
    return parts


def fewest_servers(wanted: tuple[int, ...], gpus: tuple[int, ...], room: int, most: int, rates: list[int]) -> float:
    """Servers of one offer that hold so many parts of each candidate, on each of rates that sum to `most` at most."""

    @cache
    def least(left: tuple[int, ...]) -> float:
        if not any(left):
            return 0
        after = (tuple(a - b for a, b in zip(left, filling, strict=True)) for filling in fillings(left))
        return min((1 + least(rest) for rest in after), default=math.inf)

    def fillings(left: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        for filling in itertools.product(*(range(n + 1) for n in left)):
            if 0 < summed(filling, gpus) <= room and summed(filling, rates) <= most:
                yield filling

    return least(wanted)


def summed(counts: Iterable[int], each: Iterable[int]) -> int:
    return sum(n * value for n, value in zip(counts, each, strict=True))


def cheapest(scenario: Scenario, candidates: Candidates) -> float:
    """By trying all counts and every way to put their parts on servers."""
    offers, limit, demand = scenario.inventory, limits(scenario), scenario.workloads["chat"].demand_rps
    names = [list(offers)[s] for s in candidates.offer.tolist()]
    parts = [parts_of(spec, name, scenario) for spec, name in zip(candidates.specs, names, strict=True)]
    rates = [round(rate) for (rate,) in candidates.rate_rps.tolist()]
    room = {name: limit[name] * offer.gpus_per_server for name, offer in offers.items()}
    most = [min((room[name] // (gpus * n) for name, (gpus, n) in p.items()), default=0) for p in parts]
    best = math.inf
    for counts in itertools.product(*(range(n + 1) for n in most)):
        total = summed(counts, rates)
        if total * scenario.max_utilization_fraction < demand - 1e-9:
            continue
        at_once = math.floor(total - demand + 1e-9)  # what of the rates may be lost
        on_server = at_once
        if scenario.workloads["chat"].spare == "region":
            on_server = sum(rates) * sum(room.values())  # whatever fits
            in_region = Counter[str | None]()
            for n, rate, name in zip(counts, rates, names, strict=True):
                in_region[offers[name].region] += n * rate
            if max(in_region.values()) > at_once:
                continue
        usd = 0.0
        for name, offer in offers.items():
            if usd >= best:
                break
            here = [p.get(name, (1, 0)) for p in parts]
            wanted, gpus = tuple(n * groups for n, (_, groups) in zip(counts, here, strict=True)), [g for g, _ in here]
            n_servers = fewest_servers(wanted, tuple(gpus), offer.gpus_per_server, on_server, rates)
            assert offer.rent is not None
            usd += n_servers * offer.rent.usd_per_server_hour if n_servers <= limit[name] else math.inf
        best = min(best, usd)
    return best


def survives(scenario: Scenario, candidates: Candidates, n_replicas: list[int], placed: dict[int, Any]) -> bool:
    """Whether without any one server, by where replicas stand, the rest carries all."""
    rates = candidates.rate_rps[:, 0].tolist()
    lost: dict[tuple[str, int], float] = {}
    for k, places in placed.items():
        spec = candidates.specs[k]
        on = [stage.offer for stage in spec.stages] or [list(scenario.inventory)[int(candidates.offer[k])]]
        assert len(places) == n_replicas[k]
        for place in places:
            for server in set(zip(on, place.servers, strict=True)):
                lost[server] = lost.get(server, 0.0) + rates[k]
    total = sum(n * rate for n, rate in zip(n_replicas, rates, strict=True))
    return all(total - gone >= scenario.workloads["chat"].demand_rps - 1e-9 for gone in lost.values())


@pytest.mark.parametrize("spare", ["n+1", "region"])
@pytest.mark.parametrize("seed", range(20))
def test_it_costs_what_trying_everything_finds(seed: int, spare: str, catalog: Catalog) -> None:
    rng = random.Random(seed)
    scenario = scenario_of(rng, catalog, spare)
    candidates = candidates_of(rng, scenario)
    inst = build_instance(scenario, catalog, [candidates])
    answer = solve(inst, Limits(0.0, 60.0))
    best = cheapest(scenario, candidates)
    if best == math.inf:
        assert answer.outcome == "infeasible"
        return
    assert answer.outcome == "optimal"
    assert answer.decision is not None
    assert float(inst.usd_per_hour @ answer.decision.n_servers) == pytest.approx(best)
    placed, needed = placements_of(inst, candidates.specs, answer.decision)
    assert all(n <= most for n, most in zip(needed, limits(scenario).values(), strict=True))
    if spare == "n+1":
        assert survives(scenario, candidates, answer.decision.n_replicas.tolist(), placed)


def test_columns_leave_it_to_the_plain_method(catalog: Catalog) -> None:
    rng = random.Random(0)
    scenario = scenario_of(rng, catalog, "n+1")
    candidates = candidates_of(rng, scenario)
    inst = build_instance(scenario, catalog, [candidates])
    answer = solve(inst, Limits(0.0, 60.0), method="columns")
    assert answer.warnings == ("solved by the plain method: columns do not know spare: n+1",)
    assert answer.decision is not None
    assert float(inst.usd_per_hour @ answer.decision.n_servers) == pytest.approx(cheapest(scenario, candidates))


def alone(catalog: Catalog, stages: tuple[str, ...], sizes: dict[str, int]) -> tuple[Scenario, Candidates]:
    """One candidate of 1/s with stages of one GPU for a workload of 1/s; servers cost $1 each."""
    offers = {
        name: {"gpu": "l4", "gpus_per_server": size, "rent": {"price": "$1/server/h"}} for name, size in sizes.items()
    }
    chat = {
        "model": "Qwen/Qwen3-4B", "requests": "1/s", "input_tokens": 100, "output_tokens": 100, "slo": "throughput",
        "heterogeneous_pipelines": True, "spare": "n+1",
    }  # fmt: skip
    given = {"name": "s", "workloads": {"chat": chat}, "inventory": offers, "max_utilization": "100%"}
    specs = tuple(StageSpec(name, "l4", i, i, "fp16") for i, name in enumerate(stages))
    spec = ReplicaSpec(gpu="l4", gpus=len(stages), model="m", stages=specs)
    first = list(sizes).index(stages[0])
    return load_scenario(given, catalog), Candidates(
        "chat", (spec,), np.array([first]), np.array([len(stages)]), np.array([[1.0]])
    )


def placed_alone(catalog: Catalog, stages: tuple[str, ...], sizes: dict[str, int]) -> list[tuple[int, ...]]:
    """Servers of each replica in the cheapest plan, one a stage."""
    scenario, candidates = alone(catalog, stages, sizes)
    inst = build_instance(scenario, catalog, [candidates])
    answer = solve(inst, Limits(0.0, 60.0))
    assert answer.decision is not None
    placed, _ = placements_of(inst, candidates.specs, answer.decision)
    return [place.servers for place in placed[0]]


def test_stages_on_one_offer_stand_together_where_a_server_holds_them(catalog: Catalog) -> None:
    # Two replicas, for one must be left: each with a server of either offer for itself.
    assert placed_alone(catalog, ("a", "b", "a"), {"a": 2, "b": 1}) == [(0, 0, 0), (1, 1, 1)]


def test_a_replica_is_lost_with_any_of_its_servers_on_one_offer(catalog: Catalog) -> None:
    # On servers of one GPU two stages stand on two: four servers of a and two of b for two replicas.
    assert placed_alone(catalog, ("a", "b", "a"), {"a": 1, "b": 1}) == [(0, 0, 1), (2, 1, 3)]


def test_two_replicas_on_one_server_are_lost_together(catalog: Catalog) -> None:
    # A server of a holds both, but then losing it loses all.
    assert placed_alone(catalog, ("a", "b"), {"a": 8, "b": 1}) == [(0, 0), (1, 1)]


def test_unequal_parts_of_one_offer_are_left_out(catalog: Catalog) -> None:
    # Three stages on servers of two: two and one, so that a server may hold parts of several replicas or one of each.
    scenario, candidates = alone(catalog, ("a", "b", "a", "a"), {"a": 2, "b": 1})
    assert unservable(build_instance(scenario, catalog, [candidates])) == ("chat",)


def test_more_ways_to_stand_than_are_solved_are_refused(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    # One kind of replica on two offers, without limits. Kept busy all the time one carries all, so two are counted, and
    # 2 · (2 + 1) · 2 servers of each offer may be of use: 24 ways for the two parts.
    scenario, candidates = alone(catalog, ("a", "b"), {"a": 1, "b": 1})
    monkeypatch.setattr("optimizer.formulation.sites.MOST_STANDS", 24)
    assert len(build_instance(scenario, catalog, [candidates]).sites.stand_cell) == 24
    monkeypatch.setattr("optimizer.formulation.sites.MOST_STANDS", 23)
    with pytest.raises(InputError, match=r"2 kinds .* up to 12 servers of an offer, can stand in 24 ways.*\(max\)"):
        build_instance(scenario, catalog, [candidates])


def test_a_format_whose_replicas_stand_nowhere_is_not_chosen(catalog: Catalog) -> None:
    # Unequal parts in one format, equal ones in another: the workload runs in the second.
    scenario, several = alone(catalog, ("a", "b", "a", "a"), {"a": 2, "b": 1})
    nowhere, b = several.specs[0], StageSpec("b", "l4", 1, 1, "fp16")
    stages = (StageSpec("a", "l4", 0, 0, "fp16"), b)
    somewhere = replace(nowhere, gpus=2, weight_dtype="int8", stages=stages)
    candidates = Candidates("chat", (nowhere, somewhere), np.array([0, 0]), np.array([4, 2]), np.array([[9.0], [1.0]]))
    answer = solve(build_instance(scenario, catalog, [candidates]), Limits(0.0, 60.0))
    assert answer.decision is not None
    assert answer.decision.n_replicas.tolist() == [0, 2]
