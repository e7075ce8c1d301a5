"""The method of columns as a whole: what it promises besides the cost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from measured import rented, scenario, workload
from random_instances import instance

from catalog import Catalog
from optimizer import load_scenario, optimize, verify
from optimizer.formulation import Instance, Program
from optimizer.solve import Limits, Start, State, solve
from optimizer.solve.backend import Solution, solve_program
from optimizer.solve.columns import solve_columns
from optimizer.solve.columns.blocks import cut_into_blocks
from optimizer.solve.columns.oracle import Oracle


def thirty(rate: float = 1.0) -> dict[str, Any]:
    """Thirty workloads of a third of an l4 to three of them, on two offers."""
    workloads = {f"w{i}": workload(rate * (0.3 + 0.1 * i), [("l4", 1, 1.0), ("l40s", 1, 3.0)]) for i in range(30)}
    return scenario(workloads, {"l4s": rented("l4", 4, 0.70), "l40s": rented("l40s", 2, 1.80, most=8)})


@pytest.fixture(scope="module")
def inst(catalog: Catalog) -> Instance:
    return instance(thirty(), catalog)


def test_many_workloads_go_to_columns_by_themselves_and_the_plan_says_so(catalog: Catalog) -> None:
    loaded = load_scenario(thirty(), catalog)
    layout = optimize(loaded, catalog)
    assert layout.solver == "columns"
    assert layout.status == "optimal"
    assert verify(layout, loaded, catalog) == []


def tired(program: Program, *, node_limit: int | None = None, **settings: Any) -> Solution:
    """A solver that proves half of what there is in so many nodes as it is allowed."""
    solution = solve_program(program, node_limit=node_limit, **settings)
    return solution if node_limit is None else replace(solution, outcome="feasible", bound=solution.bound / 2)


def test_few_workloads_go_to_columns_when_the_solver_takes_too_many_nodes(catalog: Catalog) -> None:
    workloads = {f"w{i}": workload(0.35 + 0.11 * i, [("l4", 1, 0.3), ("l40s", 1, 0.7)]) for i in range(7)}
    few = scenario(workloads, {"l4s": rented("l4", 4, 0.70, most=4), "l40s": rented("l40s", 2, 1.80, most=6)})
    loaded = load_scenario(few, catalog)
    alone, handed_on = (optimize(loaded, catalog, gap=0.0, backend=backend) for backend in (solve_program, tired))
    assert alone.solver == "scip"
    assert handed_on.solver == "columns"
    assert handed_on.status == alone.status == "optimal"
    assert alone.cost is not None
    assert handed_on.cost is not None
    assert handed_on.cost.usd_per_hour == pytest.approx(alone.cost.usd_per_hour)


def test_a_method_can_be_forced(catalog: Catalog) -> None:
    loaded = load_scenario(thirty(), catalog)
    assert optimize(loaded, catalog, gap=0.5, method="plain").solver == "scip"
    few = load_scenario(scenario({"w": workload(1.0, [("l4", 1, 2.0)])}, {"l4s": rented("l4", 1, 0.7)}), catalog)
    layout = optimize(few, catalog, method="columns")
    assert layout.solver == "columns"
    assert layout.cost is not None
    assert layout.cost.usd_per_hour == pytest.approx(0.7)  # one replica of 2/s on one server


def test_the_same_program_gives_the_same_answer(inst: Instance) -> None:
    one, again = (solve_columns(inst, Limits(gap=0.001)) for _ in range(2))
    assert one is not None
    assert again is not None
    assert one.bound_usd_per_hour == again.bound_usd_per_hour
    assert one.decision is not None
    assert again.decision is not None
    assert np.array_equal(one.decision.n_replicas, again.decision.n_replicas)


def test_progress_tells_of_bounds_that_rise_and_plans_that_get_cheaper(inst: Instance) -> None:
    states: list[State] = []
    solve(inst, Limits(gap=0.0), method="columns", progress=states.append)
    bounds, costs = [s.bound_usd_per_hour for s in states], [s.usd_per_hour for s in states]
    assert bounds == sorted(bounds)
    assert costs == sorted(costs, reverse=True)
    assert states[-1].gap == pytest.approx(0.0, abs=1e-9)


def test_when_interrupted_the_best_plan_so_far_is_the_answer(inst: Instance) -> None:
    def stop(state: State) -> None:
        if state.usd_per_hour < float("inf"):
            raise KeyboardInterrupt

    answer = solve_columns(inst, Limits(gap=0.0), stop)
    assert answer is not None
    assert answer.interrupted
    assert answer.decision is not None
    assert 0 < answer.bound_usd_per_hour <= inst.usd_per_hour @ answer.decision.n_servers


def test_an_earlier_plan_is_there_from_the_first_moment(inst: Instance) -> None:
    first = solve_columns(inst, Limits(gap=0.001))
    assert first is not None
    assert first.decision is not None
    cost = float(inst.usd_per_hour @ first.decision.n_servers)
    states: list[State] = []
    start = Start(first.decision.n_replicas, first.decision.n_servers)
    solve(inst, Limits(gap=0.001), method="columns", start=start, progress=states.append)
    assert states[0].usd_per_hour == pytest.approx(cost)


def test_offers_too_small_for_all_are_proven_infeasible(catalog: Catalog) -> None:
    # 30 workloads need 0.3 + … + 3.2 = 52.5 requests/s; one l4 serves 1.
    short = thirty()
    short["inventory"] = {"l4s": rented("l4", 4, 0.70, most=2)}
    assert optimize(load_scenario(short, catalog), catalog, method="columns").status == "infeasible"


def test_any_prices_give_a_bound_below_every_plan(inst: Instance) -> None:
    blocks, oracle = cut_into_blocks(inst), Oracle(cut_into_blocks(inst))
    answer = solve_columns(inst, Limits(gap=0.0))
    assert answer is not None
    assert answer.decision is not None
    cost = float(inst.usd_per_hour @ answer.decision.n_servers)
    rng = np.random.default_rng(0)
    for _ in range(50):
        price = rng.uniform(0.0, 3.0, len(blocks.supply.bound))
        assert oracle.run(price).least.sum() + blocks.supply.least(price) <= cost * (1 + 1e-9)
