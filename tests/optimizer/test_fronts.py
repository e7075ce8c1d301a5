"""Fronts of what is asked, of what can be served, and as far as the time goes."""

from __future__ import annotations

from typing import Any

import pytest
from measured import rented, scenario, workload

from catalog import Catalog
from optimizer import load_scenario
from optimizer.errors import InputError
from optimizer.explain import pareto
from optimizer.fronts import front
from optimizer.solve import Solution, solve_program

# Two of four requests/s are served by the cards there are: on one h100 for $4, or for $6 on two l4 of less power.
WORKLOAD = workload(4, [("h100-sxm", 1, 2.0), ("l4", 1, 1.0)])
OFFERS = {"hot": rented("h100-sxm", 1, 4.0, most=1), "cool": rented("l4", 1, 3.0, most=2)}


def asked(**more: Any) -> dict[str, Any]:
    return scenario({"w": WORKLOAD}, OFFERS, **more)


def test_with_objective_served_points_serve_what_can_be_served(catalog: Catalog) -> None:
    # All three cards serve all four: nothing is left to choose. $6 an hour serves two, in one way or the other.
    all_of_it = front(load_scenario(asked(objective="served"), catalog), catalog, "power", 60)
    assert [point.usd_per_hour for point in all_of_it.points] == pytest.approx([10.0])
    bound = load_scenario(asked(objective="served", budget={"monthly": "$4380"}), catalog)
    half = front(bound, catalog, "power", 60)
    assert [point.usd_per_hour for point in half.points] == pytest.approx([4.0, 6.0])
    assert half.points[1].servers == ("2 × cool (rent)",)


def test_where_nothing_can_be_served_there_is_no_front(catalog: Catalog) -> None:
    none = load_scenario(asked(objective="served", budget={"monthly": "$1"}), catalog)
    with pytest.raises(InputError, match="the plan serves nothing"):
        front(none, catalog, "power", 60)


def test_when_the_time_is_over_there_is_what_was_found(catalog: Catalog) -> None:
    cut_short = front(load_scenario(asked(), catalog), catalog, "power", 0.0)
    assert (cut_short.points, cut_short.is_cut_short) == ((), True)
    assert not front(load_scenario(asked(), catalog), catalog, "power", 60).is_cut_short


def test_when_interrupted_there_is_what_was_found(catalog: Catalog) -> None:
    n_solves = 0

    def interrupted_at_the_fifth(*words: Any, **settings: Any) -> Solution:
        nonlocal n_solves
        n_solves += 1
        if n_solves == 5:
            raise KeyboardInterrupt
        return solve_program(*words, **settings)

    bound = load_scenario(asked() | {"workloads": {"w": WORKLOAD | {"requests": "2/s"}}}, catalog)
    found = pareto(bound, catalog, "power", backend=interrupted_at_the_fifth)
    assert found.is_cut_short
    assert [point.usd_per_hour for point in found.points] == pytest.approx([4.0])
