"""A plan with pipelines over several offers verifies, and whatever is changed of it is noticed."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from mixed_cards import L4, T4, mixed, workload
from sound_plans import changed, leaves, other_values

from catalog import Catalog
from optimizer import load_plan, load_scenario, optimize, verify
from optimizer.errors import InputError
from optimizer.layout import Layout
from optimizer.scenario import Scenario

TWO_FORMATS = {"chat": workload(weight_dtypes=["fp16", "gptq-int4"], min_quality="99%", tp=[1], pp=[2])}


@pytest.fixture(scope="module")
def scenario(catalog: Catalog) -> Scenario:
    return load_scenario(mixed(TWO_FORMATS), catalog)


@pytest.fixture(scope="module")
def layout(scenario: Scenario, catalog: Catalog) -> Layout:
    return optimize(scenario, catalog)


def problems(keys: dict[str, Any], scenario: Scenario, catalog: Catalog) -> list[str]:
    try:
        return verify(load_plan(keys), scenario, catalog)
    except InputError as error:
        return [str(error)]


def with_stages(layout: Layout, **changes: Any) -> dict[str, Any]:
    """The plan as JSON with keys of its only group changed; `stages` is a list of what changes in each."""
    keys = layout.model_dump(mode="json")
    (group,) = keys["workloads"][0]["replica_groups"]
    for stage, change in zip(group["stages"], changes.pop("stages", ()), strict=False):
        stage |= change
    group |= changes
    return keys


def test_the_plan_is_sound_and_in_two_formats(layout: Layout, scenario: Scenario, catalog: Catalog) -> None:
    ((group,),) = (plan.replica_groups for plan in layout.workloads)
    assert group.weight_dtype == "fp16+gptq-int4"
    assert [stage.offer for stage in group.stages or ()] in (["old", "new"], ["new", "old"])
    assert verify(layout, scenario, catalog) == []
    assert load_plan(layout.model_dump(mode="json")) == layout


def test_every_changed_leaf_of_a_group_is_noticed(layout: Layout, scenario: Scenario, catalog: Catalog) -> None:
    keys = layout.model_dump(mode="json")
    unnoticed = [
        (path, value, other)
        for path, value in leaves(keys["workloads"], ("workloads",))
        for other in other_values(value)
        if other != value and not problems(changed(keys, path, other), scenario, catalog)
    ]
    assert unnoticed == [], unnoticed


def test_layers_must_be_held_once_and_in_order(layout: Layout, scenario: Scenario, catalog: Catalog) -> None:
    for layers in (
        [[0, -1], [0, -1]],
        [[0, 20], [20, 39]],
        [[0, 20], [22, 39]],
        [[0, 20], [21, 40]],
        [[0, 39], [40, 39]],
        [[1, 20], [21, 39]],
    ):
        spoiled = with_stages(layout, stages=[{"layers": one} for one in layers])
        assert any("stages hold the layers" in one for one in problems(spoiled, scenario, catalog))


def test_a_stage_left_out_is_noticed(layout: Layout, scenario: Scenario, catalog: Catalog) -> None:
    keys = layout.model_dump(mode="json")
    del keys["workloads"][0]["replica_groups"][0]["stages"][1]
    assert any("expected pp 2 of them" in one for one in problems(keys, scenario, catalog))


def test_quality_is_the_mean_over_layers(layout: Layout) -> None:
    ((group,),) = (plan.replica_groups for plan in layout.workloads)
    layers = {stage.weight_dtype: 1 + stage.layers[1] - stage.layers[0] for stage in group.stages or ()}
    # Of 14B models the catalog has 99.95 % for fp16 and 98.2 % for int4.
    expected = (layers["fp16"] * 0.9995 + layers["gptq-int4"] * 0.982) / 40
    assert group.quality == pytest.approx(expected)
    assert group.quality >= 0.99


def test_more_layers_in_the_lesser_format_break_the_quality_asked_for(
    layout: Layout, scenario: Scenario, catalog: Catalog
) -> None:
    spoiled = with_stages(layout, stages=[{"layers": [0, 9]}, {"layers": [10, 39]}])
    assert any("min_quality is 0.99" in one for one in problems(spoiled, scenario, catalog))


def test_it_must_be_asked_for_on_an_engine_that_can(layout: Layout, catalog: Catalog) -> None:
    given = mixed(copy.deepcopy(TWO_FORMATS))
    given["workloads"]["chat"]["heterogeneous_pipelines"] = False
    refusing = load_scenario(given, catalog)
    assert any("does not ask for heterogeneous_pipelines" in one for one in verify(layout, refusing, catalog))
    scenario = load_scenario(mixed(TWO_FORMATS), catalog)
    spoiled = with_stages(layout, engine="sglang")
    assert any("sglang runs no such pipeline" in one for one in problems(spoiled, scenario, catalog))


def test_a_plan_on_llamacpp_verifies_and_every_change_is_noticed(catalog: Catalog) -> None:
    chat = workload(engines=["llamacpp"], max_num_batched_tokens=[512], max_context=4096)
    scenario = load_scenario(mixed({"chat": chat}), catalog)
    layout = optimize(scenario, catalog)
    assert verify(layout, scenario, catalog) == []
    keys = layout.model_dump(mode="json")
    unnoticed = [
        (path, value, other)
        for path, value in leaves(keys["workloads"], ("workloads",))
        for other in other_values(value)
        if other != value and not problems(changed(keys, path, other), scenario, catalog)
    ]
    assert unnoticed == [], unnoticed
    wider = with_stages(layout, tp=2, gpus_per_replica=4, stages=[{"tp": 2}, {"tp": 2}])
    assert any("llamacpp gives a stage one" in one for one in problems(wider, scenario, catalog))


def test_stages_stay_in_one_region(layout: Layout, catalog: Catalog) -> None:
    offers = {"old": T4 | {"region": "east"}, "new": L4 | {"region": "west"}}
    apart = load_scenario(mixed(TWO_FORMATS, offers), catalog)
    assert any("the first one elsewhere" in one for one in verify(layout, apart, catalog))


def test_a_stage_must_find_room_on_a_server_of_its_offer(layout: Layout, scenario: Scenario, catalog: Catalog) -> None:
    (place,) = layout.workloads[0].replica_groups[0].placement
    beyond = with_stages(layout, placement=[place.model_dump() | {"servers": [0, 1]}])
    assert any("is placed on server 1" in one for one in problems(beyond, scenario, catalog))
    short = with_stages(layout, placement=[place.model_dump() | {"servers": [0]}])
    assert any("one a stage is expected" in one for one in problems(short, scenario, catalog))
