"""Prices of slots in, the cheapest plan of each workload out, against plain enumeration."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from measured import rented, scenario, workload
from random_instances import draw, instance, is_servable

from catalog import Catalog
from optimizer.formulation import Instance
from optimizer.serving_config import FloatArray
from optimizer.solve.columns.blocks import Blocks, cut_into_blocks
from optimizer.solve.columns.complete import Effort, all_plans, groups_of
from optimizer.solve.columns.oracle import Oracle

MOST_VECTORS = 20_000  # replica counts that enumeration looks at


def enumerated(inst: Instance, unit: FloatArray, w: int) -> list[float]:
    """Costs of all plans of a workload of one class that need every replica they have; [] when there are too many."""
    loads = np.flatnonzero(inst.workload_of_candidate[inst.candidate_of_load] == w)
    costs: list[float] = []
    for choice in np.unique(inst.choice_of_load[loads]):
        here = loads[inst.choice_of_load[loads] == choice]
        carried, price = inst.carried[here], unit[inst.candidate_of_load[here]]
        most = [math.ceil(1 / c - 1e-9) for c in carried]
        if math.prod(n + 1 for n in most) > MOST_VECTORS:
            return []
        for counts in itertools.product(*(range(n + 1) for n in most)):
            total = sum(n * c for n, c in zip(counts, carried, strict=True))
            spare = min((c for n, c in zip(counts, carried, strict=True) if n), default=0.0)
            if 1 - 1e-9 <= total < 1 - 1e-9 + spare:
                costs.append(sum(n * p for n, p in zip(counts, price, strict=True)))
    return sorted(costs)


def priced(seed: int, catalog: Catalog) -> tuple[Blocks, FloatArray]:
    """Blocks of an instance, and prices drawn for it."""
    blocks = cut_into_blocks(instance(draw(seed), catalog))
    return blocks, np.random.default_rng(seed).uniform(0.2, 3.0, len(blocks.supply.bound))


@pytest.mark.parametrize("seed", range(40))
def test_no_plan_is_cheaper_than_the_one_that_pricing_finds(seed: int, catalog: Catalog) -> None:
    blocks, price = priced(seed, catalog)
    inst = blocks.inst
    if not is_servable(inst):
        pytest.skip("a class has no candidate")
    answer = Oracle(blocks).run(price)
    cost = answer.plans.cost(blocks.unit(price))
    assert answer.least == pytest.approx(cost, rel=1e-6)  # the bound is the plan's own cost
    of_several = set(inst.workload_of_candidate[inst.candidate_of_load[inst.is_split]].tolist())
    for w in set(range(blocks.n_workloads)) - of_several:
        if costs := enumerated(inst, blocks.unit(price), w):
            assert cost[w] == pytest.approx(costs[0], rel=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_the_plans_within_a_slack_hold_the_cheapest_way_to_take_each_set_of_slots(seed: int, catalog: Catalog) -> None:
    blocks, price = priced(seed, catalog)
    inst = blocks.inst
    if not is_servable(inst) or inst.is_split.any():
        pytest.skip("nothing to enumerate")
    least = Oracle(blocks).run(price).least
    slack = 0.5 * float(least.mean())
    every = np.ones(blocks.n_workloads, bool)
    groups, unit = groups_of(blocks), blocks.unit(price)
    answer = all_plans(groups, unit, least, slack, every, Effort(plans=10_000))
    assert answer is not None
    plans, complete = answer
    assert all_plans(groups, unit, least, slack, every, Effort(plans=len(plans) - 1)) is None
    cost = plans.cost(unit)
    for w in range(blocks.n_workloads):
        expected = [c for c in enumerated(inst, blocks.unit(price), w) if c <= least[w] + complete[w]]
        found = sorted(cost[plans.workload == w].tolist())
        assert found
        assert len(found) <= len(expected) or not expected  # plans that take more of the same slots are left out
        if expected:
            assert found[0] == pytest.approx(expected[0], rel=1e-9)


def test_a_plan_mixes_sizes_where_that_covers_the_demand_at_least_cost(catalog: Catalog) -> None:
    # 7 requests/s. Replicas of 5/s for 3 $, of 1/s for 1 $: 5 + 1 + 1 costs 5 $, two large ones 6 $, seven small 7 $.
    one = workload(7.0, [("h100-sxm", 1, 5.0), ("l4", 1, 1.0)])
    inst = instance(scenario({"w": one}, {"big": rented("h100-sxm", 1, 3.0), "small": rented("l4", 1, 1.0)}), catalog)
    blocks = cut_into_blocks(inst)
    answer = Oracle(blocks).run(np.array([3.0, 1.0]))
    assert answer.least.tolist() == pytest.approx([5.0])
    assert sorted(answer.plans.count.tolist()) == [1, 2]
