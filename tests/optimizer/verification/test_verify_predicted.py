"""A sound plan of predicted replicas verifies; memory, rates, latencies and every choice are derived again."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from sound_plans import PREDICTED, changed, leaves, other_values, without

from catalog import Catalog
from optimizer import load_plan, load_scenario, optimize, verify
from optimizer.errors import InputError
from optimizer.kept import Kept
from optimizer.layout import Layout
from optimizer.scenario import Scenario

UNKNOWABLE = ("schema_version", "status", "solve_seconds", "solver", "warnings", "assumptions", "infeasible", "inputs")
"""As for measured plans, whose test also looks at every leaf of `inputs`."""


@pytest.fixture(scope="module")
def scenario(catalog: Catalog) -> Scenario:
    return load_scenario(PREDICTED, catalog)


@pytest.fixture(scope="module")
def layout(scenario: Scenario, catalog: Catalog) -> Layout:
    return optimize(scenario, catalog)


@pytest.fixture(scope="module")
def keys(layout: Layout) -> dict[str, Any]:
    return layout.model_dump(mode="json")


def problems(keys: dict[str, Any], scenario: Scenario, catalog: Catalog, truths: Kept[Any] | None = None) -> list[str]:
    """What verify says; a plan that cannot even be read is noticed too."""
    try:
        return verify(load_plan(keys), scenario, catalog, truths=truths)
    except InputError as error:
        return [str(error)]


def tighter(workload: str, **settings: Any) -> dict[str, Any]:
    """PREDICTED with other settings for one workload."""
    other = copy.deepcopy(PREDICTED)
    other["workloads"][workload] |= settings
    return other


def test_a_sound_plan_breaks_no_promise(layout: Layout, scenario: Scenario, catalog: Catalog) -> None:
    assert layout.status in ("optimal", "feasible")
    (giant,) = layout.workloads[1].replica_groups
    assert len(giant.placement[0].servers) == 2
    assert verify(layout, scenario, catalog) == []


def test_every_changed_leaf_is_noticed(keys: dict[str, Any], scenario: Scenario, catalog: Catalog) -> None:
    unnoticed = [
        (path, value, other)
        for path, value in leaves(keys)
        if path[0] not in UNKNOWABLE
        for other in other_values(value)
        if other != value and not problems(changed(keys, path, other), scenario, catalog)
    ]
    assert unnoticed == [], unnoticed


def test_what_was_computed_for_an_earlier_plan_hides_nothing(
    keys: dict[str, Any], layout: Layout, scenario: Scenario, catalog: Catalog
) -> None:
    truths: Kept[Any] = Kept()
    assert verify(layout, scenario, catalog, truths=truths) == []
    n_made = truths.n_made
    assert verify(layout, scenario, catalog, truths=truths) == []
    assert truths.n_made == n_made > 0
    for path, value in leaves(keys["workloads"], ("workloads",)):
        for other in other_values(value):
            if other != value:
                one = changed(keys, path, other)
                assert problems(one, scenario, catalog, truths) == problems(one, scenario, catalog), path


def test_everything_unknown_is_noticed(keys: dict[str, Any], scenario: Scenario, catalog: Catalog) -> None:
    for w, one in enumerate(keys["workloads"]):
        for g, group in enumerate(one["replica_groups"]):
            # null for the version means the newest, which is what the plan was made with; null drafts are none, and a
            # latency that nothing bounds has a null interval
            for key in group.keys() - {"engine_version", "speculative"} - {k for k in group if group[k] is None}:
                path = ("workloads", w, "replica_groups", g, key)
                assert problems(changed(keys, path, None), scenario, catalog), path
                assert problems(without(keys, path), scenario, catalog), path


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model", "Qwen/Qwen3-8B"),
        ("gpu", "h200-sxm"),
        ("weight_dtype", "awq-int4"),
        ("kv_cache_dtype", "fp8-e5m2"),
        ("engine", "sglang"),
        ("engine_version", "0.9"),
        ("engine_version", "new"),
        ("offer", "other"),
        ("limit", "patience"),
        ("model", "nobody/nothing"),
    ],
)
def test_another_lawful_name_is_noticed_too(
    key: str, value: str, keys: dict[str, Any], scenario: Scenario, catalog: Catalog
) -> None:
    assert problems(changed(keys, ("workloads", 0, "replica_groups", 0, key), value), scenario, catalog)


@pytest.mark.parametrize(
    ("workload", "settings", "message"),
    [
        ("chat", {"weight_dtypes": ["awq-int4"]}, "the workload accepts awq-int4"),
        ("chat", {"engines": ["sglang"]}, "engine is vllm, the workload accepts sglang"),
        ("chat", {"tp": [16]}, "the workload accepts 16"),
        ("chat", {"max_batch_size": [1]}, "the workload accepts 1"),
        ("chat", {"max_context": "32k"}, "requests of 32000 tokens must be accepted"),
        ("chat", {"min_quality": "100%"}, "min_quality is 1"),
        ("giant", {"max_gpus_per_replica": 8}, "giant on node: 16 GPUs a replica, max_gpus_per_replica is 8"),
        ("giant", {"model": "Qwen/Qwen3-32B"}, "model is Qwen/Qwen3-235B-A22B, the workload accepts Qwen/Qwen3-32B"),
        ("chat", {"slo": {"ttft_p95": "1ms"}}, "is served with ttft_p95 of"),
        ("chat", {"slo": {"tpot_mean": "1ms"}}, "the target is 1 ms"),
        ("chat", {"slo": {"e2e_p99": "1ms"}}, "is served with e2e_p99 of"),
        ("chat", {"requests": "10/s"}, "demand_rps is 9, requests × peak are 10"),
    ],
)
def test_what_the_workload_does_not_accept_is_named(
    workload: str, settings: dict[str, Any], message: str, layout: Layout, catalog: Catalog
) -> None:
    # min_quality 100%: a cache in fp8 is below it
    found = verify(layout, load_scenario(tighter(workload, **settings), catalog), catalog)
    assert any(message in problem for problem in found), found


def test_two_formats_for_one_workload_are_named(keys: dict[str, Any], scenario: Scenario, catalog: Catalog) -> None:
    broken = copy.deepcopy(keys)
    groups = broken["workloads"][0]["replica_groups"]
    other = {"bf16": "fp8", "fp8": "bf16"}[groups[0]["weight_dtype"]]
    groups.append({**copy.deepcopy(groups[0]), "weight_dtype": other})
    assert "chat: single_format is asked for, and its replicas use bf16, fp8" in problems(broken, scenario, catalog)


def test_a_replica_that_does_not_fit_is_named_with_the_reason(
    keys: dict[str, Any], scenario: Scenario, catalog: Catalog
) -> None:
    broken = copy.deepcopy(keys)
    giant = broken["workloads"][1]["replica_groups"][0]
    giant |= {"pp": 1, "gpus_per_replica": 8}
    found = problems(broken, scenario, catalog)
    # 235 billion parameters at 16 bit over 8 GPUs are 54.7 GiB each: loads, but with less room for the cache
    assert any("giant on node: memory.weights_gib is" in problem for problem in found)
    giant |= {"tp": 2, "gpus_per_replica": 2}
    found = problems(broken, scenario, catalog)
    assert "giant on node: does not run: the weights alone exceed the memory" in found
