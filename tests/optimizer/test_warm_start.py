"""An earlier plan as a start: what of it an instance knows again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from measured import rented, scenario, workload

from catalog import Catalog
from optimizer import load_scenario, optimize, verify
from optimizer.candidates import build_candidates
from optimizer.formulation import Instance, build_instance
from optimizer.layout import Layout
from optimizer.solve import Start
from optimizer.warm_start import warm_start


def planned(given: dict[str, Any], catalog: Catalog) -> tuple[Instance, Layout]:
    loaded = load_scenario(given, catalog)
    inst = build_instance(loaded, catalog, build_candidates(loaded, catalog))
    return inst, optimize(loaded, catalog, gap=0.0)


def growing(periods: int, **offer: Any) -> dict[str, Any]:
    """2 requests/s in the first year and 1 more each year, on servers of one GPU that serve 1/s."""
    asked = workload(2, [("l4", 1, 1.0)])
    if periods > 1:
        del asked["requests"]
        asked["requests_per_period"] = [f"{2 + t}/s" for t in range(periods)]
    node = {"gpu": "l4", "gpus_per_server": 1, **offer}
    return scenario({"a": asked}, {"node": node}, horizon=f"{12 * periods}mo", periods=periods)


def by_term(inst: Instance, start: Start) -> dict[tuple[int, str], int]:
    """(period, term) -> servers."""
    counts = start.n_servers.tolist()
    return {(x.state, x.label): n for x, n in zip(inst.terms, counts, strict=True) if n}


def test_every_period_begins_with_its_own_replicas_and_servers(catalog: Catalog) -> None:
    inst, plan = planned(growing(3, rent={"price": "$1/gpu/h"}), catalog)
    start = warm_start(inst, plan)
    assert start.n_replicas.tolist() == [2, 3, 4]
    assert by_term(inst, start) == {(0, "rent"): 2, (1, "rent"): 3, (2, "rent"): 4}


def test_periods_that_a_plan_does_not_have_begin_with_its_last(catalog: Catalog) -> None:
    _, plan = planned(growing(1, rent={"price": "$1/gpu/h"}), catalog)
    inst, _ = planned(growing(2, rent={"price": "$1/gpu/h"}), catalog)
    assert warm_start(inst, plan).n_replicas.tolist() == [2, 2]


def test_reserved_terms_are_told_apart_by_their_length(catalog: Catalog) -> None:
    # For 12 months the term of 6 months is cheaper, and only one of it is offered.
    reserve = [{"term": "12mo", "price": "$1/gpu/h"}, {"term": "6mo", "price": "$0.9/gpu/h", "max": 1}]
    inst, plan = planned(growing(1, reserve=reserve), catalog)
    assert by_term(inst, warm_start(inst, plan)) == {(0, "reserve 12mo"): 1, (0, "reserve 6mo"): 1}


def test_spares_that_stand_by_are_no_servers_in_use(catalog: Catalog) -> None:
    spot = {"price": "$1/gpu/h", "interruption": "5%/h"}
    inst, plan = planned(growing(1, spot=spot), catalog)
    (row,) = plan.servers
    assert row.idle > 0
    assert by_term(inst, warm_start(inst, plan)) == {(0, "spot"): 2}


def test_what_the_scenario_no_longer_has_is_left_out(catalog: Catalog) -> None:
    _, plan = planned(growing(1, rent={"price": "$1/gpu/h"}), catalog)
    inst, _ = planned(scenario({"a": workload(2, [("l4", 1, 1.0)])}, {"other": rented("l4", 1, 1.0)}), catalog)
    assert warm_start(inst, plan).n_replicas.tolist() == [0]
    assert not by_term(inst, warm_start(inst, plan))


@pytest.mark.parametrize("more", [{}, {"spare": "n+1"}], ids=["periods", "periods and spare"])
def test_a_plan_over_several_periods_may_start_a_solve(more: dict[str, Any], catalog: Catalog) -> None:
    given = growing(2, rent={"price": "$1/gpu/h"}, buy={"price": "$9000/server", "life": "24mo"})
    given["workloads"]["a"] |= more
    loaded = load_scenario(given, catalog)
    plan = optimize(loaded, catalog, gap=0.0)
    again = optimize(loaded, catalog, gap=0.0, start=plan)
    assert again.cost == plan.cost
    assert verify(again, loaded, catalog) == []


def test_replicas_that_draft_tokens_are_known_again(catalog: Catalog) -> None:
    loaded = load_scenario(Path(__file__).parents[2] / "scenarios" / "interactive.yaml", catalog)
    inst = build_instance(loaded, catalog, build_candidates(loaded, catalog))
    plan = optimize(loaded, catalog)
    groups = [group for one in plan.workloads for group in one.replica_groups]
    assert all(group.speculative for group in groups)
    assert warm_start(inst, plan).n_replicas.sum() == sum(group.replicas for group in groups)
