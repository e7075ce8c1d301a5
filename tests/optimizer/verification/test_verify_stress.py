"""What a plan says of itself under stress verifies; whatever is changed in it is noticed."""

from __future__ import annotations

from typing import Any

import pytest
from sound_plans import FUTURES, MEASURED, PERIODS, PREDICTED, changed, leaves, other_values, without

from catalog import Catalog
from optimizer import load_plan, load_scenario, optimize, verify
from optimizer.errors import InputError
from optimizer.scenario import Scenario

OF_OTHER_PLANS = ("usd_per_hour_more", "is_proven", "servers")
"""Of plans that do not stand in the plan, so that nobody can tell; where the plan itself holds there is none."""
PLANS = {"measured": MEASURED, "periods": PERIODS, "futures": FUTURES, "predicted": PREDICTED}


@pytest.fixture(scope="module", params=PLANS)
def scenario(request: pytest.FixtureRequest, catalog: Catalog) -> Scenario:
    return load_scenario(PLANS[request.param], catalog)


@pytest.fixture(scope="module")
def keys(scenario: Scenario, catalog: Catalog) -> dict[str, Any]:
    layout = optimize(scenario, catalog, gap=0.01, stressed=True)
    assert verify(layout, scenario, catalog) == []
    assert len(layout.stress) == 3
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
        if path[0] == "stress" and not set(path) & set(OF_OTHER_PLANS)
        for other in other_values(value)
        # Where as little is served in both periods, either is the one in which the least is.
        if other != value
        and not (path[-1] == "period" and other in (1, 2))
        and not problems(changed(keys, path, other), scenario, catalog)
    ]
    assert unnoticed == []


def test_a_workload_left_out_is_noticed(keys: dict[str, Any], scenario: Scenario, catalog: Catalog) -> None:
    found = problems(without(keys, ("stress", 1, "workloads", 0)), scenario, catalog)
    assert any("the plan serves" in problem for problem in found)


def test_a_remedy_that_costs_less_than_nothing_is_noticed(
    keys: dict[str, Any], scenario: Scenario, catalog: Catalog
) -> None:
    remedy = {"usd_per_hour_more": -1.0, "is_proven": True, "servers": []}
    found = problems(changed(keys, ("stress", 1, "robust"), remedy), scenario, catalog)
    assert any(problem.startswith("stress demand × 1.5: robust") for problem in found)
