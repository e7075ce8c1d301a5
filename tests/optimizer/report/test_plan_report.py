"""A plan as people read it."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from measured import rented, workload
from measured import scenario as measured_scenario

from catalog import Catalog
from optimizer import optimize
from optimizer.layout import (
    Cost,
    GroupMemory,
    Layout,
    Placement,
    ReplicaGroup,
    Servers,
    WorkloadPlan,
)
from optimizer.plan_notes import Conflict, Infeasibility, Remedy, Stress, StressedWorkload
from optimizer.report.comparison import comparison_data, comparison_report
from optimizer.report.delivery import console
from optimizer.report.group_names import named_groups
from optimizer.report.plan import plan_report, proof
from optimizer.scenario import Scenario, load_scenario

WORKLOAD = {
    "model": "Qwen/Qwen3-14B",
    "requests": "4/s",
    "input_tokens": 900,
    "output_tokens": 200,
    "slo": {"ttft_p95": "3s", "tpot_p95": "80ms"},
}
OFFER = {"gpu": "h100-sxm", "gpus_per_server": 8, "rent": {"price": "$2.40/gpu/h", "max": 4}}


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario({"name": "tiny", "workloads": {"chat": WORKLOAD}, "inventory": {"h100": OFFER}})


def layout(**changes: Any) -> Layout:
    """One server of 8 H100 at $19.20/h that runs two replicas of one GPU."""
    memory = GroupMemory(
        budget_gib=72.8, weights_gib=15.4, activation_gib=2.2, non_torch_gib=0.3, cuda_graph_gib=0.9, kv_cache_gib=54.0,
        margin_gib=0.4, kv_cache_tokens=353_000, kv_bytes_per_token=163_840.0, max_concurrency=86.2,
        typical_concurrency=321.0,
    )  # fmt: skip
    group = ReplicaGroup(
        offer="h100", gpu="h100-sxm", gpus_per_replica=1, replicas=2, model="Qwen/Qwen3-14B", weight_dtype="fp8",
        kv_cache_dtype="auto", engine="vllm", engine_version=None, tp=1, pp=1, dp=1, ep=1, max_batch_size=64,
        max_model_len=1104, load_rps=4.0, capacity_rps=6.25, utilization=0.64, class_rps={"all": 4.0},
        rate_rps={"all": 3.125}, placement=(Placement(replica=0, servers=(0,)), Placement(replica=1, servers=(0,))),
        ttft_ms={"mean": 400.0, "p95": 1200.0}, tpot_ms={"mean": 30.0, "p95": 41.0}, e2e_ms={"mean": 6400.0},
        ttft_interval_ms=(210.0, 880.0), tpot_interval_ms=(25.0, 36.0), extrapolated=(), quality=0.995, memory=memory,
        limit="ttft_p95", source="shipped",
    )  # fmt: skip
    servers = Servers(offer="h100", term="rent", gpu="h100-sxm", gpus_per_server=8, count=1, usd_per_hour=19.2)
    facts: dict[str, Any] = {
        "scenario": "tiny",
        "status": "optimal",
        "gap": 0.0,
        "solve_seconds": 0.31,
        "solver": "scip",
        # 19.2 · 730 h = 14,016 a month, which is the horizon.
        "cost": Cost(
            usd_per_hour=19.2, usd_per_month=14016.0, usd_over_horizon=14016.0, capex_usd=0.0, bound_usd_per_hour=19.2
        ),
        "servers": (servers,),
        "workloads": (WorkloadPlan(name="chat", demand_rps=4.0, replica_groups=(group,)),),
        "warnings": ("the price is of 2026-07-20",),
        "assumptions": ("730 h a month",),
        "catalog_version": "test",
        "scenario_sha256": "0" * 64,
        "inputs": {},
    }
    return Layout(**{**facts, **changes})


CHEAPER = Cost(
    usd_per_hour=14.4, usd_per_month=10512.0, usd_over_horizon=10512.0, capex_usd=0.0, bound_usd_per_hour=14.4
)


def text_of(renderable: Any) -> str:
    stream = StringIO()
    console(stream).print(renderable)
    return stream.getvalue()


def words_of(renderable: Any) -> str:
    """Without the line breaks of cells, so that a sentence can be found whole."""
    return " ".join(text_of(renderable).split())


def test_a_plan_says_what_it_takes_and_costs(scenario: Scenario) -> None:
    text = words_of(plan_report(layout(), scenario))
    assert "tiny: $19.20 per hour" in text
    assert "$14,016 per month; $14,016 over 1 month; $0.00 to pay up front." in text
    assert "h100 rented h100-sxm 8 1 $19.20 $19.20" in text


def test_a_plan_says_how_each_workload_is_served(scenario: Scenario) -> None:
    text = words_of(plan_report(layout(), scenario))
    assert "chat h100 2 1 64 – 4 of 6.25 64% ttft_p95" in text
    assert "chat Qwen/Qwen3-14B fp8 auto vllm 99.5%" in text


def test_latencies_stand_beside_their_targets_with_a_band(scenario: Scenario) -> None:
    text = text_of(plan_report(layout(), scenario))
    assert "p95 1.2 s of 3 s" in text
    assert "mean 400 ms (210–880 ms)" in text
    assert "p95 41 ms of 80 ms" in text


def test_memory_says_worst_and_typical_case(scenario: Scenario) -> None:
    # other: 2.2 + 0.3 + 0.9 = 3.4
    text = words_of(plan_report(layout(), scenario))
    assert "chat h100-sxm 15.4 3.40 54.0 72.8 – 86.2 321" in text


def test_warnings_and_assumptions_are_shown(scenario: Scenario) -> None:
    text = text_of(plan_report(layout(), scenario))
    assert "the price is of 2026-07-20" in text
    assert "730 h a month" in text


def stressed(**changes: Any) -> Layout:
    short = StressedWorkload(name="chat", served_fraction=0.9, period=1, bound_by=("ttft_p95",))
    repaired = Remedy(usd_per_hour_more=2.0, is_proven=False, servers=("5 × h100 (rent)",))
    case = Stress(name="demand × 1.5", demand_factor=1.5, speed_factor=1.0, served_fraction=0.9,
                  workloads=(short,), repaired=repaired, robust=None)  # fmt: skip
    return layout(stress=(case.model_copy(update=changes),))


def test_stress_is_said_by_workload_with_what_would_help(scenario: Scenario) -> None:
    # $2 an hour are $1,460 a month.
    words = words_of(plan_report(stressed(), scenario))
    assert "demand × 1.5 90.0% chat 90% (ttft_p95) +$1,460 at most none found" in words
    assert "5 × h100 (rent)" in words


def test_what_holds_under_stress_needs_nothing(scenario: Scenario) -> None:
    nothing = Remedy(usd_per_hour_more=0.0, is_proven=True, servers=())
    holds = stressed(served_fraction=1.0, workloads=(), repaired=nothing, robust=nothing)
    assert "demand × 1.5 100.0% – not needed not needed" in words_of(plan_report(holds, scenario))
    assert "Under stress" not in words_of(plan_report(layout(), scenario))


def test_only_a_proof_is_called_optimal() -> None:
    cost = Cost(usd_per_hour=19.2, usd_per_month=1.0, usd_over_horizon=1.0, capex_usd=0.0, bound_usd_per_hour=18.24)
    assert proof(layout()).startswith("Optimal: it is proven that no plan costs less than $19.20 per hour")
    # (19.2 − 18.24) / 19.2 = 5 %
    stopped = proof(layout(status="feasible", cost=cost, gap=0.05))
    assert stopped.startswith("Feasible, not proven optimal")
    assert "at most 5.00% of this cost could still be saved" in stopped


def test_what_is_not_served_in_full_is_the_mean_of_all_periods(catalog: Catalog) -> None:
    # Two servers of 1/s for 1/s and then 5/s: 3 of 6 are served, and all of the first period.
    growing = workload(1, [("l4", 1, 1.0)])
    del growing["requests"]
    growing["requests_per_period"] = ["1/s", "5/s"]
    keys = measured_scenario({"a": growing}, {"node": rented("l4", 1, 1.0, most=2)}, periods=2, objective="served")
    loaded = load_scenario(keys, catalog)
    text = words_of(plan_report(optimize(loaded, catalog), loaded))
    assert "no plan that serves as much costs less than $1.50 per hour" in text
    assert "Priority 1: 1.5 of 3 requests/s, not in full: a 50%." in text


def test_a_plan_that_serves_nothing_has_no_empty_tables(catalog: Catalog) -> None:
    nothing = measured_scenario({"a": workload(1, [("l4", 1, 1.0)])}, {"node": rented("l4", 1, 1.0, most=0)})
    loaded = load_scenario(nothing | {"objective": "served"}, catalog)
    text = words_of(plan_report(optimize(loaded, catalog), loaded))
    assert "Serves 0.0% of the demand" in text
    assert "Servers" not in text
    assert "measured" not in text.removeprefix("measured: ")  # the scenario's name


def test_a_plan_of_several_terms_splits_its_cost(scenario: Scenario) -> None:
    (rented,) = layout().servers
    bought = rented.model_copy(update={"term": "buy", "count": 2, "usd_per_hour": 7.5})
    text = words_of(plan_report(layout(servers=(rented, bought)), scenario))
    assert "per hour: $19.20 rented, $15.00 bought." in text


def test_a_measured_replica_shows_dashes_for_what_is_unknown(scenario: Scenario) -> None:
    (workload,) = layout().workloads
    unknown = dict.fromkeys(
        ("model", "weight_dtype", "kv_cache_dtype", "engine", "tp", "pp", "dp", "ep", "max_batch_size", "ttft_ms",
         "tpot_ms", "e2e_ms", "ttft_interval_ms", "tpot_interval_ms", "quality", "memory", "limit", "max_model_len")
    )  # fmt: skip
    group = workload.replica_groups[0].model_copy(update={**unknown, "source": "measured"})
    plan = layout(workloads=(workload.model_copy(update={"replica_groups": (group,)}),))
    text = words_of(plan_report(plan, scenario))
    assert "chat h100 2 1 – – 4 of 6.25 64% –" in text
    assert "Formats, latency and memory are unknown" in text


def test_an_infeasible_scenario_gets_its_conflict_and_its_changes(scenario: Scenario) -> None:
    conflict = (
        Conflict(family="serve_demand", index="chat", message="needs 12 GPUs", location="tiny.yaml:3:3"),
        Conflict(family="monthly_budget", index=None, message="is $1"),
    )
    found = Infeasibility(
        conflict=conflict,
        changes=("+4 servers of h100 (rent)",),
        rejections={"chat": {"memory": 12, "ttft_p95": 1200}},
    )
    text = words_of(plan_report(layout(status="infeasible", cost=None, infeasible=found), scenario))
    assert "serve_demand[chat] needs 12 GPUs (tiny.yaml:3:3)" in text
    assert "monthly_budget is $1" in text
    assert "chat: 1,200 ttft_p95, 12 memory" in text
    assert "+4 servers of h100 (rent)" in text


def test_no_plan_says_that_nothing_is_known(scenario: Scenario) -> None:
    text = words_of(plan_report(layout(status="no_plan", cost=None, gap=None), scenario))
    assert "whether there is one is not known" in text
    assert "--time-limit" in text


def test_markup_in_names_is_shown_as_it_is(scenario: Scenario) -> None:
    assert "[bold]:smile:" in text_of(plan_report(layout(scenario="[bold]:smile:"), scenario))


def test_groups_of_a_workload_have_names_of_their_own(scenario: Scenario) -> None:
    (chat,) = layout().workloads
    (group,) = chat.replica_groups
    larger = group.model_copy(update={"max_batch_size": 128})
    elsewhere = group.model_copy(update={"offer": "l40s"})
    expected = (
        ((group,), ["chat"]),
        ((group, elsewhere), ["chat on h100", "chat on l40s"]),
        ((group, larger), ["chat, batch 64", "chat, batch 128"]),
        ((group, group), ["chat (1)", "chat (2)"]),
        ((group, group, elsewhere), ["chat on h100 (1)", "chat on h100 (2)", "chat on l40s"]),
    )
    for groups, names in expected:
        plan = layout(workloads=(chat.model_copy(update={"replica_groups": groups}),))
        assert [name for name, _, _ in named_groups(plan)] == names
    assert "chat on h100 (2)" in words_of(plan_report(plan, scenario))


def test_no_line_of_a_piped_plan_is_wider_than_a_hundred_columns(scenario: Scenario) -> None:
    assert max(map(len, text_of(plan_report(layout(), scenario)).splitlines())) <= 100


def test_a_comparison_marks_what_differs() -> None:
    plans = {"a.json": layout(), "b.json": layout(cost=CHEAPER)}
    text = words_of(comparison_report(plans))
    assert "≠ per hour $19.20 $14.40" in text
    assert "≠ status" not in text
    # 19.2 − 14.4 = 4.8, a quarter of 19.2
    assert "b.json is $4.80 per hour (25.0%) cheaper than a.json" in text


def test_a_comparison_as_data_counts_from_the_first_plan() -> None:
    data = comparison_data({"a.json": layout(), "b.json": layout(cost=CHEAPER, scenario_sha256="1" * 64)})
    assert [one["usd_per_hour_difference"] for one in data["plans"]] == pytest.approx([0.0, -4.8])
    assert data["same_scenario"] is False
