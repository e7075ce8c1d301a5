"""Plans draft tokens where it pays, say so, verify, and start engines accordingly."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import pytest

from catalog import Catalog, load_catalog
from optimizer import load_plan, load_scenario, optimize, verify
from optimizer.exporters import EXPORTERS
from optimizer.layout import Layout
from optimizer.scenario import Scenario
from optimizer.topology import build_topology

EAGLE = {"method": "eagle", "tokens": 3, "acceptance": "70%", "draft": "yuhuili/EAGLE3-LLaMA3.1-Instruct-8B"}
DRAFTS_OF_VLLM = {"method": "eagle3", "model": EAGLE["draft"], "num_speculative_tokens": 3}


@lru_cache
def scenario_of(tpot: str, engine: str = "vllm") -> Scenario:
    chat = {
        "model": "meta-llama/Llama-3.1-8B-Instruct", "requests": "4/s", "input_tokens": 500, "output_tokens": 200,
        "slo": {"ttft_p95": "3s", "tpot_p95": tpot}, "weight_dtypes": ["bf16"], "tp": [1], "speculative": EAGLE,
        "engines": [engine],
    }  # fmt: skip
    offer = {"gpu": "h100-sxm", "gpus_per_server": 1, "rent": {"price": "$2/gpu/h"}}
    return load_scenario({"name": "drafts", "workloads": {"chat": chat}, "inventory": {"node": offer}}, load_catalog())


@lru_cache
def solved(tpot: str, engine: str = "vllm") -> Layout:
    return optimize(scenario_of(tpot, engine), load_catalog())


def test_a_target_that_only_drafts_reach_is_reached_with_them(catalog: Catalog) -> None:
    # A step of 8 B weights in bf16 takes more than 5.5 ms on this card: a token a step cannot keep up
    (group,) = solved("5.5ms").workloads[0].replica_groups
    assert group.speculative is not None
    assert (group.speculative.method, group.speculative.tokens, group.speculative.estimated) == ("eagle", 3, False)
    assert verify(solved("5.5ms"), scenario_of("5.5ms"), catalog) == []
    assert any(
        "drafts 3 tokens a step by eagle, each accepted with 70%" in line for line in solved("5.5ms").assumptions
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": 4}, "speculative.tokens is 4, the workload says 3"),
        ({"acceptance_fraction": 0.9}, "speculative.acceptance_fraction is 0.9"),
        (None, "computed"),
    ],
)
def test_a_plan_that_drafts_otherwise_is_found_out(changes: Any, message: str, catalog: Catalog) -> None:
    keys = solved("5.5ms").model_dump(mode="json")
    group = keys["workloads"][0]["replica_groups"][0]
    group["speculative"] = None if changes is None else {**group["speculative"], **changes}
    assert any(message in fault for fault in verify(load_plan(keys), scenario_of("5.5ms"), catalog))


def test_engines_are_told_in_their_own_words(catalog: Catalog) -> None:
    topology = build_topology(solved("5.5ms"), catalog)
    (text,) = [text for name, text in EXPORTERS["vllm"].render(topology).files.items() if name.endswith(".yaml")]
    assert json.dumps(DRAFTS_OF_VLLM, separators=(",", ":")) in text
    topology = build_topology(solved("6ms", "sglang"), catalog)
    (text,) = [text for name, text in EXPORTERS["sglang"].render(topology).files.items() if name.endswith(".yaml")]
    for line in (
        "speculative-algorithm: EAGLE3", "speculative-num-steps: 3", "speculative-eagle-topk: 1",
        "speculative-num-draft-tokens: 4", f'speculative-draft-model-path: {EAGLE["draft"]}',
    ):  # fmt: skip
        assert line in text


SMALL = {"method": "draft_model", "tokens": 3, "acceptance": "75%", "draft": "Qwen/Qwen3-0.6B"}


@lru_cache
def solved_with_a_small_model(engine: str) -> tuple[Scenario, Layout]:
    chat = {
        "model": "Qwen/Qwen3-32B", "requests": "1/s", "input_tokens": 500, "output_tokens": 200, "engines": [engine],
        "slo": {"ttft_p95": "3s", "tpot_p95": "13ms"}, "weight_dtypes": ["bf16"], "tp": [2], "speculative": SMALL,
    }  # fmt: skip
    offer = {"gpu": "h100-sxm", "gpus_per_server": 2, "rent": {"price": "$2/gpu/h"}}
    given = {"name": "small drafts", "workloads": {"chat": chat}, "inventory": {"node": offer}}
    scenario = load_scenario(given, load_catalog())
    return scenario, optimize(scenario, load_catalog())


@pytest.mark.parametrize(
    ("engine", "lines"),
    [
        ("vllm", [json.dumps({"method": "draft_model", "model": "Qwen/Qwen3-0.6B", "num_speculative_tokens": 3},
                             separators=(",", ":"))]),
        ("sglang", ["speculative-algorithm: STANDALONE", "speculative-draft-model-path: Qwen/Qwen3-0.6B",
                    "speculative-num-steps: 3", "speculative-num-draft-tokens: 4"]),
    ],
)  # fmt: skip
def test_a_small_model_drafts_where_the_target_needs_it(engine: str, lines: list[str], catalog: Catalog) -> None:
    # A step over 33 GB of weights on each card takes more than 13 ms
    scenario, layout = solved_with_a_small_model(engine)
    (group,) = layout.workloads[0].replica_groups
    assert group.speculative is not None
    assert (group.speculative.method, group.speculative.draft) == ("draft_model", "Qwen/Qwen3-0.6B")
    assert verify(layout, scenario, catalog) == []
    plan = load_plan(layout.model_dump(mode="json"))
    assert verify(plan, load_scenario(plan.inputs, catalog), catalog) == []
    (text,) = [
        t for name, t in EXPORTERS[engine].render(build_topology(layout, catalog)).files.items() if "yaml" in name
    ]
    assert all(line in text for line in lines)


def test_another_small_model_than_was_asked_for_is_found_out(catalog: Catalog) -> None:
    scenario, layout = solved_with_a_small_model("vllm")
    keys = layout.model_dump(mode="json")
    keys["workloads"][0]["replica_groups"][0]["speculative"]["draft"] = "Qwen/Qwen3-1.7B"
    problems = verify(load_plan(keys), scenario, catalog)
    assert any("speculative.draft is Qwen/Qwen3-1.7B, the workload says Qwen/Qwen3-0.6B" in one for one in problems)
