"""A sound plan of several futures verifies; whatever is changed in it is noticed, whichever future it is in."""

from __future__ import annotations

from typing import Any

import pytest
from sound_plans import FUTURES, changed, leaves, other_values, without

from catalog import Catalog
from optimizer import load_plan, load_scenario, optimize, verify
from optimizer.errors import InputError
from optimizer.scenario import Scenario

UNKNOWABLE = ("schema_version", "status", "solve_seconds", "solver", "warnings", "assumptions", "infeasible")
"""What nobody but the solver can know, or what the class itself keeps fixed."""


@pytest.fixture(scope="module")
def scenario(catalog: Catalog) -> Scenario:
    return load_scenario(FUTURES, catalog)


@pytest.fixture(scope="module")
def keys(scenario: Scenario, catalog: Catalog) -> dict[str, Any]:
    layout = optimize(scenario, catalog, gap=0.0)
    assert layout.status == "optimal"
    assert verify(layout, scenario, catalog) == []
    return layout.model_dump(mode="json")


def problems(keys: dict[str, Any], scenario: Scenario, catalog: Catalog) -> list[str]:
    """What verify says; a plan that cannot even be read is noticed too."""
    try:
        return verify(load_plan(keys), scenario, catalog)
    except InputError as error:
        return [str(error)]


def test_every_changed_leaf_is_noticed(keys: dict[str, Any], scenario: Scenario, catalog: Catalog) -> None:
    unnoticed = [
        (path, value, other)
        for path, value in leaves(keys)
        if path[0] not in UNKNOWABLE
        for other in other_values(value)
        if other != value and not problems(changed(keys, path, other), scenario, catalog)
    ]
    assert unnoticed == []


def test_a_future_left_out_is_noticed(keys: dict[str, Any], scenario: Scenario, catalog: Catalog) -> None:
    found = problems(without(keys, ("futures", 1)), scenario, catalog)
    assert found == ["the futures of the plan are not usual, surge"]


def test_orders_that_wait_until_demand_is_known_are_noticed(
    keys: dict[str, Any], scenario: Scenario, catalog: Catalog
) -> None:
    path = ("futures", 1, "periods", 0, "purchases")
    found = problems(changed(keys, path, []), scenario, catalog)
    assert "surge: period 1 does not order what it orders in usual" in found
