"""Replicas whose stages differ under traffic: at the pace of their stages, with the cache of the fullest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from mixed_cards import L4, T4, mixed, workload

from catalog import Catalog
from optimizer import load_scenario, optimize
from optimizer.candidates import linked_spec, token_mix
from optimizer.layout import ReplicaGroup
from optimizer.memory import replica_memory
from optimizer.scenario import Scenario
from optimizer.serving_config import Links, one_configuration
from optimizer.simulation import Traffic, simulate_plan, simulated_replica
from optimizer.simulation.pipeline import pipeline_replica
from optimizer.validation import optimize_validated

ON_VLLM = workload(requests="0.08/s", tp=[1], pp=[2])
ON_LLAMACPP = ON_VLLM | {"engines": ["llamacpp"], "max_context": 4096, "max_num_batched_tokens": [512]}
ENGINES = [ON_VLLM, ON_LLAMACPP]


def planned(chat: dict[str, Any], catalog: Catalog) -> tuple[Scenario, ReplicaGroup]:
    scenario = load_scenario(mixed({"chat": chat}), catalog)
    ((group,),) = (plan.replica_groups for plan in optimize(scenario, catalog).workloads)
    assert group.stages is not None
    return scenario, group


@pytest.mark.parametrize("chat", ENGINES)
def test_even_stages_on_like_cards_are_the_ordinary_replica(chat: dict[str, Any], catalog: Catalog) -> None:
    scenario, group = planned(chat, catalog)
    spec = linked_spec(group, scenario.inventory, catalog.calibration.network_gb_per_s)
    links = Links(None, True, spec.stages[0].links.network_gb_per_s if spec.stages[0].links else None)
    halves = [stage._replace(gpu="l40s", first_layer=a, last_layer=b, links=links)
              for stage, (a, b) in zip(spec.stages, ((0, 19), (20, 39)), strict=True)]  # fmt: skip
    mix = token_mix(scenario.workloads["chat"])
    staged = pipeline_replica(replace(spec, stages=tuple(halves)), group, mix, catalog)
    one = one_configuration(
        catalog.models[str(group.model)], catalog.engines[str(group.engine)], None, catalog.gpus["l40s"],
        catalog.formats["fp16"], catalog.kv_formats["auto"], pp=2, links=links,
    )  # fmt: skip
    longest = int(group.max_model_len or 0)
    memory = replica_memory(one, max_model_len=longest, max_num_seqs=4, with_margin=True,
                            max_num_batched_tokens=group.max_num_batched_tokens,
                            gpu_memory_utilization=group.gpu_memory_utilization)  # fmt: skip
    ordinary = simulated_replica(one, memory, mix, catalog.calibration, max_model_len=longest).with_batch(4)
    # Only the second of two stages has the output matrix, 1.6 of 29.5 GB, and the slower one of both counts on vLLM.
    close = 0.001 if group.engine == "llamacpp" else 0.06
    np.testing.assert_allclose(staged.decode_ms, ordinary.decode_ms, rtol=close)
    np.testing.assert_allclose(staged.kv_ms, ordinary.kv_ms, rtol=1e-9)
    np.testing.assert_allclose(staged.prefill_ms, ordinary.prefill_ms, rtol=close)
    for name in ("alone_fraction", "beside_fraction", "request_ms", "delivery_steps", "max_batched_tokens", "blocks"):
        assert getattr(staged, name) == pytest.approx(getattr(ordinary, name), rel=1e-3), name


def test_the_slowest_stage_sets_the_pace_on_vllm_and_all_of_them_on_llamacpp(catalog: Catalog) -> None:
    for chat, together in zip(ENGINES, (np.maximum, np.add), strict=True):
        scenario, group = planned(chat, catalog)
        spec = linked_spec(group, scenario.inventory, catalog.calibration.network_gb_per_s)
        mix = token_mix(scenario.workloads["chat"])
        whole = pipeline_replica(spec, group, mix, catalog)
        first, second = (pipeline_replica(replace(spec, stages=(stage,)), group, mix, catalog) for stage in spec.stages)
        for table in ("decode_ms", "kv_ms", "prefill_ms"):
            expected = together(getattr(first, table), getattr(second, table))
            np.testing.assert_allclose(getattr(whole, table), expected)
        assert whole.blocks == min(first.blocks, second.blocks)


@pytest.mark.parametrize("chat", ENGINES)
def test_the_plan_holds_its_targets_at_the_tokens_per_second_that_it_promises(
    chat: dict[str, Any], catalog: Catalog
) -> None:
    scenario = load_scenario(mixed({"chat": chat | {"requests": "0.05/s"}}, {"old": T4, "new": L4}), catalog)
    layout = optimize(scenario, catalog)
    ((group,),) = (plan.replica_groups for plan in layout.workloads)
    outcome = simulate_plan(layout, scenario, catalog, Traffic(duration_s=6000.0))
    assert outcome.not_simulated == {}
    assert outcome.holds
    # At all that it carries, the mean time of a token is the predicted one.
    full = Traffic(duration_s=20_000.0, rate_rps={"chat": group.capacity_rps})
    (seen,) = simulate_plan(layout, scenario, catalog, full).workloads
    assert group.tpot_ms is not None
    assert seen.classes[0].statistics["tpot"]["mean"] == pytest.approx(group.tpot_ms["mean"], rel=0.05)


def test_a_validated_plan_says_what_the_simulation_found(catalog: Catalog) -> None:
    scenario = load_scenario(mixed({"chat": ON_LLAMACPP | {"requests": "0.05/s"}}), catalog)
    layout = optimize_validated(scenario, catalog, traffic=Traffic(duration_s=3000.0))
    assert any("chat: holds its targets in a simulation of 50 minutes" in one for one in layout.assumptions)
    assert not any("not simulated" in one for one in layout.assumptions)
