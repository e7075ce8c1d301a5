"""What plans do under stress, what mends them and what would have held, worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from measured import rented, scenario, workload

from catalog import Catalog
from optimizer import load_scenario, optimize, verify
from optimizer.layout import Layout
from optimizer.plan_notes import Stress
from optimizer.scenario import with_workload

SCENARIOS = Path(__file__).parents[3] / "scenarios"


def stressed(given: dict[str, Any], catalog: Catalog) -> tuple[Layout, dict[str, Stress]]:
    loaded = load_scenario(given, catalog)
    layout = optimize(loaded, catalog, gap=0.0, stressed=True)
    assert verify(layout, loaded, catalog) == []
    return layout, {one.name: one for one in layout.stress}


def more(remedy: Any) -> float | None:
    return None if remedy is None else remedy.usd_per_hour_more


# Servers of 1/s at $1: five for 5/s.
RENTED = scenario({"w": workload(5, [("l4", 1, 1.0)])}, {"node": rented("l4", 1, 1.0)})


def test_what_replicas_keep_free_is_used_first(catalog: Catalog) -> None:
    # Seven servers are 5 / 7 = 71 % busy, of 80 % that may be: 6.25/s find place, 7.5/s do not. 7.5 · 0.8 = 6/s as
    # planned ask for eight.
    given = {**RENTED, "max_utilization": "80%"}
    _, found = stressed(given, catalog)
    assert found["demand × 1.25"].served_fraction == 1.0
    assert more(found["demand × 1.25"].robust) == 0.0
    half = found["demand × 1.5"]
    assert half.served_fraction == pytest.approx(7 / 7.5)
    assert (more(half.repaired), more(half.robust)) == (pytest.approx(1.0), pytest.approx(1.0))
    assert half.robust is not None
    assert half.robust.servers == ("8 × node (rent)",)


def test_without_anything_free_every_case_is_felt(catalog: Catalog) -> None:
    # 6.25/s, 7.5/s, and 5/s on replicas of 0.8/s: 7, 8 and 7 servers.
    _, found = stressed(RENTED, catalog)
    assert {name: one.served_fraction for name, one in found.items()} == pytest.approx(
        {"demand × 1.25": 0.8, "demand × 1.5": 2 / 3, "speed −20%": 0.8}
    )
    assert {name: more(one.robust) for name, one in found.items()} == pytest.approx(
        {"demand × 1.25": 2.0, "demand × 1.5": 3.0, "speed −20%": 2.0}
    )


def test_repair_keeps_what_is_bought_and_a_robust_plan_need_not(catalog: Catalog) -> None:
    # One small server at 50 cents carries 1/s. For 1.25/s and 1.5/s either it stays and a second is rented at $2, or
    # a large one is bought for 75 cents instead.
    buy = {"life": "12mo", "price": "$4380/server"}
    offers = {
        "small": {"gpu": "l4", "gpus_per_server": 1, "buy": {**buy, "max": 1}},
        "cloud": rented("l4", 1, 2.0),
        "large": {"gpu": "l40s", "gpus_per_server": 1, "buy": {**buy, "price": "$6570/server"}},
    }
    given = scenario({"w": workload(1, [("l4", 1, 1.0), ("l40s", 1, 2.0)])}, offers, horizon="12mo")
    layout, found = stressed(given, catalog)
    assert layout.cost is not None
    assert layout.cost.usd_per_hour == pytest.approx(0.5)
    half = found["demand × 1.5"]
    assert (more(half.repaired), more(half.robust)) == (pytest.approx(2.0), pytest.approx(0.25))


def test_what_cannot_be_mended_is_said_so(catalog: Catalog) -> None:
    given = scenario({"w": workload(5, [("l4", 1, 1.0)])}, {"node": rented("l4", 1, 1.0, most=5)})
    _, found = stressed(given, catalog)
    assert found["demand × 1.5"].repaired is None
    assert found["demand × 1.5"].robust is None


def test_over_several_periods_the_worst_counts_and_what_is_ordered_now_stays(catalog: Catalog) -> None:
    # 1/s, then 2/s on servers bought now for 25 cents an hour of the two years; more are rented at $1 where 1.25/s and
    # 2.5/s need two and three servers: one more in both years, or one more bought for 25 cents.
    offers = {
        "own": {"gpu": "l4", "gpus_per_server": 1, "buy": {"price": "$4380/server", "life": "24mo"}},
        "cloud": rented("l4", 1, 1.0),
    }
    asked = workload(1, [("l4", 1, 1.0)], growth="100%/period")
    given = scenario({"w": asked}, offers, horizon="24mo", periods=2, budget={"capex": "$13140"})
    layout, found = stressed(given, catalog)
    bought = sum(one.count for period in layout.periods for one in period.purchases)
    assert bought == 2
    quarter = found["demand × 1.25"]
    assert [(one.name, one.served_fraction) for one in quarter.workloads] == [("w", pytest.approx(0.8))]
    assert quarter.repaired is not None
    assert quarter.robust is not None
    assert quarter.robust.usd_per_hour_more <= quarter.repaired.usd_per_hour_more


def test_slower_replicas_miss_their_targets_sooner_than_in_proportion(catalog: Catalog) -> None:
    given: dict[str, Any] = {
        "name": "predicted",
        "max_utilization": "100%",
        "workloads": {
            "chat": {
                "model": "Qwen/Qwen3-8B", "requests": "20/s", "input_tokens": 600, "output_tokens": 120,
                "slo": {"ttft_p95": "300ms", "tpot_p95": "12ms"}, "weight_dtypes": ["fp8"], "tp": [1], "pp": [1],
            }
        },
        "inventory": {"node": {"gpu": "h100-sxm", "gpus_per_server": 1, "rent": {"price": "$2.40/gpu/h"}}},
    }  # fmt: skip
    (one,) = optimize(load_scenario(given, catalog), catalog).workloads[0].replica_groups
    given["workloads"]["chat"]["requests"] = f"{1.999 * one.rate_rps['all']:.4f}/s"  # two replicas, all but full
    layout, found = stressed(given, catalog)
    (group,) = layout.workloads[0].replica_groups
    slow, quarter = found["speed −20%"], found["demand × 1.25"]
    assert quarter.served_fraction == pytest.approx(group.capacity_rps / (1.25 * group.load_rps))
    # With targets to spare both would be the same: a clock of 80 % serves 80 %.
    assert slow.served_fraction < quarter.served_fraction - 0.01
    assert slow.workloads[0].bound_by == (group.limit,)
    assert slow.robust is not None
    assert slow.robust.usd_per_hour_more > 0


def test_replicas_that_draft_tokens_go_on_drafting_under_stress(catalog: Catalog) -> None:
    # Rated as if they drafted nothing, the same replicas would hold their targets for a fifth of the demand only.
    loaded = load_scenario(SCENARIOS / "interactive.yaml", catalog)
    # The preferred cache of 16 bit leaves less room than one of 8.
    loaded = with_workload(loaded, "assistant", kv_cache_dtypes=("fp8",))
    layout = optimize(loaded, catalog, stressed=True)
    assert all(group.speculative for plan in layout.workloads for group in plan.replica_groups)
    (slower,) = (case for case in layout.stress if case.speed_factor < 1)
    assert slower.served_fraction > 0.8


def test_a_plan_without_stress_says_nothing(catalog: Catalog) -> None:
    assert optimize(load_scenario(RENTED, catalog), catalog).stress == ()
