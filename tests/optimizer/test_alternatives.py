"""The next best plans of other structures, in order, each without something that every better one uses."""

from __future__ import annotations

from typing import Any

import pytest
from measured import rented, scenario, workload

from catalog import Catalog
from optimizer import load_scenario, optimize, verify
from optimizer.layout import Layout


def solved(given: dict[str, Any], catalog: Catalog, how_many: int, **more: Any) -> Layout:
    loaded = load_scenario(given, catalog)
    layout = optimize(loaded, catalog, gap=0.0, alternatives=how_many, **more)
    assert verify(layout, loaded, catalog) == []
    return layout


def costs(layout: Layout) -> list[float]:
    return [other.cost.usd_per_hour for other in layout.alternatives]


THREE = scenario(
    {"w": workload(5, [("h100-sxm", 1, 5.0), ("l40s", 1, 5.0), ("l4", 1, 5.0)])},
    {"a": rented("h100-sxm", 1, 8.0), "b": rented("l40s", 1, 9.0), "c": rented("l4", 1, 12.0)},
)
# w on a: one server, $8; on b: two, $6. v on a: one, $8; on b: four, $12.
TWO = scenario(
    {
        "w": workload(5, [("h100-sxm", 1, 5.0), ("l40s", 1, 2.5)]),
        "v": workload(5, [("h100-sxm", 1, 5.0), ("l40s", 1, 1.25)]),
    },
    {"a": rented("h100-sxm", 1, 8.0), "b": rented("l40s", 1, 3.0)},
)


def test_they_come_in_the_order_of_their_cost_until_there_are_no_more(catalog: Catalog) -> None:
    layout = solved(THREE, catalog, 5)
    assert costs(layout) == pytest.approx([9.0, 12.0])
    assert [other.gives_up for other in layout.alternatives] == [("w: measured x1 on a",)] * 2
    assert [other.uses_instead for other in layout.alternatives] == [("w: measured x1 on b",), ("w: measured x1 on c",)]


@pytest.mark.parametrize("solver", ["scip", "highs"])
def test_of_two_workloads_every_combination_is_a_structure(solver: str, catalog: Catalog) -> None:
    layout = solved(TWO, catalog, 9, solver=solver)
    assert layout.cost is not None
    assert layout.cost.usd_per_hour == pytest.approx(14.0)  # w on b, v on a
    assert costs(layout) == pytest.approx([16.0, 18.0, 20.0])
    assert all(other.status == "optimal" for other in layout.alternatives)


def test_no_more_are_found_than_asked_for(catalog: Catalog) -> None:
    assert costs(solved(TWO, catalog, 1)) == pytest.approx([16.0])
    assert solved(TWO, catalog, 0).alternatives == ()


def test_they_serve_what_the_plan_serves(catalog: Catalog) -> None:
    # Two GPUs of each card: the plan serves 10 of 20/s on a; on b as much, and nothing of the stranger.
    given = scenario(
        {
            "w": workload(20, [("h100-sxm", 1, 5.0), ("l40s", 1, 5.0)]),
            "stranger": workload(1, [("l4", 1, 1.0)]),
        },
        {"a": rented("h100-sxm", 1, 8.0, most=1), "b": rented("l40s", 1, 9.0, most=1)},
        objective="served",
    )
    layout = solved(given, catalog, 3)
    assert [plan.served_fraction for plan in layout.workloads] == [0.5, 0.0]
    assert layout.alternatives == ()  # both servers are needed for that much


def test_a_dominated_kind_of_replica_is_an_alternative(catalog: Catalog) -> None:
    given = scenario(
        {"w": workload(20, [("h100-sxm", 1, 5.0), ("h100-sxm", 2, 8.0)])}, {"a": rented("h100-sxm", 2, 8.0)}
    )
    layout = solved(given, catalog, 1)
    # Four single GPUs on two servers; three pairs at 8/s on three.
    assert costs(layout) == pytest.approx([48.0])


def test_verification_looks_at_every_alternative(catalog: Catalog) -> None:
    loaded = load_scenario(THREE, catalog)
    layout = optimize(loaded, catalog, gap=0.0, alternatives=1)
    (other,) = layout.alternatives
    cheaper = other.model_copy(update={"cost": other.cost.model_copy(update={"usd_per_hour": 1.0})})
    problems = verify(layout.model_copy(update={"alternatives": (cheaper,)}), loaded, catalog)
    assert any(problem.startswith("alternative 1: cost.usd_per_hour is 1") for problem in problems)
    same = other.model_copy(update={"workloads": layout.workloads, "servers": layout.servers, "cost": layout.cost})
    problems = verify(layout.model_copy(update={"alternatives": (same,)}), loaded, catalog)
    assert any("no other plan" in problem for problem in problems)


def test_an_alternative_survives_a_loss_where_the_plan_does(catalog: Catalog) -> None:
    # 3 of 1/s must be left: on b three servers of 2 GPUs, $6; on a two of 4, $16.
    given = scenario(
        {"w": workload(3, [("h100-sxm", 1, 1.0), ("l4", 1, 1.0)], spare="n+1")},
        {"a": rented("h100-sxm", 4, 2.0), "b": rented("l4", 2, 1.0)},
    )
    layout = solved(given, catalog, 2)
    assert layout.cost is not None
    assert layout.cost.usd_per_hour == pytest.approx(6.0)
    assert costs(layout) == pytest.approx([16.0])


def test_over_several_periods_the_structure_is_that_of_all(catalog: Catalog) -> None:
    # $8 in both months; doing without a altogether costs $9, and without a and b $12.
    layout = solved({**THREE, "horizon": "2mo", "periods": 2}, catalog, 5)
    assert costs(layout) == pytest.approx([9.0, 12.0])
    first = layout.alternatives[0]
    assert [[row.offer for row in period.servers] for period in first.periods] == [["b"], ["b"]]
    broken = first.model_copy(update={"periods": (first.periods[0], layout.periods[1])})
    others = (broken, *layout.alternatives[1:])
    assert verify(layout.model_copy(update={"alternatives": others}), load_scenario(layout.inputs, catalog), catalog)
