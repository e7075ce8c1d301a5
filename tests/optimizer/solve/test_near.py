"""Solutions near a relaxation: they solve the whole program, and say no more than is proven."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from measured import rented, scenario, workload

from catalog import Catalog
from optimizer import load_scenario
from optimizer.candidates import build_candidates
from optimizer.formulation import Program, build_instance, build_program, lay_out
from optimizer.solve import relaxation, solve_near, solve_program


def program_of(given: dict[str, Any], catalog: Catalog) -> Program:
    loaded = load_scenario(given, catalog)
    inst = build_instance(loaded, catalog, build_candidates(loaded, catalog))
    return build_program(inst, lay_out(inst))


def random_program(seed: int, catalog: Catalog) -> Program:
    """Six workloads that five scarce offers can just, or just not, carry."""
    rng = random.Random(seed)
    cards = ("l4", "a10", "l40s", "h100-sxm", "a100-80gb-sxm")
    workloads = {
        f"w{i}": workload(
            rng.randint(3, 20), [(gpu, n, rng.choice((1.0, 2.0, 3.0)) * n) for gpu in cards for n in (1, 2)]
        )
        for i in range(6)
    }
    offers = {gpu: rented(gpu, rng.choice((2, 4)), rng.uniform(1, 4), most=rng.randint(1, 3)) for gpu in cards}
    return program_of(scenario(workloads, offers), catalog)


@pytest.mark.parametrize("seed", range(30))
def test_what_is_found_is_a_solution_between_the_bound_and_what_is_possible(seed: int, catalog: Catalog) -> None:
    program = random_program(seed, catalog)
    exact = solve_program(program, solver="highs")
    near = solve_near(program, program.objective, gap=0.0, time_limit_s=10.0)
    if near.outcome == "infeasible":
        assert exact.outcome == "infeasible"
    if near.values is not None:
        assert program.holds(near.values, 1e-6)
        assert near.objective >= exact.objective - 1e-6
        assert near.bound <= exact.objective + 1e-6


def test_some_of_them_are_found_and_some_are_proven_to_be_impossible(catalog: Catalog) -> None:
    outcomes = {
        solve_near(program, program.objective, gap=0.0, time_limit_s=10.0).outcome
        for program in (random_program(seed, catalog) for seed in range(12))
    }
    assert {"infeasible", "feasible"} <= outcomes


def test_what_the_relaxation_reaches_is_optimal(catalog: Catalog) -> None:
    # Four replicas of 1/s fill two servers of two: nothing is left over that a relaxation could do without.
    program = program_of(scenario({"a": workload(4, [("l4", 1, 1.0)])}, {"node": rented("l4", 2, 1.0)}), catalog)
    near = solve_near(program, program.objective, gap=0.0, time_limit_s=10.0)
    assert (near.outcome, near.objective, near.bound) == ("optimal", pytest.approx(4.0), pytest.approx(4.0))


def test_no_time_is_no_plan(catalog: Catalog) -> None:
    program = random_program(0, catalog)
    assert solve_near(program, program.objective, gap=0.0, time_limit_s=0.0).outcome in ("no_plan", "infeasible")


def test_prices_tell_solutions_apart_that_are_equally_good(catalog: Catalog) -> None:
    # Any server will do for a program without an objective; the relaxation that says which is near goes by price.
    given = scenario(
        {"a": workload(2, [("l4", 1, 1.0), ("a10", 1, 1.0)])},
        {"dear": rented("l4", 1, 9.0), "cheap": rented("a10", 1, 1.0)},
    )
    program = program_of(given, catalog)
    anything = program.minimising(np.zeros(0, np.int64), np.zeros(0))
    near = solve_near(anything, program.objective, gap=0.0, time_limit_s=10.0)
    assert near.values is not None
    assert near.outcome == "optimal"


def test_a_relaxation_knows_what_its_rows_are_worth(catalog: Catalog) -> None:
    program = random_program(1, catalog)
    relaxed = relaxation(program)
    assert relaxed.row_duals is not None
    assert len(relaxed.row_duals) == len(program.row_upper)
