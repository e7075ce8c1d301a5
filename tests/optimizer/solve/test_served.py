"""What can be served with what there is: by priority, to the last request, and then at least cost."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from measured import rented, scenario, workload

from catalog import Catalog
from optimizer import load_scenario, optimize, verify
from optimizer.layout import Layout


def served(given: dict[str, Any], catalog: Catalog, **more: Any) -> Layout:
    """The plan that serves most; it verifies and is proven."""
    loaded = load_scenario({**given, "objective": "served"}, catalog)
    layout = optimize(loaded, catalog, gap=0.0, **more)
    assert layout.status == "optimal"
    assert verify(layout, loaded, catalog) == []
    return layout


def shares(layout: Layout) -> dict[str, float]:
    return {plan.name: plan.served_fraction for plan in layout.workloads}


def one_node(**workloads: Any) -> dict[str, Any]:
    """One server of four H100."""
    return scenario(workloads, {"node": rented("h100-sxm", 4, 2.0, most=1)})


@pytest.mark.parametrize("solver", ["scip", "highs"])
def test_the_first_priority_takes_what_it_needs_and_the_next_gets_the_rest(solver: str, catalog: Catalog) -> None:
    # b needs two GPUs for its 2/s; the two left make one replica of a, 5 of its 20/s.
    a = workload(20, [("h100-sxm", 2, 5.0)], priority=2)
    layout = served(one_node(a=a, b=workload(2, [("h100-sxm", 1, 1.0)], priority=1)), catalog, solver=solver)
    assert shares(layout) == {"a": 0.25, "b": 1.0}
    assert [(one.priority, one.demand_rps, one.served_rps) for one in layout.served] == [(1, 2.0, 2.0), (2, 20.0, 5.0)]


def test_within_a_priority_the_most_requests_are_served(catalog: Catalog) -> None:
    # A GPU serves 2.5/s of a and 1/s of b: all four go to a.
    layout = served(one_node(a=workload(20, [("h100-sxm", 2, 5.0)]), b=workload(4, [("h100-sxm", 1, 1.0)])), catalog)
    assert shares(layout) == {"a": 0.5, "b": 0.0}
    assert layout.workloads[1].replica_groups == ()


def test_a_workload_is_served_in_one_share_of_all_its_classes(catalog: Catalog) -> None:
    # A request of the mix keeps a GPU busy for 0.5/1 + 0.5/2 = 0.75 s: four GPUs serve 4 / 0.75 = 5.33 of 30/s.
    mixed = workload(30, [("h100-sxm", 1, {"x": 1.0, "y": 2.0})], classes={"x": "50%", "y": "50%"})
    layout = served(one_node(mixed=mixed), catalog)
    assert shares(layout)["mixed"] == pytest.approx(16 / 90)
    assert layout.workloads[0].replica_groups[0].class_rps == pytest.approx({"x": 8 / 3, "y": 8 / 3})


def test_what_no_candidate_can_serve_is_left_out_and_the_rest_is_served(catalog: Catalog) -> None:
    stranger = workload(1, [("l4", 1, 1.0)])
    assert shares(served(one_node(a=workload(4, [("h100-sxm", 1, 1.0)]), stranger=stranger), catalog)) == {
        "a": 1.0,
        "stranger": 0.0,
    }


def test_with_enough_of_everything_it_is_the_cheapest_plan(catalog: Catalog) -> None:
    given = scenario({"a": workload(20, [("h100-sxm", 2, 5.0)])}, {"node": rented("h100-sxm", 4, 2.0)})
    cheapest = optimize(load_scenario(given, catalog), catalog, gap=0.0)
    most = served(given, catalog)
    assert most.cost == cheapest.cost
    assert most.workloads == cheapest.workloads


def test_nothing_to_serve_with_is_a_plan_that_serves_nothing(catalog: Catalog) -> None:
    given = scenario({"a": workload(1, [("h100-sxm", 1, 1.0)])}, {"node": rented("h100-sxm", 4, 2.0, most=0)})
    layout = served(given, catalog)
    assert shares(layout) == {"a": 0.0}
    assert layout.cost is not None
    assert layout.cost.usd_per_hour == 0.0


def test_over_several_periods_the_sum_of_all_counts_and_budgets_bind_in_each(catalog: Catalog) -> None:
    # Two servers of 1/s at $1: 2 of 2/s, then 2 of 4/s; a priority of 2 gets nothing. In the mean 2 of 3/s.
    asked = {
        "a": workload(2, [("l4", 1, 1.0)], growth="100%/period", priority=1),
        "b": workload(1, [("l4", 1, 1.0)], priority=2),
    }
    layout = served(scenario(asked, {"node": rented("l4", 1, 1.0, most=2)}, horizon="2mo", periods=2), catalog)
    assert [plan.workloads[0].served_fraction for plan in layout.periods] == [1.0, pytest.approx(0.5)]
    assert [(one.demand_rps, one.served_rps) for one in layout.served] == [
        (pytest.approx(3.0), pytest.approx(2.0)),
        (pytest.approx(1.0), 0.0),
    ]


def test_what_is_bought_for_one_period_serves_the_next_too(catalog: Catalog) -> None:
    # $5,000 buy two of three servers that are wanted; they arrive a month late, and nothing else is to be had.
    buy = {"price": "$2500/server", "life": "24mo", "lead_time": "1mo"}
    given = scenario(
        {"a": workload(3, [("l4", 1, 1.0)])},
        {"node": {"gpu": "l4", "gpus_per_server": 1, "buy": buy}},
        horizon="3mo", periods=3, budget={"capex": "$5k"},
    )  # fmt: skip
    layout = served(given, catalog)
    assert [plan.workloads[0].served_fraction for plan in layout.periods] == pytest.approx([0.0, 2 / 3, 2 / 3])
    assert [(one.count, one.arrives) for one in layout.purchases] == [(2, 2)]


@pytest.mark.parametrize("classes", [None, {"x": "50%", "y": "50%"}])
def test_with_spare_what_is_served_survives_the_loss_of_any_server(
    classes: dict[str, str] | None, catalog: Catalog
) -> None:
    # Three servers of one GPU and 1/s each: whichever is lost, two carry 2 of 4/s.
    more = {"classes": classes} if classes else {}
    rates: Any = dict.fromkeys(classes, 1.0) if classes else 1.0
    asked = workload(4, [("l4", 1, rates)], spare="n+1", **more)
    layout = served(scenario({"a": asked}, {"node": rented("l4", 1, 1.0, most=3)}), catalog)
    assert shares(layout)["a"] == pytest.approx(0.5)
    assert sum(row.count for row in layout.servers) == 3


def draw(seed: int) -> tuple[dict[str, Any], int]:
    """Two or three single-class workloads of replicas of one GPU each, on a few GPUs."""
    rng = random.Random(seed)
    n_gpus = rng.choice((2, 3, 4))
    workloads = {}
    for w in range(rng.choice((2, 3))):
        rate = round(rng.uniform(0.5, 3.0), 2)
        demand = round(rate * rng.uniform(0.3, 3.0), 2)
        workloads[f"w{w}"] = workload(demand, [("h100-sxm", 1, rate)], priority=rng.choice((1, 2)))
    return scenario(workloads, {"node": rented("h100-sxm", n_gpus, 2.0, most=1)}), n_gpus


def most_by_priority(given: dict[str, Any], n_gpus: int) -> tuple[float, ...]:
    """The lexicographically largest service of priorities 1 and 2 over every way to hand out the GPUs."""
    rows = [
        (one["priority"], float(one["requests"][:-2]), one["measured"][0]["requests_per_s"]["all"])
        for one in given["workloads"].values()
    ]
    return max(
        tuple(
            round(sum(min(want, n * rate) for n, (p, want, rate) in zip(counts, rows, strict=True) if p == level), 9)
            for level in (1, 2)
        )
        for counts in itertools.product(range(n_gpus + 1), repeat=len(rows))
        if sum(counts) <= n_gpus
    )


@pytest.mark.parametrize("seed", range(25))
def test_it_is_what_enumeration_finds(seed: int, catalog: Catalog) -> None:
    given, n_gpus = draw(seed)
    found = {level.priority: level for level in served(given, catalog).served}
    for priority, expected in enumerate(most_by_priority(given, n_gpus), start=1):
        if priority in found:
            assert found[priority].served_rps == pytest.approx(expected)
            assert found[priority].bound_rps == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(8))
def test_more_stock_never_serves_less_of_the_first_priority(seed: int, catalog: Catalog) -> None:
    given, _ = draw(seed)
    given["inventory"]["node"]["rent"]["max"] = 2
    richer = served(given, catalog)
    given["inventory"]["node"]["rent"]["max"] = 1
    assert richer.served[0].served_rps >= served(given, catalog).served[0].served_rps - 1e-9


def test_verification_knows_what_a_plan_says_it_serves(catalog: Catalog) -> None:
    loaded = load_scenario({**one_node(a=workload(20, [("h100-sxm", 2, 5.0)])), "objective": "served"}, catalog)
    layout = optimize(loaded, catalog)
    more = layout.model_copy(update={"served": (layout.served[0].model_copy(update={"served_rps": 20.0}),)})
    assert any("served_rps is 20" in problem for problem in verify(more, loaded, catalog))
    whole = layout.model_copy(update={"workloads": (layout.workloads[0].model_copy(update={"served_fraction": 1.0}),)})
    assert any("demand is 20" in problem for problem in verify(whole, loaded, catalog))
    beaten = layout.model_copy(update={"served": (layout.served[0].model_copy(update={"bound_rps": 1.0}),)})
    assert any("cannot beat its bound" in problem for problem in verify(beaten, loaded, catalog))
    plain = load_scenario(one_node(a=workload(20, [("h100-sxm", 2, 5.0)])), catalog)
    assert any("the objective is not `served`" in problem for problem in verify(layout, plain, catalog))
