"""Among plans of equal cost the one is taken that an engineer would run, and no plan costs more for it."""

from __future__ import annotations

from typing import Any

import pytest
from test_pruning import draw, usd_per_hour

from catalog import Catalog
from optimizer import load_scenario, optimize, verify
from optimizer.candidates import Preference, ReplicaSpec, build_candidates
from optimizer.layout import Layout, ReplicaGroup
from optimizer.solve import Method

MODEL = "Qwen/Qwen3-14B"
"""Published in 16 bit, as fp8-block and as awq-int4; vLLM makes fp8 of it; no checkpoint in int8 is known."""


def given(weight_dtypes: list[str], requests: str = "0.2/s", gpus: int = 1, **changes: Any) -> dict[str, Any]:
    """One workload on rented servers of A100s."""
    workload = {
        "model": MODEL,
        "requests": requests,
        "input_tokens": 1000,
        "output_tokens": 300,
        "slo": {"tpot_p95": "80ms"},
        "weight_dtypes": weight_dtypes,
        "tp": [1],
        "pp": [1],
    }
    return {
        "name": "ties",
        "workloads": {"chat": workload | changes},
        "inventory": {"node": {"gpu": "a100-80gb-sxm", "gpus_per_server": gpus, "rent": {"price": "$2/gpu/h"}}},
    }


def solved(of: dict[str, Any], catalog: Catalog, **how: Any) -> tuple[Layout, list[ReplicaGroup]]:
    scenario = load_scenario(of, catalog)
    layout = optimize(scenario, catalog, gap=0.0, **how)
    assert layout.status == "optimal"
    assert verify(layout, scenario, catalog) == []
    return layout, [group for one in layout.workloads for group in one.replica_groups]


def capacity_rps(weight_dtype: str, catalog: Catalog) -> float:
    """What one replica with the cache in 16 bit may be planned with."""
    scenario = load_scenario(given([weight_dtype], kv_cache_dtypes=["auto"]), catalog)
    (candidates,) = build_candidates(scenario, catalog)
    return float(scenario.max_utilization_fraction * candidates.rate_rps.max())


def specification(**changes: Any) -> ReplicaSpec:
    plain: dict[str, Any] = {"gpu": "l40s", "gpus": 2, "model": MODEL, "engine": "vllm", "weight_dtype": "bf16"}
    return ReplicaSpec(**plain | {"kv_cache_dtype": "auto", "tp": 2, "pp": 1, "dp": 1, "ep": 1} | changes)


def test_a_checkpoint_counts_before_quality_and_quality_before_defaults(catalog: Catalog) -> None:
    preference = Preference(load_scenario(given(["bf16"]), catalog), catalog)
    ways = [
        specification(),
        specification(max_num_batched_tokens=4096),
        specification(tp=1, pp=2, max_num_batched_tokens=4096),
        specification(weight_dtype="fp8"),  # 99.9 %, made of 16 bit by vLLM
        specification(weight_dtype="awq-int4"),  # 98.3 %, published
        specification(weight_dtype="awq-int4", kv_cache_dtype="fp8"),  # 98.3 % × 99.75 %
        specification(weight_dtype="gguf-q8_0"),  # published, but vLLM calls its support experimental
        specification(weight_dtype="int8"),  # 99 %, but somebody has to make it
    ]
    reluctance = [preference.of(way) for way in ways]
    assert reluctance == sorted(reluctance)
    assert len(set(reluctance)) == len(ways)
    assert not preference.of(specification(weight_dtype="gguf-q8_0", engine="llamacpp")).is_experimental
    assert preference.of(specification(engine="llamacpp")).lacks_checkpoint  # llama.cpp reads conversions only


@pytest.mark.parametrize("method", ["plain", "columns"])
@pytest.mark.parametrize(
    ("weight_dtypes", "taken"),
    [
        (["int8", "awq-int4"], "awq-int4"),  # a checkpoint counts more than 99 % against 98.3 %
        (["awq-int4", "bf16"], "bf16"),  # both are published: 100 % against 98.3 %
        (["int8", "int8-w8a16"], "int8-w8a16"),  # neither is: 99.9 % against 99 %
        (["int8"], "int8"),
    ],
)
def test_of_formats_that_cost_the_same_the_preferred_one_is_planned(
    weight_dtypes: list[str], taken: str, method: Method, catalog: Catalog
) -> None:
    # 0.2 requests/s keep one A100 a tenth busy in any format: one server for $2 an hour whatever is taken.
    layout, (group,) = solved(given(weight_dtypes), catalog, method=method)
    assert (group.weight_dtype, group.kv_cache_dtype, group.replicas) == (taken, "auto", 1)
    assert usd_per_hour(layout) == pytest.approx(2.0)


