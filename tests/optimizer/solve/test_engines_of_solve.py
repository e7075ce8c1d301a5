"""Whoever rates and prices the workloads of a scenario, the plan is the same."""

from __future__ import annotations

import gc
from importlib.util import find_spec
from typing import Any

import pytest

from catalog import Catalog
from optimizer import api, load_scenario, optimize
from optimizer.candidates import build_candidates, build_candidates_on
from optimizer.plans import plan_sha256
from optimizer.scenario import Scenario
from optimizer.workers import EngineName, Processes, open_engine, processors

MODELS = ("Qwen/Qwen3-8B", "Qwen/Qwen3-14B", "Qwen/Qwen3-0.6B")
LATE = {"slo": {"ttft_p95": "2s"}}
ENGINES = ["local", pytest.param("ray", marks=pytest.mark.skipif(find_spec("ray") is None, reason="no Ray"))]


def workload(i: int) -> dict[str, Any]:
    """Every second one of two request classes, which columns price by a program each."""
    short, long = ({"input_tokens": 200 * n + 50 * i, "output_tokens": 100 * n} for n in (1, 3))
    classes = {"short": {"share": "70%", **short}, "long": {"share": "30%", **long}}
    return {"model": MODELS[i % 3], "requests": f"{1 + i}/s", **LATE, **({"classes": classes} if i % 2 else short)}


@pytest.fixture(scope="module")
def scenario(catalog: Catalog) -> Scenario:
    offers = {
        "l40s": {"gpu": "l40s", "gpus_per_server": 2, "rent": {"price": "$0.9/gpu/h", "max": 9}},
        "h100": {"gpu": "h100-sxm", "gpus_per_server": 4, "rent": {"price": "$2.4/gpu/h", "max": 9}},
    }
    data = {"name": "many", "workloads": {f"w{i}": workload(i) for i in range(6)}, "inventory": offers}
    return load_scenario(data, catalog)


def test_candidates_are_the_same_and_in_order(scenario: Scenario, catalog: Catalog) -> None:
    there, here = build_candidates_on(Processes(2), scenario, catalog), build_candidates(scenario, catalog)
    assert [one.workload for one in there] == list(scenario.workloads)
    for one, other in zip(there, here, strict=True):
        assert one.specs == other.specs
        assert one.rate_rps.tolist() == other.rate_rps.tolist()
        assert one.offer.tolist() == other.offer.tolist()


def test_where_workloads_are_many_threads_are_processes_that_rate(
    scenario: Scenario, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = optimize(scenario, catalog, gap=0.005, method="columns", threads=2)
    monkeypatch.setattr(api, "MANY_TO_RATE", len(scenario.workloads))
    asked: list[int] = []

    def rated(engine: Processes, *rest: Any) -> Any:
        asked.append(engine.n_workers)
        return build_candidates_on(engine, *rest)

    monkeypatch.setattr(api, "build_candidates_on", rated)
    there = optimize(scenario, catalog, gap=0.005, method="columns", threads=2)
    assert asked == [min(2, processors())]
    assert plan_sha256(there) == plan_sha256(alone)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", ENGINES)
def test_plans_are_the_same(scenario: Scenario, catalog: Catalog, name: EngineName) -> None:
    with open_engine(name, n_workers=2) as engine:
        there = optimize(scenario, catalog, gap=0.005, method="columns", engine=engine)
    gc.collect()
    assert there.status == "optimal"
    assert there.solver == "columns"
    assert plan_sha256(there) == plan_sha256(optimize(scenario, catalog, gap=0.005, method="columns"))
