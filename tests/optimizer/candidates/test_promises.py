"""What candidates promise holds when it is derived again from what the plan says of them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from catalog import Catalog
from optimizer import load_scenario, optimize, verify
from optimizer.candidates import build_candidates
from optimizer.memory import estimate_memory


def one_workload(**settings: Any) -> dict[str, Any]:
    """Chat on rented H100s."""
    return {
        "name": "promises",
        "workloads": {
            "chat": {
                "model": "Qwen/Qwen3-8B",
                "requests": "5/s",
                "input_tokens": 1000,
                "output_tokens": 200,
                "slo": "throughput",
                **settings,
            }
        },
        "inventory": {"node": {"gpu": "h100-sxm", "gpus_per_server": 8, "rent": {"price": "$2.40/gpu/h"}}},
    }


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm", "llamacpp"])
def test_the_engine_version_in_a_plan_is_one_that_gives_its_figures(engine: str, catalog: Catalog) -> None:
    scenario = load_scenario(one_workload(engines=[engine]), catalog)
    layout = optimize(scenario, catalog)
    assert layout.status == "optimal"
    assert verify(layout, scenario, catalog) == []
    # the newest by memory rules and by speed: what leaving the version out means
    version = layout.workloads[0].replica_groups[0].engine_version
    assert version is not None
    assert catalog.engines[engine].at(version) == catalog.engines[engine].at(None)
    assert catalog.calibration.era_of(engine, version) == catalog.calibration.era_of(engine, None)


def test_llamacpp_never_gets_more_slots_than_it_can_take_whole_contexts_for(catalog: Catalog) -> None:
    # llama-server takes parallel × max_context tokens at start, whatever the requests turn out to be
    scenario = load_scenario(one_workload(engines=["llamacpp"], max_context="32k"), catalog)
    layout = optimize(scenario, catalog)
    assert layout.status == "optimal"
    for group in layout.workloads[0].replica_groups:
        asked = {"engine": "llamacpp", "gpu": group.gpu, "weight_dtype": group.weight_dtype, "tp": group.tp,
                 "pp": group.pp, "kv_cache_dtype": group.kv_cache_dtype, "max_model_len": group.max_model_len,
                 "max_num_batched_tokens": group.max_num_batched_tokens}  # fmt: skip
        held = estimate_memory(catalog, model=group.model, max_num_seqs=group.max_batch_size, **asked)
        assert held.fits
        assert held.max_concurrency >= group.max_batch_size > 1
        crowded = 2 * math.ceil(held.max_concurrency)
        assert estimate_memory(catalog, model=group.model, max_num_seqs=crowded, **asked).reason_key == "slots"
    assert verify(layout, scenario, catalog) == []


def test_a_model_too_short_for_the_longest_request_is_not_chosen(catalog: Catalog) -> None:
    # Qwen3-8B is cheaper to run, and ends at 40,960 tokens
    models = ["Qwen/Qwen3-8B", "Qwen/Qwen3-30B-A3B-Instruct-2507"]
    scenario = load_scenario(one_workload(model=models, max_context="60k"), catalog)
    layout = optimize(scenario, catalog)
    assert {group.model for group in layout.workloads[0].replica_groups} == {models[1]}
    assert verify(layout, scenario, catalog) == []


CLASSES = {
    "short": {"share": "80%", "input_tokens": 200, "output_tokens": 100},
    "long": {"share": "20%", "input_tokens": 6000, "output_tokens": 300},
}


def test_a_replica_that_is_too_late_for_long_prompts_still_serves_short_ones(catalog: Catalog) -> None:
    # A prompt of 6,000 tokens takes a while to compute: with short ones alone more requests are in time
    slo = {"ttft_p95": "400ms"}
    keys = one_workload(input_tokens=None, output_tokens=None, classes=CLASSES, slo=slo, requests="60/s")
    keys["workloads"]["chat"] = {key: value for key, value in keys["workloads"]["chat"].items() if value is not None}
    scenario = load_scenario(keys, catalog)
    (candidates,) = build_candidates(scenario, catalog, prune=False)
    names = [(spec.label, int(offer)) for spec, offer in zip(candidates.specs, candidates.offer, strict=True)]
    assert len(set(names)) == len(names)
    partial = {spec.serves for spec in candidates.specs}
    assert partial == {(), ("short",)}
    for spec, rates in zip(candidates.specs, candidates.rate_rps, strict=True):
        assert (rates[1] == 0) == (spec.serves == ("short",))
    layout = optimize(scenario, catalog)
    assert layout.status == "optimal"
    assert verify(layout, scenario, catalog) == []


def test_a_margin_leaves_predictions_that_far_below_the_targets(catalog: Catalog) -> None:
    rates = []
    for margin in ("0%", "30%"):
        scenario = load_scenario(one_workload(slo={"ttft_p95": "300ms"}, margin=margin, tp=[1], pp=[1]), catalog)
        layout = optimize(scenario, catalog)
        assert verify(layout, scenario, catalog) == []
        (group,) = layout.workloads[0].replica_groups
        assert group.ttft_ms is not None
        assert group.ttft_ms["p95"] <= 300 * (0.7 if margin == "30%" else 1.0)
        rates.append(group.capacity_rps / group.replicas)
    assert rates[1] < rates[0]