def test_a_checkpoint_that_the_scenario_names_is_as_good_as_a_published_one(catalog: Catalog) -> None:
    of = given(["int8", "awq-int4"]) | {"models": {MODEL: {"checkpoints": {"int8": "me/Qwen3-14B-int8"}}}}
    layout, (group,) = solved(of, catalog)
    assert group.weight_dtype == "int8"  # 99 % against 98.3 %
    assert any("is loaded from me/Qwen3-14B-int8" in line for line in layout.assumptions)


def test_what_is_preferred_but_too_slow_for_the_same_servers_is_not_taken(catalog: Catalog) -> None:
    slow, fast = capacity_rps("bf16", catalog), capacity_rps("int8", catalog)
    assert slow < 0.9 * fast
    layout, (group,) = solved(given(["bf16", "int8"], f"{0.97 * fast:.4f}/s"), catalog)
    assert (group.weight_dtype, group.replicas) == ("int8", 1)
    assert usd_per_hour(layout) == pytest.approx(2.0)
    assert "no checkpoint of Qwen/Qwen3-14B in int8 is known" in " ".join(layout.assumptions)


def test_free_gpus_of_the_same_servers_spare_a_format_without_a_checkpoint(catalog: Catalog) -> None:
    # One replica in int8 would do; in fp8 it takes two, and the second GPU of the server is paid anyway.
    fast = capacity_rps("int8", catalog)
    layout, (group,) = solved(given(["fp8", "int8"], f"{0.97 * fast:.4f}/s", gpus=2), catalog)
    assert (group.weight_dtype, group.replicas) == ("fp8", 2)
    assert usd_per_hour(layout) == pytest.approx(4.0)  # one server of two GPUs at $2


def test_free_gpus_are_not_used_for_quality_alone(catalog: Catalog) -> None:
    fast = capacity_rps("fp8", catalog)
    assert capacity_rps("bf16", catalog) < 0.9 * fast
    _, (group,) = solved(given(["bf16", "fp8"], f"{0.97 * fast:.4f}/s", gpus=2), catalog)
    assert (group.weight_dtype, group.replicas) == ("fp8", 1)


def test_a_workload_that_must_survive_losses_is_served_by_what_survives_them(catalog: Catalog) -> None:
    # Each of two servers carries everything, at up to 100 %: whatever is preferred must do so too.
    fast = capacity_rps("int8", catalog) / 0.8
    for requests, taken in ((0.2, "bf16"), (0.97 * fast, "int8")):
        _, groups = solved(given(["bf16", "int8"], f"{requests:.4f}/s", spare="n+1"), catalog)
        assert {group.weight_dtype for group in groups} == {taken}
        assert sum(group.replicas for group in groups) == 2


def test_one_format_serves_all_periods_and_classes(catalog: Catalog) -> None:
    sizes = {"short": {"input_tokens": 200, "output_tokens": 60}, "long": {"input_tokens": 3000, "output_tokens": 400}}
    classes = {name: {"share": "50%", **size} for name, size in sizes.items()}
    of = given(["bf16", "int8"], growth="60%/period", classes=classes)
    for key in ("input_tokens", "output_tokens"):
        del of["workloads"]["chat"][key]
    layout, _ = solved(of | {"horizon": "12mo", "periods": 4}, catalog)
    groups = [g for period in layout.periods for one in period.workloads for g in one.replica_groups]
    assert {group.weight_dtype for group in groups} == {"bf16"}


@pytest.mark.parametrize("seed", range(24))
def test_preference_changes_neither_cost_nor_servers(
    seed: int, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = load_scenario(draw(seed), catalog)
    taken = optimize(scenario, catalog, gap=0.0)
    monkeypatch.setattr("optimizer.api.preferred", lambda _s, _c, candidates, _inst, decision: (candidates, decision))
    any_of_them = optimize(scenario, catalog, gap=0.0)
    assert taken.status == any_of_them.status
    assert (taken.cost, taken.servers) == (any_of_them.cost, any_of_them.servers)
    assert verify(taken, scenario, catalog) == []
