"""Looking for a better plan among few of a branch, with the dear workloads free to have any."""

from __future__ import annotations

import numpy as np
import pytest
from measured import rented, scenario, workload
from random_instances import instance

from catalog import Catalog
from optimizer.solve import Limits
from optimizer.solve.columns import solve_columns
from optimizer.solve.columns.dual import Master, maximise
from optimizer.solve.columns.incumbent import Incumbent
from optimizer.solve.columns.oracle import Oracle
from optimizer.solve.columns.plans import equal_replicas
from optimizer.solve.columns.solve import _Run
from optimizer.solve.columns.tree import Branch

BEST, START = 12.04, 12.12
"""USD per hour. Two servers of l4, all that there are, carry four small workloads and four replicas of the large one,
whose other three take a server of l40s: 2 · 4 · 1.00 + 4 · 1.01. Three of l40s carry everything:
3 · 4 · 1.01."""


def run(catalog: Catalog) -> _Run:
    """Four workloads of one GPU each and one of seven, on servers of four GPUs of two kinds, one of them scarce.

    At the prices of the bound a GPU costs the same on either, and so does every way to split the large workload.
    """
    workloads = {f"w{i}": workload(1.0, [("l4", 1, 1.0), ("l40s", 1, 1.0)]) for i in range(4)}
    workloads["large"] = workload(7.0, [("l4", 1, 1.0), ("l40s", 1, 1.0)])
    offers = {"l4s": rented("l4", 4, 1.0, most=2), "l40s": rented("l40s", 4, 1.01)}
    inst = instance(scenario(workloads, offers), catalog)
    return _Run(inst, Limits(gap=0.0), lambda _state: None, None)


def look(one: _Run) -> float:
    """What the best plan costs after a look in the whole of it, from a start with everything on l40s."""
    inst, oracle = one.blocks.inst, Oracle(one.blocks)
    dual = maximise(one.blocks, oracle, Master(one.blocks), lambda _bound: True)
    on_l40s = np.flatnonzero(inst.offer_of_candidate[inst.candidate_of_load] == inst.offer_names.index("l40s"))
    plans = equal_replicas(one.blocks, inst.candidate_of_load[on_l40s], inst.carried[on_l40s])
    servers = np.array([3 if term.offer == "l40s" else 0 for term in inst.terms])
    one.best = Incumbent(START, plans, servers)
    one._look(Branch(one.blocks, dual), oracle.has_several)
    return one.best.usd_per_hour


def test_a_look_finds_a_better_plan_among_many_that_cost_the_same(catalog: Catalog) -> None:
    assert look(run(catalog)) == pytest.approx(BEST)


def test_a_look_among_too_few_plans_keeps_what_there_was(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optimizer.solve.columns.solve.LOOK_PLANS", 1)
    monkeypatch.setattr("optimizer.solve.columns.solve.LOOK_OPENED", 0)
    assert look(run(catalog)) == pytest.approx(START)


def test_a_dear_workload_may_have_any_plan_in_a_look(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optimizer.solve.columns.solve.LOOK_PLANS", 1)
    assert look(run(catalog)) == pytest.approx(BEST)


def test_a_look_into_a_branch_without_better_plans_keeps_the_best(catalog: Catalog) -> None:
    one = run(catalog)
    answer = solve_columns(one.blocks.inst, Limits(gap=0.0))
    assert answer is not None
    assert answer.bound_usd_per_hour == pytest.approx(BEST)
    look(one)
    best = one.best
    oracle = Oracle(one.blocks)
    dual = maximise(one.blocks, oracle, Master(one.blocks), lambda _bound: True)
    one._look(Branch(one.blocks, dual), oracle.has_several)
    assert one.best is not None
    assert best is not None
    assert one.best.usd_per_hour == best.usd_per_hour
