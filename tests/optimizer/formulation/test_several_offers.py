"""Replicas that take GPUs of several offers: the program finds what trying all counts finds."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import pytest

from catalog import Catalog
from optimizer import load_scenario
from optimizer.candidates import Candidates, ReplicaSpec
from optimizer.candidates.spec import StageSpec
from optimizer.formulation import build_instance
from optimizer.placement import place
from optimizer.scenario import Scenario
from optimizer.solve import Limits, solve
from optimizer.solve.columns.blocks import cut_into_blocks
from optimizer.solve.method import Method

MOST = 3
"""Replicas of one candidate that are tried."""


def scenario_of(
    rng: random.Random, catalog: Catalog, n_workloads: int = 1, classes: bool = False, most: int = 3
) -> Scenario:
    """Two or three offers to rent; sizes of three do not divide, so that patterns count them."""
    offers: dict[str, Any] = {
        f"o{i}": {
            "gpu": "l4",
            "gpus_per_server": rng.choice([1, 2, 3, 4]),
            "rent": {"price": f"${rng.randint(1, 9)}/server/h", "max": rng.randint(1, most)},
        }
        for i in range(rng.randint(2, 3))
    }
    chat = {
        "model": "Qwen/Qwen3-4B",
        "requests": f"{rng.randint(1, 3)}/s",  # three replicas of any kind carry it
        "input_tokens": 100,
        "output_tokens": 100,
        "slo": "throughput",
        "single_format": False,
        "heterogeneous_pipelines": True,
    }
    names = ["chat", *(f"chat{i}" for i in range(1, n_workloads))]
    workloads = {name: chat | {"requests": f"{rng.randint(1, 3)}/s"} for name in names[1:]}
    if classes:
        sizes = {"input_tokens": chat.pop("input_tokens"), "output_tokens": chat.pop("output_tokens")}
        chat["classes"] = {"a": {"share": "50%"} | sizes, "b": {"share": "50%"} | sizes}
    given = {"name": "s", "workloads": {"chat": chat} | workloads, "inventory": offers, "max_utilization": "100%"}
    return load_scenario(given, catalog)


def candidates_of(rng: random.Random, scenario: Scenario, workload: str = "chat") -> Candidates:
    """Two on one offer, three over several, which carry more at best; rates are made up."""
    n_classes = len(scenario.workloads[workload].request_classes)
    offers = list(scenario.inventory)
    specs, first = [], []
    for number in range(5):
        largest = {name: offer.gpus_per_server for name, offer in scenario.inventory.items()}
        if number < 2:
            name = rng.choice(offers)
            spec = ReplicaSpec(gpu="l4", gpus=rng.randint(1, largest[name]), model="m", max_batch_size=number)
            stages: tuple[StageSpec, ...] = ()
        else:
            on = [*rng.sample(offers, 2), *rng.choices(offers, k=rng.randint(0, 2))]
            tp = rng.randint(1, min(largest[name] for name in on))
            stages = tuple(StageSpec(name, "l4", i, i, "fp16") for i, name in enumerate(on))
            spec = ReplicaSpec(gpu="l4", gpus=tp * len(on), model="m", max_batch_size=number, stages=stages)
            name = on[0]
        specs.append(spec)
        first.append(offers.index(name))
    return Candidates(
        workload=workload,
        specs=tuple(specs),
        offer=np.array(first, np.int64),
        gpus_per_replica=np.array([spec.gpus for spec in specs], np.int64),
        rate_rps=np.array([[float(rng.randint(1, 9 if s.stages else 3)) for _ in range(n_classes)] for s in specs]),
    )


def cheapest(scenario: Scenario, candidates: Candidates) -> float:
    """By trying all counts; each group of GPUs finds its server by packing them one by one."""
    offers, asked = list(scenario.inventory.items()), scenario.workloads["chat"].demand_rps
    best = float("inf")
    for counts in itertools.product(range(MOST + 1), repeat=len(candidates.specs)):
        if sum(n * rate for n, (rate,) in zip(counts, candidates.rate_rps.tolist(), strict=True)) < asked:
            continue
        usd = 0.0
        for s, (name, offer) in enumerate(offers):
            groups: list[int] = []
            for n, spec, at in zip(counts, candidates.specs, candidates.offer.tolist(), strict=True):
                here = [spec.gpus] * (at == s)
                if spec.stages:
                    here = [spec.gpus // len(spec.stages) for stage in spec.stages if stage.offer == name]
                groups += here * n
            placed = place([(gpus, 1) for gpus in groups], offer.gpus_per_server)
            servers = 1 + max((index for indices in placed for index in indices), default=-1)
            assert offer.rent is not None
            usd += servers * offer.rent.usd_per_server_hour if servers <= offer.rent.max else float("inf")
        best = min(best, usd)
    return best


@pytest.mark.parametrize("method", ["plain", "columns"])
@pytest.mark.parametrize("seed", range(25))
def test_it_costs_what_trying_all_counts_finds(seed: int, method: Method, catalog: Catalog) -> None:
    rng = random.Random(seed)
    scenario = scenario_of(rng, catalog)
    candidates = candidates_of(rng, scenario)
    inst = build_instance(scenario, catalog, [candidates])
    answer = solve(inst, Limits(0.0, 20.0), method=method)
    best = cheapest(scenario, candidates)
    if best == float("inf"):
        assert answer.outcome == "infeasible"
        return
    assert answer.outcome == "optimal"
    assert answer.decision is not None
    assert float(inst.usd_per_hour @ answer.decision.n_servers) == pytest.approx(best)


@pytest.mark.parametrize("classes", [False, True])
@pytest.mark.parametrize("seed", range(60))
def test_both_methods_agree_within_their_gaps(seed: int, classes: bool, catalog: Catalog) -> None:
    # Two or three workloads that share servers; with two request classes the first is priced by a program of its own.
    rng = random.Random(1000 + seed)
    scenario = scenario_of(rng, catalog, n_workloads=rng.randint(2, 3), classes=classes, most=6)
    candidates = [candidates_of(rng, scenario, name) for name in scenario.workloads]
    inst = build_instance(scenario, catalog, candidates)
    plain, columns = (solve(inst, Limits(0.0, 20.0), method=method) for method in ("plain", "columns"))
    if plain.outcome == "infeasible":
        assert columns.outcome == "infeasible"
        return
    assert (plain.outcome, plain.solver) == ("optimal", "scip")
    assert columns.decision is not None
    assert plain.decision is not None
    assert columns.solver == "columns"
    costs = [float(inst.usd_per_hour @ one.decision.n_servers) for one in (plain, columns) if one.decision]
    assert costs[1] >= costs[0] - 1e-6
    for answer, cost in zip((plain, columns), costs, strict=True):
        assert answer.bound_usd_per_hour <= costs[0] + 1e-6  # below every plan of either method
        assert answer.outcome != "optimal" or cost == pytest.approx(costs[0])


def test_pipelines_are_priced_by_all_of_their_offers(catalog: Catalog) -> None:
    # Of two GPUs on o0 and one on o1, at $3 and $5 a GPU: 2 · 3 + 5 = 11.
    rng = random.Random(0)
    scenario = scenario_of(rng, catalog)
    o0, o1 = list(scenario.inventory)[:2]
    staged = ReplicaSpec(gpu="l4", gpus=3, model="m", stages=tuple(
        StageSpec(name, "l4", i, i, "fp16") for i, name in enumerate((o0, o1, o0))
    ))  # fmt: skip
    alone = ReplicaSpec(gpu="l4", gpus=1, model="m", max_batch_size=1)
    candidates = Candidates("chat", (staged, alone), np.array([0, 1]), np.array([3, 1]), np.array([[1.0], [1.0]]))
    blocks = cut_into_blocks(build_instance(scenario, catalog, [candidates]))
    which, slot, amount = blocks.taken.by(np.array([1, 0]))
    assert which.tolist() == [0, 1, 1]
    assert slot[0] in slot[1:]  # both take GPUs of o1
    assert sorted(amount.tolist()) == [1.0, 1.0, 2.0]
    price = np.zeros(len(blocks.supply.bound))
    price[slot[amount == 2.0]], price[slot[0]] = 3.0, 5.0
    assert blocks.unit(price).tolist() == [11.0, 5.0]


def test_each_offer_gives_the_gpus_of_its_own_stages(catalog: Catalog) -> None:
    # Two stages of 2 GPUs on o0 and one on o1: 4 of o0's and 2 of o1's, in each of two periods.
    chat = {
        "model": "Qwen/Qwen3-4B", "requests": "1/s", "input_tokens": 100, "output_tokens": 100, "slo": "throughput",
        "heterogeneous_pipelines": True,
    }  # fmt: skip
    offers = {name: {"gpu": "l4", "gpus_per_server": 4, "rent": {"price": "$1/server/h"}} for name in ("o0", "o1")}
    given = {"name": "s", "horizon": "2mo", "periods": 2, "workloads": {"chat": chat}, "inventory": offers}
    scenario = load_scenario(given, catalog)
    stages = tuple(StageSpec(name, "l4", i, i, "fp16") for i, name in enumerate(("o0", "o1", "o0")))
    spec = ReplicaSpec(gpu="l4", gpus=6, model="m", stages=stages)
    candidates = Candidates("chat", (spec,), np.array([0]), np.array([6]), np.array([[1.0]]))
    taken = build_instance(scenario, catalog, [candidates]).footprint
    assert taken.candidate.tolist() == [0, 0, 1, 1]
    assert taken.offer.tolist() == [0, 1, 2, 3]
    assert (taken.gpus * taken.groups).tolist() == [4, 2, 4, 2]
