"""A sound plan of several periods verifies; whatever is changed in it is noticed, whichever period it is in."""

from __future__ import annotations

from typing import Any

import pytest
from sound_plans import PERIODS, Path, changed, leaves, other_values, without

from catalog import Catalog
from optimizer import load_plan, load_scenario, optimize, verify
from optimizer.errors import InputError
from optimizer.scenario import Scenario

UNKNOWABLE = ("schema_version", "status", "solve_seconds", "solver", "warnings", "assumptions", "infeasible")
"""What nobody but the solver can know, or what the class itself keeps fixed."""


@pytest.fixture(scope="module")
def scenario(catalog: Catalog) -> Scenario:
    return load_scenario(PERIODS, catalog)


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


def test_the_plan_holds_every_kind_of_term_and_order(keys: dict[str, Any]) -> None:
    terms = {row["term"] for plan in keys["periods"] for row in plan["servers"]}
    assert terms == {"own", "buy", "reserve", "spot", "rent"}
    assert any(plan["purchases"] for plan in keys["periods"])
    assert any(plan["commitments"] for plan in keys["periods"])


def test_every_changed_leaf_is_noticed(keys: dict[str, Any], scenario: Scenario, catalog: Catalog) -> None:
    unnoticed = [
        (path, value, other)
        for path, value in leaves(keys)
        if path[0] not in UNKNOWABLE
        for other in other_values(value)
        if other != value and not problems(changed(keys, path, other), scenario, catalog)
    ]
    assert unnoticed == []


def test_everything_left_out_or_doubled_is_noticed(keys: dict[str, Any], scenario: Scenario, catalog: Catalog) -> None:
    lists: list[Path] = [("periods",)]
    for t in range(2):
        lists += [("periods", t, name) for name in ("servers", "workloads", "purchases", "commitments")]
    for path in lists:
        inner: Any = keys
        for step in path:
            inner = inner[step]
        for step in range(len(inner)):
            assert problems(without(keys, (*path, step)), scenario, catalog), (*path, step)
        if inner:
            assert problems(changed(keys, path, [*inner, inner[0]]), scenario, catalog), path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget": {"capex": "$4k", "monthly": "$50k"}}, "budget.capex is $4000"),
        ({"budget": {"capex": "$1M", "monthly": "$100"}}, "period 1: budget.monthly is $100"),
        ({"facility": {"power_cap": "0.1kW"}}, "period 1: facility.power_cap is 0.1 kW"),
    ],
)
def test_a_limit_that_is_exceeded_is_named_with_its_period(
    change: dict[str, Any], message: str, keys: dict[str, Any], catalog: Catalog
) -> None:
    found = problems(keys, load_scenario(PERIODS | change, catalog), catalog)
    assert any(problem.startswith(message) for problem in found), found


def test_the_top_of_the_plan_must_be_the_first_period(
    keys: dict[str, Any], scenario: Scenario, catalog: Catalog
) -> None:
    found = problems({**keys, "servers": keys["periods"][1]["servers"]}, scenario, catalog)
    assert found == ["servers, workloads and orders are not those of the first period"]
