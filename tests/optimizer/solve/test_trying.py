"""A solver that crashes, finds nothing or returns nonsense does not decide: the other is asked, and the user told."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from measured import rented, scenario, workload

from catalog import Catalog
from optimizer import load_scenario, optimize, verify
from optimizer.errors import SolverError
from optimizer.formulation import Program
from optimizer.solve import Solution, SolverName, solve_program
from optimizer.solve.backend import wait_for

GIVEN = scenario({"a": workload(20, [("h100-sxm", 2, 5.0)])}, {"node": rented("h100-sxm", 4, 2.0)})  # $16/h
Fault = Callable[[Program, Solution], Solution]


def crash(_program: Program, _solution: Solution) -> Solution:
    raise SolverError("scip failed: out of memory")


def values(change: Callable[[np.ndarray], np.ndarray]) -> Fault:
    """The optimum with other values, and an objective that agrees with them."""

    def tell(program: Program, solution: Solution) -> Solution:
        assert solution.values is not None
        changed = change(solution.values)
        return replace(solution, values=changed, objective=float(program.objective @ changed))

    return tell


FAULTS: dict[str, tuple[Fault, str]] = {
    "crash": (crash, "out of memory"),
    "nothing": (lambda _p, s: replace(s, outcome="no_plan", values=None, objective=math.inf), "found nothing"),
    "nan": (values(lambda x: x * math.nan), "not a number"),
    "halves": (values(lambda x: x + 0.5), "not whole numbers"),
    "negative": (values(lambda x: x - 100.0), "beyond their bounds"),
    "too little": (values(lambda x: x * 0.0), "break a constraint"),
    "cheaper": (lambda _p, s: replace(s, objective=s.objective / 2, bound=0.0), "an objective"),
    "bound": (lambda _p, s: replace(s, bound=s.objective * 2), "a bound above"),
}


def backend(fault: Fault, ill: tuple[SolverName, ...] = ("scip",)) -> Any:
    """Solvers of which some are ill."""

    def solve(program: Program, *, solver: SolverName = "scip", **settings: Any) -> Solution:
        solution = solve_program(program, solver=solver, **settings)
        return fault(program, solution) if solver in ill else solution

    return solve


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("objective", ["cost", "served"])
def test_the_other_solver_answers_and_the_user_is_told(name: str, objective: str, catalog: Catalog) -> None:
    fault, said = FAULTS[name]
    loaded = load_scenario({**GIVEN, "objective": objective, "budget": {"monthly": "$1M"}}, catalog)
    # By itself the method goes on where SCIP found nothing in its first nodes, which is no fault.
    layout = optimize(loaded, catalog, backend=backend(fault), method="plain" if name == "nothing" else None)
    assert layout.status == "optimal"
    assert layout.solver == "highs"
    assert layout.cost is not None
    assert layout.cost.usd_per_hour == pytest.approx(16.0)
    assert verify(layout, loaded, catalog) == []
    (warning,) = layout.warnings
    assert said in warning
    assert "highs answered instead" in warning


def test_a_plan_that_does_not_verify_is_not_handed_out(catalog: Catalog) -> None:
    # A bound below nothing agrees with every row of the program; only the check of the finished plan sees it.
    layout = optimize(load_scenario(GIVEN, catalog), catalog, backend=backend(lambda _p, s: replace(s, bound=-1.0)))
    assert layout.solver == "highs"
    assert "scip's plan does not verify" in layout.warnings[0]


def test_when_both_fail_it_is_an_error_with_both_reasons(catalog: Catalog) -> None:
    with pytest.raises(SolverError, match=r"out of memory.*out of memory"):
        optimize(load_scenario(GIVEN, catalog), catalog, backend=backend(crash, ("scip", "highs")))


def test_when_neither_finds_anything_there_is_no_plan_and_no_claim(catalog: Catalog) -> None:
    nothing, _ = FAULTS["nothing"]
    ill = backend(nothing, ("scip", "highs"))
    layout = optimize(load_scenario(GIVEN, catalog), catalog, backend=ill, method="plain")
    assert layout.status == "no_plan"
    assert layout.warnings == ("scip found nothing in its time", "highs found nothing in its time")


@pytest.mark.parametrize(("ill", "solver"), [(("scip",), "highs"), (("scip", "highs"), "columns")])
def test_where_first_nodes_find_nothing_the_next_method_goes_on(
    ill: tuple[SolverName, ...], solver: str, catalog: Catalog
) -> None:
    nothing, _ = FAULTS["nothing"]
    loaded = load_scenario(GIVEN, catalog)
    layout = optimize(loaded, catalog, backend=backend(nothing, ill))
    assert (layout.status, layout.solver, layout.warnings) == ("optimal", solver, ())
    assert verify(layout, loaded, catalog) == []


def test_a_solver_that_does_not_stop_is_left_behind() -> None:
    never = threading.Event()
    worker = threading.Thread(target=never.wait, daemon=True)
    worker.start()
    assert wait_for(worker, 0.1, lambda: None) == "overdue"
    never.set()
    assert wait_for(worker, math.inf, lambda: None) == "done"


def test_ctrl_c_ends_the_wait() -> None:
    def tick() -> None:
        raise KeyboardInterrupt

    never = threading.Event()
    worker = threading.Thread(target=never.wait, daemon=True)
    worker.start()
    assert wait_for(worker, math.inf, tick) == "interrupted"
    never.set()
