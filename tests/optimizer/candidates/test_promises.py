"""What candidates promise holds when it is derived again from what the plan says of them."""

from __future__ import annotations

from typing import Any

import pytest

from catalog import Catalog
from optimizer import load_scenario, optimize, verify


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


def test_a_model_too_short_for_the_longest_request_is_not_chosen(catalog: Catalog) -> None:
    # Qwen3-8B is cheaper to run, and ends at 40,960 tokens
    models = ["Qwen/Qwen3-8B", "Qwen/Qwen3-30B-A3B-Instruct-2507"]
    scenario = load_scenario(one_workload(model=models, max_context="60k"), catalog)
    layout = optimize(scenario, catalog)
    assert {group.model for group in layout.workloads[0].replica_groups} == {models[1]}
    assert verify(layout, scenario, catalog) == []
