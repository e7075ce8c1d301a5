"""Why a plan is as it is: runner-ups, margins and thresholds that can be worked out by hand."""

from __future__ import annotations

import time
from typing import Any

import pytest
from measured import rented, scenario, workload

from catalog import Catalog
from optimizer import load_scenario, optimize
from optimizer.candidates import build_candidates
from optimizer.errors import InputError
from optimizer.explain import Explanation, Flip, explain_plan
from optimizer.explain.resolver import Resolver
from optimizer.formulation import Program
from optimizer.scenario import scenario_catalog
from optimizer.solve import Solution, solve_program

# Four replicas of 5/s carry 20/s: $32/h on a, $48/h on b.
TWO_CARDS = scenario(
    {"w": workload(20, [("h100-sxm", 1, 5.0), ("l40s", 1, 5.0)])},
    {"a": rented("h100-sxm", 1, 8.0), "b": rented("l40s", 1, 12.0)},
)


def explained(given: dict[str, Any], catalog: Catalog, name: str | None = None) -> Explanation:
    loaded = load_scenario(given, catalog)
    return explain_plan(optimize(loaded, catalog, gap=0.0), loaded, scenario_catalog(loaded, catalog), name)


def flips(found: Explanation) -> dict[tuple[str, bool], Flip]:
    """By what is scaled, and whether upwards."""
    return {(one.what, (one.flips_at or one.holds_at) > 1): one for one in found.flips}


def test_the_runner_up_is_the_cheapest_plan_without_the_replicas(catalog: Catalog) -> None:
    (why,) = explained(TWO_CARDS, catalog).reasons
    assert (why.offer, why.replicas, why.n_admissible) == ("a", 4, 2)
    assert why.runner_up.instead == ("4 × measured x1 on b",)
    assert why.runner_up.usd_per_hour_more == pytest.approx(16.0)
    assert why.runner_up.is_proven


def test_where_nothing_else_can_do_it_there_is_no_runner_up(catalog: Catalog) -> None:
    (why,) = explained(scenario(TWO_CARDS["workloads"], {"a": TWO_CARDS["inventory"]["a"]}), catalog).reasons
    assert why.runner_up.instead == ()
    assert why.runner_up.usd_per_hour_more is None


def test_a_dominated_kind_of_replica_can_be_the_runner_up(catalog: Catalog) -> None:
    # Two GPUs at 8/s are dropped beside one at 5/s, and are what is left when that one is forbidden: three pairs for
    # 20/s, on servers of two GPUs at $16: $48 after $32 for two servers of two single GPUs.
    given = scenario(
        {"w": workload(20, [("h100-sxm", 1, 5.0), ("h100-sxm", 2, 8.0)])}, {"a": rented("h100-sxm", 2, 8.0)}
    )
    (why,) = explained(given, catalog).reasons
    assert why.runner_up.instead == ("3 × measured x2 on a",)
    assert why.runner_up.usd_per_hour_more == pytest.approx(16.0)


def test_one_more_server_is_worth_what_the_plan_with_it_saves(catalog: Catalog) -> None:
    # Two servers on a and two on b are 16 + 24 = $40; with a third on a, 24 + 12 = $36.
    given = scenario(TWO_CARDS["workloads"], TWO_CARDS["inventory"] | {"a": rented("h100-sxm", 1, 8.0, most=2)})
    found = explained(given, catalog)
    assert found.binds == ("a (rent): 100% of 2 servers used",)
    worth = {one.change: one.saves_usd_per_hour for one in found.margins}
    assert worth["one more a (rent)"] == pytest.approx(4.0)
    # 10 % more demand is 22/s, a fifth replica.
    assert worth["10% more demand of all"] == pytest.approx(-12.0)


def test_a_budget_is_worth_what_more_of_it_saves(catalog: Catalog) -> None:
    # One server is owned for nothing, the budget has room for $8 of rent an hour more; the rest is bought dear.
    node = rented("h100-sxm", 1, 8.0) | {"buy": {"price": "$480k/server", "life": "48mo"}}
    # Two servers: both rented are $11,680 a month; 10 % more than $10,700 is $11,770.
    given = scenario({"w": workload(10, [("h100-sxm", 1, 5.0)])}, {"node": node}, budget={"monthly": "$10.7k"})
    worth = {one.change: one.saves_usd_per_hour for one in explained(given, catalog).margins}
    assert worth["10% more budget.monthly"] == pytest.approx(480_000 / 48 / 730 - 8.0)


def test_a_price_flips_the_decision_where_the_other_offer_is_as_cheap(catalog: Catalog) -> None:
    found = flips(explained(TWO_CARDS, catalog))
    dearer = found["price of a (rent)", True]  # $8 → $12
    assert dearer.holds_at <= 1.5 <= (dearer.flips_at or 0) <= dearer.holds_at * 1.04
    assert dearer.instead == ("4 → 0 × a (rent)", "0 → 4 × b (rent)")
    cheaper = found["price of b (rent)", False]  # $12 → $8
    assert cheaper.holds_at >= 2 / 3 >= (cheaper.flips_at or 1)


