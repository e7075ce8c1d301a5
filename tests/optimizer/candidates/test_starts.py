"""The flags a replica is started with: those that carry most, and no more memory than is safe."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from catalog import Catalog
from optimizer import load_scenario, optimize, verify
from optimizer.candidates.asked import Asked
from optimizer.candidates.enumerate import batch_sizes, choices_of, places_on
from optimizer.candidates.physics import Physics
from optimizer.candidates.prune import packed
from optimizer.candidates.rated import Rated
from optimizer.candidates.search import Search
from optimizer.candidates.starts import LEAN, Starts
from optimizer.errors import InputError
from optimizer.memory import FlagDefaults, flag_defaults, replica_memory
from optimizer.scenario import Scenario
from optimizer.serving_config import one_configuration

CARDS = ("l4", "t4", "a100-80gb-sxm", "h100-sxm")


def scenario(**workload: Any) -> Scenario:
    given = {"model": "Qwen/Qwen3-14B", "requests": "2/s", "input_tokens": 1800, "output_tokens": 350,
             "slo": {"ttft_p95": "2s", "tpot_p95": "60ms"}, "max_gpus_per_replica": 2} | workload  # fmt: skip
    offers = {gpu: {"gpu": gpu, "gpus_per_server": 2, "rent": {"price": "$1/gpu/h"}} for gpu in CARDS}
    return load_scenario({"name": "flags", "workloads": {"chat": given}, "inventory": offers})


def rated(asked: Scenario, catalog: Catalog) -> Rated:
    workload = asked.workloads["chat"]
    (model,), (engine,) = workload.models, workload.engines
    offers = list(asked.inventory.values())
    choices = choices_of(workload, offers, catalog, model, engine)
    configurations = choices.configurations(choices.accepted(workload.min_quality_fraction))
    physics = Physics.of(configurations, batch_sizes(workload), catalog.calibration)
    places, kind = places_on(offers, configurations)
    holds = packed(places)[kind]
    (found,) = Search([Asked(workload, physics, np.arange(len(configurations)), holds)]).run()
    return found.rated


def most_rps(found: Rated) -> dict[tuple[object, ...], np.ndarray]:
    """Configuration -> [R] the largest rate of each class over its rows."""
    c, best = found.configurations, {}
    for row, rates in enumerate(found.rate_rps):
        key = tuple(int(x[row]) for x in (c.gpu, c.weight_format, c.kv_format, c.tp, c.pp, c.dp, c.ep))
        best[key] = np.maximum(best.get(key, 0.0), rates)
    return best


@pytest.mark.parametrize(
    "workload",
    [
        {},
        {"slo": "throughput"},
        {"input_tokens": 12000, "output_tokens": 300, "slo": {"ttft_p95": "20s"}},
        {"model": "Qwen/Qwen3-30B-A3B", "max_context": "16k", "slo": {"tpot_p95": "40ms"}},
        {"classes": {"short": {"share": "80%", "input_tokens": 300, "output_tokens": 100},
                     "long": {"share": "20%", "input_tokens": 6000, "output_tokens": 500}},
         "input_tokens": None, "output_tokens": None},
    ],
)  # fmt: skip
def test_no_number_of_tokens_carries_more_than_what_was_chosen(workload: dict[str, Any], catalog: Catalog) -> None:
    given = {key: value for key, value in workload.items() if value is not None}
    asked = scenario_with_classes(given) if "classes" in given else scenario(**given)
    chosen = most_rps(rated(asked, catalog))
    one = asked.workloads["chat"]
    for budget in (512, 2048, 4096, 8192, 16384):
        fixed = one.model_copy(update={"max_num_batched_tokens": (budget,)})
        by_hand = rated(asked.model_copy(update={"workloads": {"chat": fixed}}), catalog)
        names = [gpu.id for gpu in by_hand.configurations.gpus]
        for key, rates in most_rps(by_hand).items():
            default = 8192 if names[key[0]] == "h100-sxm" else 2048
            if budget not in looked_at(default, asked):
                continue
            assert key in chosen, (names[key[0]], budget)
            # loads are told apart in steps of 1/4096 of what can decode, which a nearly idle replica feels
            assert (rates <= chosen[key] * (1 + 2e-3) + 1e-3).all(), (names[key[0]], budget, rates, chosen[key])


def scenario_with_classes(given: dict[str, Any]) -> Scenario:
    whole = scenario().canonical()
    del whole["workloads"]["chat"]["input_tokens"], whole["workloads"]["chat"]["output_tokens"]
    whole["workloads"]["chat"]["classes"] = given["classes"]
    return load_scenario(whole)


def looked_at(default: int, asked: Scenario) -> set[int]:
    """Of a card whose default that is."""
    one = flags_of(asked, default)
    return set(one.tokens[:, 0].tolist())


def flags_of(asked: Scenario, default: int) -> Starts:
    return Starts.of(asked.workloads["chat"], FlagDefaults(np.array([default]), np.array([0.92]), np.array([0.95])))


def test_more_than_the_default_is_looked_at_only_for_prompts_that_do_not_fit() -> None:
    assert flags_of(scenario(input_tokens=1800), 2048).tokens[:, 0].tolist() == [2048, 2048, 2048 // LEAN]
    # 5,000 tokens fit into a step of 8,192
    assert flags_of(scenario(input_tokens=5000), 2048).tokens[:, 0].tolist() == [8192, 2048, 512]
    # 30 % of them need not be computed: 3,500 fit into 4,096
    cached = scenario(input_tokens=5000, prefix_hit="30%")
    assert flags_of(cached, 2048).tokens[:, 0].tolist() == [4096, 2048, 512]
    fixed = flags_of(scenario(max_num_batched_tokens=[1024, 4096], gpu_memory_utilization="85%"), 2048)
    assert fixed.tokens[:, 0].tolist() == [4096, 1024]
    assert fixed.fraction.tolist() == [0.85]


@pytest.mark.parametrize(
    ("gpu", "most"),
    [
        ("h100-sxm", 0.95),  # 1 − (0.51 + 1) / 79.19 = 0.98, but nothing is known of more than 0.95
        ("l4", 0.93),  # 1 − 1.51 / 22.05 = 0.9315
        ("t4", 0.92),  # 1 − 1.51 / 14.6 = 0.897: the default starts, and no more is asked for
    ],
)
def test_the_memory_asked_for_leaves_what_start_up_takes_and_a_reserve(gpu: str, most: float, catalog: Catalog) -> None:
    one = one_configuration(
        catalog.models["Qwen/Qwen3-4B"], catalog.engines["vllm"], None, catalog.gpus[gpu], catalog.formats["fp16"],
        catalog.kv_formats["auto"],
    )  # fmt: skip
    defaults = flag_defaults(one, max_num_seqs=np.array([64]))
    assert (float(defaults.utilization_fraction[0]), float(defaults.most_fraction[0])) == (0.92, most)
    for fraction, reason in ((most, True), (most + 0.01, False)):
        asked = {"max_model_len": 4096, "max_num_seqs": 64, "gpu_memory_utilization": fraction}
        assert bool(replica_memory(one, **asked, with_margin=True).fits[0]) is reason


def test_a_plan_keeps_the_engine_s_fraction_where_that_is_enough(catalog: Catalog) -> None:
    # Of 79.19 GiB 0.92 leave a cache of 43.5 GiB, 0.95 of 45.9: room for 99 requests of 2,975 tokens at 160 KiB each,
    # which take 44.9, where 2,400 tokens of input let 108 into either
    for inputs, fraction in ((2400, 0.92), (2800, 0.95)):
        asked = scenario(
            slo="throughput", input_tokens=inputs, weight_dtypes=["bf16"], kv_cache_dtypes=["auto"], tp=[1]
        )
        asked = asked.model_copy(update={"inventory": {"h100-sxm": asked.inventory["h100-sxm"]}})
        plan = optimize(asked, catalog)
        assert {g.gpu_memory_utilization for w in plan.workloads for g in w.replica_groups} == {fraction}
        assert verify(plan, asked, catalog) == []


def test_a_fixed_fraction_and_number_of_tokens_are_kept_to(catalog: Catalog) -> None:
    asked = scenario(max_num_batched_tokens=[4096], gpu_memory_utilization="80%")
    plan = optimize(asked, catalog)
    (group,) = (g for w in plan.workloads for g in w.replica_groups)
    assert (group.max_num_batched_tokens, group.gpu_memory_utilization) == (4096, 0.8)
    assert verify(plan, asked, catalog) == []
    other = group.model_copy(update={"max_num_batched_tokens": 2048, "gpu_memory_utilization": 0.9})
    workload = plan.workloads[0].model_copy(update={"replica_groups": (other,)})
    problems = verify(plan.model_copy(update={"workloads": (workload,)}), asked, catalog)
    assert any("max_num_batched_tokens is 2048, the workload accepts 4096" in p for p in problems)
    assert any("gpu_memory_utilization is 0.9, the workload asks for 0.8" in p for p in problems)


@pytest.mark.parametrize("engines", [["vllm", "sglang"], ["llamacpp"]])
def test_a_fraction_is_of_one_engine_that_has_one(engines: list[str]) -> None:
    with pytest.raises(InputError, match=r"means another thing|takes no fraction"):
        scenario(engines=engines, gpu_memory_utilization="90%")


def test_what_nothing_bounds_is_null(catalog: Catalog) -> None:
    plan = optimize(scenario(slo="throughput"), catalog)
    (group,) = (g for w in plan.workloads for g in w.replica_groups)
    assert group.ttft_ms is not None
    assert group.tpot_ms is not None
    assert set(group.ttft_ms.values()) == {None}
    assert group.ttft_interval_ms is None
    assert all(value is not None for value in group.tpot_ms.values())
    assert verify(plan, scenario(slo="throughput"), catalog) == []
    claimed = group.model_copy(update={"ttft_ms": dict.fromkeys(group.ttft_ms, 100.0)})
    workload = plan.workloads[0].model_copy(update={"replica_groups": (claimed,)})
    problems = verify(plan.model_copy(update={"workloads": (workload,)}), scenario(slo="throughput"), catalog)
    assert any("ttft_ms mean is 100, computed unbounded" in p for p in problems)
