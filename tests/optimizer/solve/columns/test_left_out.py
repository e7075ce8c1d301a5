"""What a proof over plans leaves out: nothing that a better answer needs."""

from __future__ import annotations

import numpy as np
import pytest
from measured import rented, scenario, workload
from random_instances import draw, instance, is_servable

from catalog import Catalog
from optimizer.solve.backend import solve_program
from optimizer.solve.columns.block import workload_blocks
from optimizer.solve.columns.blocks import cut_into_blocks
from optimizer.solve.columns.complete import Effort, Group, all_plans, groups_of
from optimizer.solve.columns.oracle import Oracle
from optimizer.solve.columns.plans import Plans
from optimizer.solve.columns.restricted import Restricted


def test_few_replicas_of_a_dear_candidate_are_near_enough() -> None:
    # ρ = min(1/0.25, 3/0.5) = 4. A replica of the second costs 3 − 4 · 0.5 = 1 more than its share: two of them cost 6,
    # within 6.5 there is room for (6.5 − 4) / 1 = 2 of them, within 5.5 for one; of the first four carry everything.
    group = Group(0, np.array([7, 8]), np.array([0.25, 0.5]))
    price = np.array([1.0, 3.0])
    assert group.most_replicas(price, 6.5).tolist() == [4, 2]
    assert group.most_replicas(price, 5.5).tolist() == [4, 1]
    assert group.most_replicas(price, 4.5).tolist() == [4, 0]
    assert group.most_replicas(price, 3.9).tolist() == [0, 0]


@pytest.mark.parametrize("seed", range(40))
def test_no_plan_within_a_slack_has_more_replicas_than_that(seed: int, catalog: Catalog) -> None:
    inst = instance(draw(seed), catalog)
    if not is_servable(inst) or inst.is_split.any():
        pytest.skip("nothing to enumerate")
    blocks = cut_into_blocks(inst)
    price = np.random.default_rng(seed).uniform(0.2, 3.0, len(blocks.supply.bound))
    unit, least = blocks.unit(price), Oracle(blocks).run(price).least
    groups, slack = groups_of(blocks), float(least.mean())
    found = all_plans(groups, unit, least, slack, np.ones(blocks.n_workloads, bool), Effort())
    assert found is not None
    plans, complete = found
    most = np.zeros(len(unit))
    for group in groups:
        limit = float(least[group.workload] + complete[group.workload])
        most[group.candidate] = group.most_replicas(unit[group.candidate], limit)
    assert (plans.count <= most[plans.candidate]).all()


def test_a_workload_held_to_few_replicas_has_only_their_columns(catalog: Catalog) -> None:
    # 3 requests/s: three l4 at $0.70, or one l40s at $1.80; held to no l40s and held to one l4.
    one = scenario(
        {"w": workload(3.0, [("l4", 1, 1.0), ("l40s", 1, 3.0)])},
        {"l4s": rented("l4", 1, 0.70), "l40s": rented("l40s", 1, 1.80)},
    )
    blocks = cut_into_blocks(instance(one, catalog))
    (block,) = workload_blocks(blocks, np.array([0]))
    unit = np.array([0.70, 1.80])
    assert block.cheapest(unit)[0] == pytest.approx(1.80)
    held = block.within(np.array([np.inf, 0.0]))
    assert held.candidates.tolist() == [0]
    bound, plan = held.cheapest(unit)
    assert bound == pytest.approx(2.10)
    assert plan.candidate.tolist() == [0]
    assert plan.count.tolist() == [3]


def test_plans_that_another_replaces_and_plans_beyond_the_supply_go(catalog: Catalog) -> None:
    # 3 requests/s on replicas of 1/s on l4 and of 3/s on l40s, of which there is one server of two GPUs.
    one = scenario(
        {"w": workload(3.0, [("l4", 1, 1.0), ("l40s", 1, 3.0)])},
        {"l4s": rented("l4", 1, 0.70), "l40s": rented("l40s", 2, 1.80, most=1)},
    )
    blocks = cut_into_blocks(instance(one, catalog))
    counts = [{0: 3}, {0: 4}, {1: 1}, {1: 1, 0: 1}, {1: 3}, {0: 3}, {0: 2, 1: 2}]
    entries = [(p, k, n) for p, plan in enumerate(counts) for k, n in plan.items()]
    plan, candidate, count = np.array(entries).T
    lean = Plans(np.zeros(len(counts), np.int64), plan, candidate, count).lean(blocks)
    # 4 × l4 takes more than 3 × l4, l40s with l4 more than l40s alone, 3 × l40s more than there are.
    assert [(int(k), int(n)) for k, n in zip(lean.candidate, lean.count, strict=True)] == [(0, 3), (1, 1)]


@pytest.mark.parametrize(("most_usd_per_hour", "outcome"), [(1.79, "infeasible"), (1.81, "optimal")])
def test_under_a_ceiling_nothing_dearer_is_an_answer(most_usd_per_hour: float, outcome: str, catalog: Catalog) -> None:
    one = scenario({"w": workload(3.0, [("l40s", 1, 3.0)])}, {"l40s": rented("l40s", 1, 1.80)})
    blocks = cut_into_blocks(instance(one, catalog))
    plan = Plans(np.array([0]), np.array([0]), np.array([0]), np.array([1]))
    program = Restricted.over(blocks, plan, most_usd_per_hour=most_usd_per_hour).program
    assert solve_program(program, solver="highs").outcome == outcome
