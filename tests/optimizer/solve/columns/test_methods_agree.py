"""The plain program and columns on the same instances: same costs, and bounds that nobody beats."""

from __future__ import annotations

from typing import Any

import pytest
from random_instances import draw, draw_over_periods, instance, is_servable

from catalog import Catalog
from optimizer.formulation import Instance
from optimizer.solve import Answer, Limits, solve
from optimizer.solve.columns import solve_columns

SEEDS, SEEDS_OF_TWO_CLASSES, SEEDS_OVER_PERIODS = 220, 20, 40
GAP = 0.001
ROUNDING = 1e-6


def cost(inst: Instance, answer: Answer) -> float:
    assert answer.decision is not None
    n_servers = answer.decision.n_servers
    orders = float(inst.orders.usd_per_hour @ answer.decision.n_ordered) if len(answer.decision.n_ordered) else 0.0
    return float(inst.usd_per_hour @ (n_servers + inst.spot.all_needed(n_servers))) + orders


@pytest.mark.parametrize("seed", range(SEEDS))
def test_both_methods_find_plans_of_the_same_cost_and_no_plan_beats_a_bound(seed: int, catalog: Catalog) -> None:
    assert_methods_agree(draw(seed), catalog)


@pytest.mark.parametrize("seed", range(SEEDS_OF_TWO_CLASSES))
def test_both_methods_agree_where_every_workload_has_two_classes(seed: int, catalog: Catalog) -> None:
    # Each is a small program of its own: a gap may take long to close, but what is proven must be true.
    assert_methods_agree(draw(seed, of_two_classes=1.0), catalog, time_limit_s=5.0, always_proven=False)


@pytest.mark.parametrize("seed", range(SEEDS_OVER_PERIODS))
def test_both_methods_agree_over_several_periods_with_orders_and_spares_of_spot_servers(
    seed: int, catalog: Catalog
) -> None:
    # Where classes share few servers, orders may leave a gap that takes long to close: what is proven must be true.
    assert_methods_agree(draw_over_periods(seed), catalog, time_limit_s=5.0, always_proven=False)


@pytest.mark.parametrize("seed", range(30))
def test_bounds_stay_true_where_a_proof_takes_more_plans_than_it_may_hold(
    seed: int, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("optimizer.solve.columns.solve.MOST_PLANS", 6)
    assert_methods_agree(draw(seed), catalog, time_limit_s=5.0, always_proven=False)


@pytest.mark.parametrize("seed", range(40))
def test_both_methods_agree_where_workloads_have_too_many_plans_to_name_them(
    seed: int, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("optimizer.solve.columns.solve.PLANS_EACH", 1)
    assert_methods_agree(draw(seed), catalog)


def assert_methods_agree(
    given: dict[str, Any], catalog: Catalog, *, time_limit_s: float = 20.0, always_proven: bool = True
) -> None:
    inst = instance(given, catalog)
    if not is_servable(inst):
        pytest.skip("a class has no candidate; optimize refuses that before a method is chosen")
    plain = solve(inst, Limits(gap=0.0), method="plain")
    columns = solve_columns(inst, Limits(gap=GAP, time_limit_s=time_limit_s))
    if plain.outcome == "infeasible":
        assert columns is None or columns.decision is None
        return
    assert columns is not None
    best = cost(inst, plain)
    assert columns.bound_usd_per_hour <= best * (1 + ROUNDING)
    assert cost(inst, columns) >= best * (1 - ROUNDING)
    if always_proven or columns.outcome == "optimal":
        assert columns.outcome == "optimal"
        assert cost(inst, columns) <= best * (1 + GAP + ROUNDING)
