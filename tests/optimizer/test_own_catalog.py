"""A plan made with entries of the user's own can be verified by whoever has only the plan and the shipped catalog."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from catalog import Catalog, load_catalog
from optimizer import load_plan, load_scenario, optimize, verify
from optimizer.plans import dump_plan

GIVEN: dict[str, Any] = {
    "name": "own",
    "workloads": {
        "chat": {
            "model": "Qwen/Qwen3-8B",
            "requests": "1/s",
            "input_tokens": 500,
            "output_tokens": 100,
            "slo": "throughput",
            "weight_dtypes": ["bf16"],
        }
    },
    "inventory": {"l40s": {"gpu": "l40s", "gpus_per_server": 1, "rent": {"price": "$1/gpu/h"}}},
}


@pytest.fixture
def own_catalog(tmp_path: Path, catalog: Catalog) -> Catalog:
    """The shipped catalog with half an L40S's bandwidth: rates and latencies of a plan depend on it."""
    card = catalog.gpus["l40s"].model_copy(update={"memory_bandwidth_gb_per_s": 432.0})
    entry = tmp_path / "l40s.json"
    entry.write_text('{"replaces": true, ' + card.model_dump_json().removeprefix("{"))
    return load_catalog(entry)


def test_it_verifies_without_the_users_files(own_catalog: Catalog, catalog: Catalog) -> None:
    layout = optimize(load_scenario(GIVEN, own_catalog), own_catalog)
    assert layout.catalog_version == catalog.version == own_catalog.shipped_version != own_catalog.version
    read = load_plan(json.loads(dump_plan(layout)))
    assert verify(read, load_scenario(read.inputs, catalog), catalog) == []


def test_entries_given_only_when_solving_are_part_of_the_plan_too(own_catalog: Catalog, catalog: Catalog) -> None:
    scenario = load_scenario(GIVEN, catalog)
    layout = optimize(scenario, own_catalog)
    assert [entry["id"] for entry in layout.inputs["catalog"]] == ["l40s"]
    assert verify(layout, scenario, own_catalog) == []
    assert verify(layout, load_scenario(layout.inputs, catalog), catalog) == []
    assert verify(layout, scenario, catalog) != []  # another card: the plan's figures are not that one's