def test_speed_flips_the_decision_where_a_third_server_is_dearer_than_the_other_card(catalog: Catalog) -> None:
    # Two of a carry 9/s for $16 down to 90 % of 5/s. Three would be $24, and one of b does it for $20.
    given = scenario(
        {"w": workload(9, [("h100-sxm", 1, 5.0), ("l40s", 1, 10.0)])},
        {"a": rented("h100-sxm", 1, 8.0), "b": rented("l40s", 1, 20.0)},
    )
    slower = flips(explained(given, catalog, "w"))["speed of h100-sxm", False]
    assert slower.holds_at >= 0.9 >= (slower.flips_at or 1) >= slower.holds_at / 1.041
    assert slower.instead == ("w: 1 × measured x1 on b",)


def test_demand_flips_the_decision_where_a_large_server_pays(catalog: Catalog) -> None:
    # A small server is $8 for 5/s, a large one $36 for 40/s: five small ones, from 20/s on, are dearer.
    given = scenario(
        {"w": workload(16, [("l40s", 1, 5.0), ("h100-sxm", 1, 40.0)])},
        {"small": rented("l40s", 1, 8.0), "large": rented("h100-sxm", 1, 36.0)},
    )
    more = flips(explained(given, catalog))["demand", True]
    assert more.holds_at <= 1.25 <= (more.flips_at or 0) <= more.holds_at * 1.04
    assert more.instead == ("0 → 1 × large (rent)", "4 → 0 × small (rent)")


def test_what_holds_in_the_whole_range_is_said_to(catalog: Catalog) -> None:
    alone = scenario(TWO_CARDS["workloads"], {"a": TWO_CARDS["inventory"]["a"]})
    dearer = flips(explained(alone, catalog))["price of a (rent)", True]
    assert (dearer.holds_at, dearer.flips_at, dearer.instead) == (4.0, None, ())


def test_buying_breaks_even_in_hours_and_months(catalog: Catalog) -> None:
    node = rented("h100-sxm", 1, 2.0) | {
        "buy": {"price": "$36.5k/server", "life": "50mo"}, "power": "1kW/server"
    }  # fmt: skip
    given = scenario(TWO_CARDS["workloads"], {"node": node}, facility={"opex": "$73/server/mo"})
    (found,) = explained(given, catalog).break_evens
    # Value lost: 36500 / 50 = $730 a month, with $73 of running cost $1.10/h, against $2.
    assert found.utilization_fraction == pytest.approx(0.55)
    # Renting is $1,460 a month, $1,387 more than running: 36500 / 1387.
    assert found.payback_months == pytest.approx(36500 / 1387)


def test_of_a_plan_that_serves_a_part_that_part_is_explained(catalog: Catalog) -> None:
    given = scenario(
        {"w": workload(20, [("h100-sxm", 1, 5.0)]), "none": workload(1, [("l4", 1, 1.0)])},
        {"a": rented("h100-sxm", 1, 8.0, most=2)},
        objective="served",
    )
    found = explained(given, catalog)
    assert [why.workload for why in found.reasons] == ["w"]
    assert found.usd_per_hour == pytest.approx(16.0)


def test_an_unknown_workload_and_a_plan_without_cost_are_refused(catalog: Catalog) -> None:
    loaded = load_scenario(TWO_CARDS, catalog)
    layout = optimize(loaded, catalog)
    with pytest.raises(InputError, match="no workload x; there is w"):
        explain_plan(layout, loaded, catalog, "x")
    with pytest.raises(InputError, match="no plan but infeasible"):
        explain_plan(layout.model_copy(update={"cost": None, "status": "infeasible"}), loaded, catalog)


@pytest.mark.parametrize("name", ["quickstart", "many-workloads"])
def test_narrowing_the_candidates_of_every_structure_keeps_the_optimum(name: str, catalog: Catalog) -> None:
    loaded = load_scenario(f"scenarios/{name}.yaml", catalog)
    own = scenario_catalog(loaded, catalog)
    wide = Resolver.of_every_structure(loaded, own).cheapest()
    plain = Resolver(loaded, own, build_candidates(loaded, own)).cheapest()
    assert wide is not None
    assert plain is not None
    assert wide.usd_per_hour == pytest.approx(plain.usd_per_hour, rel=1e-9)


def test_the_number_of_plans_solved_is_bounded(catalog: Catalog) -> None:
    loaded = load_scenario("scenarios/many-workloads.yaml", catalog)
    said: list[str] = []
    plan, own = optimize(loaded, catalog), scenario_catalog(loaded, catalog)
    found = explain_plan(plan, loaded, own, time_limit_s=60.0, progress=said.append)
    assert found.n_solves < 130
    assert found.n_more_choices > 20
    assert {"runner-ups", "margins", "thresholds"} <= {line.split(":")[0] for line in said}
    assert all(one.is_proven for one in found.margins)


