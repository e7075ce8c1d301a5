"""The plain program and columns on the same instances: same costs, and bounds that nobody beats."""

from __future__ import annotations

import pytest
from random_instances import draw, instance, is_servable

from catalog import Catalog
from optimizer.formulation import Instance
from optimizer.solve import Answer, Limits, solve
from optimizer.solve.columns import solve_columns

SEEDS = 220
GAP = 0.001
ROUNDING = 1e-6


def cost(inst: Instance, answer: Answer) -> float:
    assert answer.decision is not None
    return float(inst.usd_per_hour @ answer.decision.n_servers)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_both_methods_find_plans_of_the_same_cost_and_no_plan_beats_a_bound(seed: int, catalog: Catalog) -> None:
    inst = instance(draw(seed), catalog)
    if not is_servable(inst):
        pytest.skip("a class has no candidate; optimize refuses that before a method is chosen")
    plain = solve(inst, Limits(gap=0.0), method="plain")
    columns = solve_columns(inst, Limits(gap=GAP, time_limit_s=20.0))
    if plain.outcome == "infeasible":
        assert columns is None or columns.decision is None
        return
    assert columns is not None
    best = cost(inst, plain)
    assert columns.bound_usd_per_hour <= best * (1 + ROUNDING)
    assert cost(inst, columns) >= best * (1 - ROUNDING)
    assert columns.outcome == "optimal"
    assert cost(inst, columns) <= best * (1 + GAP + ROUNDING)
