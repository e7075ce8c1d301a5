"""A sound plan of measured replicas verifies; whatever is changed in it is noticed and said in a sentence."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from measured import workload
from sound_plans import MEASURED, Path, changed, leaves, other_values, without

from catalog import Catalog
from optimizer import load_plan, load_scenario, optimize, verify
from optimizer.errors import InputError
from optimizer.layout import Layout
from optimizer.scenario import Scenario

UNKNOWABLE = ("schema_version", "status", "solve_seconds", "solver", "warnings", "assumptions", "infeasible")
"""What nobody but the solver can know, or what the class itself keeps fixed."""


@pytest.fixture(scope="module")
def scenario(catalog: Catalog) -> Scenario:
    return load_scenario(MEASURED, catalog)


@pytest.fixture(scope="module")
def layout(scenario: Scenario, catalog: Catalog) -> Layout:
    return optimize(scenario, catalog, gap=0.0)


@pytest.fixture(scope="module")
def keys(layout: Layout) -> dict[str, Any]:
    return layout.model_dump(mode="json")


def problems(keys: dict[str, Any], scenario: Scenario, catalog: Catalog) -> list[str]:
    """What verify says; a plan that cannot even be read is noticed too."""
    try:
        return verify(load_plan(keys), scenario, catalog)
    except InputError as error:
        return [str(error)]


def group_of(keys: dict[str, Any], name: str, offer: str) -> dict[str, Any]:
    (found,) = (
        group
        for one in keys["workloads"]
        for group in one["replica_groups"]
        if (one["name"], group["offer"]) == (name, offer)
    )
    return found


def test_a_sound_plan_breaks_no_promise(layout: Layout, scenario: Scenario, catalog: Catalog) -> None:
    assert layout.status == "optimal"
    assert {row.term for row in layout.servers} == {"own", "buy", "rent"}
    assert {group.offer for one in layout.workloads for group in one.replica_groups} == {"node", "box"}
    assert verify(layout, scenario, catalog) == []


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
    lists: list[Path] = [("servers",), ("workloads",)]
    for w, one in enumerate(keys["workloads"]):
        lists.append(("workloads", w, "replica_groups"))
        for g, _ in enumerate(one["replica_groups"]):
            lists += [("workloads", w, "replica_groups", g, "placement")]
            lists += [
                ("workloads", w, "replica_groups", g, "class_rps"),
                ("workloads", w, "replica_groups", g, "rate_rps"),
            ]
    for path in lists:
        inner: Any = keys
        for step in path:
            inner = inner[step]
        for step in inner if isinstance(inner, dict) else range(len(inner)):
            assert problems(without(keys, (*path, step)), scenario, catalog), (*path, step)
        if isinstance(inner, list):
            assert problems(changed(keys, path, [*inner, inner[0]]), scenario, catalog), path


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tp", 1),
        ("engine", "vllm"),
        ("weight_dtype", "fp8"),
        ("quality", 1.0),
        ("limit", "memory"),
        ("max_model_len", 8192),
    ],
)
def test_nothing_but_rates_is_known_of_a_measured_replica(
    key: str, value: object, keys: dict[str, Any], scenario: Scenario, catalog: Catalog
) -> None:
    broken = copy.deepcopy(keys)
    group_of(broken, "plain", "node")[key] = value
    assert problems(broken, scenario, catalog) == [
        f"plain on node: the replica was measured, so its {key} cannot be known"
    ]


def test_a_layout_without_a_plan_promises_nothing(layout: Layout, scenario: Scenario, catalog: Catalog) -> None:
    for status in ("infeasible", "no_plan"):
        empty = layout.model_copy(update={"status": status, "cost": None, "servers": (), "workloads": (), "gap": None})
        assert verify(empty, scenario, catalog) == []


def test_the_plan_of_another_scenario_is_noticed(layout: Layout, catalog: Catalog) -> None:
    other = load_scenario({**MEASURED, "name": "other", "horizon": "13mo"}, catalog)
    found = verify(layout, other, catalog)
    assert found[0] == "the plan is of scenario measured, this is other"
    assert any(problem.startswith("scenario_sha256 is") for problem in found)
    assert any("inputs are not the normalised scenario: they differ at horizon" in problem for problem in found)


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ({"budget": {"monthly": "$100"}}, "budget.monthly is $100, rent and running cost are $"),
        ({"facility": {"power_cap": "1kW"}}, "facility.power_cap is 1 kW, owned and bought servers draw 20.16 kW"),
        ({"max_utilization": "40%"}, "max_utilization is 0.4"),
    ],
)
def test_a_limit_that_is_exceeded_is_named_with_both_numbers(
    limit: dict[str, Any], message: str, layout: Layout, catalog: Catalog
) -> None:
    # 8 H100 of 700 W and 0.8 of that for the host of an SXM board: 8 · 0.7 kW · 1.8 = 10.08 kW; one owned, one bought
    tighter = load_scenario({**MEASURED, **limit}, catalog)
    assert any(message in problem for problem in verify(layout, tighter, catalog))


def test_prices_are_derived_from_the_terms(catalog: Catalog) -> None:
    """One workload that needs one server, on each term in turn; facility as in MEASURED, 12 months."""
    running_per_month = 10.08 * 1.3 * 0.10 * 730 + 450
    lost = 200_000 * (1 - 0.25) * 12 / 48  # a straight line from $200k to $50k over 48 months
    terms = {
        "own": ({"own": 1}, 12 * running_per_month, 0.0),
        "buy": ({"buy": MEASURED["inventory"]["node"]["buy"]}, lost + 12 * running_per_month, 200_000.0),
        "rent": ({"rent": {"price": "$9/gpu/h"}}, 72 * 730 * 12, 0.0),
    }
    for term, (offer, usd, capex) in terms.items():
        one = {
            "name": "one server",
            "horizon": "12mo",
            "workloads": {"plain": workload(2.0, [("h100-sxm", 1, 2.0)])},
            "inventory": {"node": {"gpu": "h100-sxm", "gpus_per_server": 8, **offer}},
            "facility": {"power_price": "$0.10/kWh", "pue": 1.3, "opex": "$450/server/mo"},
        }
        scenario = load_scenario(one, catalog)
        plan = optimize(scenario, catalog, gap=0.0)
        assert plan.cost is not None
        assert (plan.servers[0].term, plan.cost.usd_over_horizon) == (term, pytest.approx(usd))
        assert plan.cost.capex_usd == pytest.approx(capex)
        assert verify(plan, scenario, catalog) == []
        cheaper = changed(plan.model_dump(mode="json"), ("cost", "usd_over_horizon"), usd - 1)
        assert problems(cheaper, scenario, catalog) == [
            f"cost.usd_over_horizon is {usd - 1:.8g}, its servers come to {usd:.8g}"
        ]
        over = load_scenario({**one, "budget": {"capex": "$150k"}}, catalog)
        named = [problem for problem in verify(plan, over, catalog) if problem.startswith("budget.capex")]
        assert named == (["budget.capex is $150000, the bought servers cost $200000"] if term == "buy" else [])


def test_power_that_the_offer_states_counts_instead(catalog: Catalog) -> None:
    one = {
        "name": "stated",
        "workloads": {"plain": workload(1.0, [("l4", 1, 2.0)])},
        "inventory": {"box": {"gpu": "l4", "gpus_per_server": 4, "own": 1, "power": "2kW/server"}},
        "facility": {"power_price": "$0.10/kWh", "pue": 1.5},
    }
    scenario = load_scenario(one, catalog)
    plan = optimize(scenario, catalog, gap=0.0)
    assert plan.cost is not None
    assert plan.cost.usd_per_hour == pytest.approx(2 * 1.5 * 0.10)
    assert verify(plan, scenario, catalog) == []
    capped = load_scenario({**one, "facility": {**one["facility"], "power_cap": "1.9kW"}}, catalog)  # type: ignore[dict-item]
    assert "facility.power_cap is 1.9 kW, owned and bought servers draw 2 kW" in verify(plan, capped, catalog)


@pytest.mark.parametrize(
    ("offer", "message"),
    [
        ({"own": 0}, "node (own): 1 servers are planned, the scenario has 0"),
        (
            {"buy": {"price": "$1k/server", "life": "48mo", "max": 0}},
            "node (buy): 1 servers are planned, the scenario has 0",
        ),
        ({"gpus_per_server": 4}, "node: planned as 8 × h100-sxm, the scenario offers 4 × h100-sxm"),
        ({"gpu": "h200-sxm"}, "mixed on node: gpu is h100-sxm, node has h200-sxm"),
    ],
)
def test_servers_that_are_not_on_offer_are_named(
    offer: dict[str, Any], message: str, layout: Layout, catalog: Catalog
) -> None:
    other = copy.deepcopy(MEASURED)
    other["inventory"]["node"].update(offer)
    assert any(message in problem for problem in verify(layout, load_scenario(other, catalog), catalog))


def test_a_term_that_is_not_offered_is_named(layout: Layout, catalog: Catalog) -> None:
    other = copy.deepcopy(MEASURED)
    del other["inventory"]["box"]["rent"]
    other["inventory"]["box"]["own"] = 9
    found = verify(layout, load_scenario(other, catalog), catalog)
    assert "box: the scenario does not offer it on the term rent" in found


def test_crowded_idle_and_absent_servers_are_named(keys: dict[str, Any], scenario: Scenario, catalog: Catalog) -> None:
    crowded = copy.deepcopy(keys)
    nodes = sum(row["count"] for row in keys["servers"] if row["offer"] == "node")
    group = group_of(crowded, "mixed", "node")
    for place in [*group["placement"], *group_of(crowded, "plain", "node")["placement"]]:
        place["servers"] = [0]
    found = problems(crowded, scenario, catalog)
    assert "node: server 0 is given replicas of 16 GPUs and has 8" in found
    assert f"node: 1 of its {nodes} servers run nothing, server 1 for one; servers are paid only if used" in found
    group["placement"][0]["servers"] = [99]
    assert f"mixed on node: replica 0 is placed on servers [99], node has {nodes}" in problems(
        crowded, scenario, catalog
    )
    group["placement"][0]["servers"] = [0, 1]
    assert "mixed on node: replica 0 is placed on servers [0, 1], it needs 1 of them" in problems(
        crowded, scenario, catalog
    )


def test_a_class_sent_where_it_cannot_be_served_is_named(
    keys: dict[str, Any], scenario: Scenario, catalog: Catalog
) -> None:
    broken = copy.deepcopy(keys)
    moved = group_of(broken, "mixed", "node")["class_rps"]["long"]
    group_of(broken, "mixed", "node")["class_rps"]["long"] = 0.0
    group_of(broken, "mixed", "box")["class_rps"]["long"] = moved
    expected = f"mixed on box: {moved:.8g} requests/s of class long are sent to replicas that cannot serve it"
    assert expected in problems(broken, scenario, catalog)


def test_thousands_of_workloads_verify_at_once(catalog: Catalog) -> None:
    """The plan of one workload, two thousand times over: servers, groups and demands of each on its own."""
    n = 2_000
    many = {f"w{i}": workload(1.5, [("l4", 1, 2.0)]) for i in range(n)}
    scenario = load_scenario(
        {
            "name": "many",
            "workloads": many,
            "inventory": {"box": {"gpu": "l4", "gpus_per_server": 4, "rent": {"price": "$1/gpu/h"}}},
        },
        catalog,
    )
    small = load_scenario(
        {
            "name": "many",
            "workloads": {"w0": many["w0"]},
            "inventory": {"box": {"gpu": "l4", "gpus_per_server": 4, "rent": {"price": "$1/gpu/h"}}},
        },
        catalog,
    )
    keys = optimize(small, catalog, gap=0.0).model_dump(mode="json")
    (one,) = keys["workloads"]
    workloads = []
    for i in range(n):
        own = {**one, "name": f"w{i}", "replica_groups": [copy.copy(one["replica_groups"][0])]}
        own["replica_groups"][0]["placement"] = [{"replica": 0, "servers": [i // 4]}]
        workloads.append(own)
    usd_per_hour = 4.0 * n / 4
    keys |= {
        "workloads": workloads,
        "servers": [{**keys["servers"][0], "count": n // 4}],
        "scenario_sha256": scenario.sha256,
        "inputs": scenario.canonical(),
        "gap": 0.0,
        "cost": {
            "usd_per_hour": usd_per_hour,
            "usd_per_month": 730 * usd_per_hour,
            "usd_over_horizon": 730 * usd_per_hour,
            "capex_usd": 0.0,
            "bound_usd_per_hour": usd_per_hour,
        },
    }
    layout = load_plan(keys)
    assert verify(layout, scenario, catalog) == []