def test_over_several_periods_everything_is_said_of_all_of_them(catalog: Catalog) -> None:
    # A month at 10/s on two a, $16 an hour, and one at 20/s on four, $32: $24 in the mean. On b $24 and $48, $36.
    given = {**TWO_CARDS, "horizon": "2mo", "periods": 2}
    given["workloads"] = {"w": {**given["workloads"]["w"], "requests": "10/s", "growth": "100%/period"}}
    found = explained(given, catalog)
    assert found.usd_per_hour == pytest.approx(24.0)
    (why,) = found.reasons
    assert (why.offer, why.replicas, why.runner_up.usd_per_hour_more) == ("a", 4, pytest.approx(12.0))
    assert why.runner_up.instead == ("4 × measured x1 on b",)
    price = flips(found)["price of a (rent)", True]
    assert price.holds_at <= 1.5 <= (price.flips_at or 0) <= price.holds_at * 1.041


def test_over_several_periods_a_server_bought_at_the_start_is_set_against_rent(catalog: Catalog) -> None:
    # $8,760 over two years that cover both periods: 50 cents an hour of 17,520, a quarter of $2; paid back by 8,760 /
    # (2 · 730) = 6 months of rent.
    offers = {
        "own": {"gpu": "l4", "gpus_per_server": 1, "buy": {"price": "$8760/server", "life": "24mo"}},
        "cloud": rented("l4", 1, 2.0),
    }
    given = scenario({"w": workload(1, [("l4", 1, 1.0)])}, offers, horizon="24mo", periods=2)
    (found,) = explained(given, catalog).break_evens
    assert (found.utilization_fraction, found.payback_months) == (pytest.approx(0.25), pytest.approx(6.0))


def test_the_runner_up_of_replicas_with_spare_has_spare_too(catalog: Catalog) -> None:
    # 3 of 1/s must be left: on b 3 servers of 2 GPUs hold 5 and lose at most 2 of them, $6; on a two of 4, $16.
    given = scenario(
        {"w": workload(3, [("h100-sxm", 1, 1.0), ("l4", 1, 1.0)], spare="n+1")},
        {"a": rented("h100-sxm", 4, 2.0), "b": rented("l4", 2, 1.0)},
    )
    (why,) = explained(given, catalog).reasons
    assert (why.offer, why.runner_up.usd_per_hour_more) == ("b", pytest.approx(10.0))


def test_spares_of_spot_servers_count_in_what_binds(catalog: Catalog) -> None:
    # Two in use and one spare, of three that are to be had.
    spot = {"price": "$1/gpu/h", "interruption": "5%/h", "recovery": "1h", "availability": "99%", "max": 3}
    given = scenario(
        {"w": workload(7, [("h100-sxm", 1, 1.0)])}, {"s": {"gpu": "h100-sxm", "gpus_per_server": 4, "spot": spot}}
    )
    assert explained(given, catalog).binds == ("s (spot): 100% of 3 servers used",)


def test_where_workloads_are_many_others_keep_to_their_kinds_of_replicas(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ten of a on the cheaper card, two of b there too. Looked at is a; b keeps to the kind of replica that it has.
    monkeypatch.setattr("optimizer.explain.feasible.MOST_PAIRS", 1)
    monkeypatch.setattr("optimizer.explain.feasible.MOST_REASONS", 1)
    given = scenario(
        {"a": workload(10, [("h100-sxm", 1, 1.0), ("l40s", 1, 1.0)]), "b": workload(2, [("h100-sxm", 1, 1.0)])},
        {"cheap": rented("h100-sxm", 1, 2.0), "dear": rented("l40s", 1, 3.0)},
    )
    found = explained(given, catalog)
    assert found.n_kept == 1
    assert [one.workload for one in found.reasons] == ["a"]
    assert found.reasons[0].runner_up.usd_per_hour_more == pytest.approx(10.0)
    # One more of a, and b's 2.2/s take a third one.
    assert {one.change: one.saves_usd_per_hour for one in found.margins}["10% more demand of all"] == pytest.approx(-4)


def test_what_there_was_no_time_for_is_said(catalog: Catalog) -> None:
    loaded = load_scenario(TWO_CARDS, catalog)
    plan = optimize(loaded, catalog, gap=0.0)
    with pytest.raises(InputError, match="no plan was found within 1e-06 s; give more with --time-limit"):
        explain_plan(plan, loaded, catalog, time_limit_s=1e-6)
    calls, until = 0, time.process_time() + 1.0

    def slow(program: Program, **how: Any) -> Solution:
        nonlocal calls
        calls += 1
        if calls == 3:  # of the first margin, after the plan itself and its only runner-up
            while time.process_time() < until:
                pass
        return solve_program(program, **how)

    found = explain_plan(plan, loaded, catalog, time_limit_s=1.0, backend=slow)
    assert len(found.reasons) == 1
    assert found.margins == ()
    assert found.not_looked_for == ("margins", "thresholds")
