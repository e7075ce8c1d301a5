"""What is checked but not solved by this version is said, with its line."""

from __future__ import annotations

from typing import Any

import pytest
from base_scenario import scenario_with

from catalog import Catalog
from optimizer.scenario import load_scenario, parse_scenario

NOT_YET: list[tuple[str, dict[str, Any], str]] = [
    ("objective", {"objective": "carbon"}, "objective carbon"),
]


@pytest.mark.parametrize(("key", "change", "what"), NOT_YET, ids=[key for key, _, _ in NOT_YET])
def test_it_is_valid_and_said_to_be_unsupported(key: str, change: dict[str, Any], what: str, catalog: Catalog) -> None:
    (fault,) = load_scenario(scenario_with(**change), catalog).unsupported()
    assert fault.key == key
    assert fault.message == f"not supported yet: {what}"


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"periods": 1, "confidence": "50%", "objective": "cost", "discount_rate": "0%/yr"},
        {"objective": "served", "workload": {"priority": 2}},
        {"objective": "served", "horizon": "12mo", "periods": 2},
        {"objective": "served", "demand_scenarios": {"same": {"probability": "100%"}}},
        {"objective": "served", "workload": {"spare": "n+1"}},
        {"workload": {"priority": 1, "spare": "none", "growth": "0%/period"}},
        {"offer": {"buy": {"price": "$265k/server", "life": "48mo", "lead_time": "3mo"}, "own": 2}},
    ],
)
def test_what_asks_for_nothing_more_is_supported(change: dict[str, Any], catalog: Catalog) -> None:
    assert load_scenario(scenario_with(**change), catalog).unsupported() == ()


def test_it_is_said_at_its_line(catalog: Catalog) -> None:
    text = (
        "inventory: {node: {gpu: h100-sxm, gpus_per_server: 8, own: 1}}\n"
        "workloads:\n"
        "  chat:\n"
        "    model: Qwen/Qwen3-8B\n"
        "    requests: 2/s\n"
        "    input_tokens: 10\n"
        "    output_tokens: 10\n"
        "    slo: throughput\n"
        "objective: carbon\n"
        "name: x\n"
    )
    faults = parse_scenario(text, "x.yaml", catalog).unsupported()
    assert [str(fault.location) for fault in faults] == ["x.yaml:9:1"]
