"""Old and new cards together: what a pipeline over several offers makes possible, cheaper, and what refuses it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from mixed_cards import L4, T4, mixed, workload
from rich.console import Console

from catalog import Catalog
from optimizer import load_plan, load_scenario, optimize, verify
from optimizer.explain import explain_plan, stress
from optimizer.exporters import EXPORTERS
from optimizer.layout import Layout, ReplicaGroup
from optimizer.report.explanation import explanation_report
from optimizer.topology import build_topology, parse_topology, topology_yaml

SHIPPED = Path(__file__).parents[2] / "scenarios" / "mixed-cards.yaml"
DECISIONS = SHIPPED.parents[1] / "docs" / "decisions.md"
RENTED = {"gpu": "l40s", "gpus_per_server": 1, "rent": {"price": "$2/gpu/h"}}


def solved(given: dict[str, Any], catalog: Catalog, **asked: Any) -> Layout:
    scenario = load_scenario(given, catalog)
    layout = optimize(scenario, catalog, gap=0.0, **asked)
    assert verify(layout, scenario, catalog) == []
    return layout


def groups(layout: Layout) -> list[ReplicaGroup]:
    return [group for plan in layout.workloads for group in plan.replica_groups]


def usd_per_hour(layout: Layout) -> float:
    assert layout.cost is not None
    return layout.cost.usd_per_hour


def test_what_neither_card_holds_both_together_do(catalog: Catalog) -> None:
    apart = solved(mixed({"chat": workload(heterogeneous_pipelines=False)}), catalog)
    assert apart.status == "infeasible"
    together = solved(mixed(), catalog)
    assert together.status == "optimal"
    (group,) = groups(together)
    assert group.stages is not None
    assert [(stage.offer, stage.tp) for stage in group.stages] == [("old", 1), ("new", 1)]
    assert [(row.offer, row.count) for row in together.servers] == [("old", 1), ("new", 1)]
    assert "pipeline" in group.extrapolated
    assert any("at the pace of its slowest stage" in one for one in together.assumptions)


def test_cards_that_are_there_save_the_rent_of_others(catalog: Catalog) -> None:
    inventory = {"old": T4, "new": L4, "rented": RENTED}
    apart = solved(mixed({"chat": workload(heterogeneous_pipelines=False)}, inventory), catalog)
    together = solved(mixed(inventory=inventory), catalog)
    assert (usd_per_hour(apart), usd_per_hour(together)) == (2.0, 0.0)  # one L40S holds the model


def test_two_workloads_share_the_servers_of_a_pipeline(catalog: Catalog) -> None:
    # A server with two L4: one holds a stage of the pipeline, the other a small model; nothing is rented.
    small = workload(model="Qwen/Qwen3-4B", heterogeneous_pipelines=False)
    inventory = {"old": T4, "new": L4 | {"gpus_per_server": 2}, "rented": RENTED}
    layout = solved(mixed({"chat": workload(tp=[1], pp=[1, 2]), "small": small}, inventory), catalog)
    assert usd_per_hour(layout) == 0.0


def test_more_replicas_stand_on_servers_of_their_own(catalog: Catalog) -> None:
    inventory = {"old": T4 | {"own": 2}, "new": L4 | {"own": 2}}
    layout = solved(mixed({"chat": workload(requests="0.15/s", tp=[1], pp=[2])}, inventory), catalog)
    (group,) = (one for one in groups(layout) if one.stages)
    assert [place.servers for place in group.placement] == [(0, 0), (1, 1)]


def test_over_periods_each_has_its_own_pipelines(catalog: Catalog) -> None:
    inventory = {"old": T4 | {"own": 2}, "new": L4 | {"own": 2}}
    given = mixed({"chat": workload(growth="100%/period", requests="0.08/s", tp=[1], pp=[2])}, inventory)
    layout = solved(given | {"horizon": "2mo", "periods": 2}, catalog)
    assert [sum(g.replicas for plan in p.workloads for g in plan.replica_groups) for p in layout.periods] == [1, 2]


def test_served_as_much_as_the_cards_can(catalog: Catalog) -> None:
    layout = solved(mixed({"chat": workload(requests="1/s")}, objective="served"), catalog)
    (level,) = layout.served
    assert 0.0 < level.served_rps < 1.0
    assert any(group.stages for group in groups(layout))


def test_alternatives_and_stress_know_such_pipelines(catalog: Catalog) -> None:
    inventory = {"old": T4, "new": L4, "rented": RENTED}
    layout = solved(mixed(inventory=inventory), catalog, alternatives=1)
    (other,) = layout.alternatives
    assert other.cost.usd_per_hour >= usd_per_hour(layout)
    scenario = load_scenario(mixed(), catalog)
    found = stress(optimize(scenario, catalog), scenario, catalog, time_limit_s=20.0)
    assert all(0.0 < one.served_fraction <= 1.0 for one in found)


def test_an_earlier_plan_is_recognised(catalog: Catalog) -> None:
    scenario = load_scenario(mixed(), catalog)
    earlier = optimize(scenario, catalog)
    again = optimize(scenario, catalog, start=load_plan(earlier.model_dump(mode="json")))
    assert again.workloads == earlier.workloads


def test_stress_rates_such_pipelines_slower_and_what_would_help(catalog: Catalog) -> None:
    # 20 % slower, 0.8 of what a replica carries serves less than the whole demand of nearly as much.
    inventory = {"old": T4, "new": L4, "rented": RENTED}
    given = mixed({"chat": workload(requests="0.09/s", tp=[1], pp=[1, 2])}, inventory)
    scenario = load_scenario(given, catalog)
    layout = optimize(scenario, catalog)
    assert all(group.stages for group in groups(layout))
    by_name = {one.name: one for one in stress(layout, scenario, catalog, time_limit_s=20.0)}
    slower = by_name["speed −20%"]
    assert 0.5 < slower.served_fraction < 1.0
    assert slower.robust is not None
    assert slower.robust.usd_per_hour_more == pytest.approx(2.0)  # an L40S beside or instead
    assert verify(layout.model_copy(update={"stress": tuple(by_name.values())}), scenario, catalog) == []


def test_a_plan_with_such_pipelines_is_explained(catalog: Catalog) -> None:
    inventory = {"old": T4, "new": L4, "rented": RENTED}
    scenario = load_scenario(mixed({"chat": workload(tp=[1], pp=[1, 2])}, inventory), catalog)
    layout = optimize(scenario, catalog)
    found = explain_plan(layout, scenario, catalog)
    (why,) = found.reasons
    assert why.structure == "Qwen/Qwen3-14B fp16 pp2 over 1 new + 1 old"
    # Another border is no other kind: without such pipelines an L40S is rented, for $2.
    assert why.runner_up.usd_per_hour_more == pytest.approx(2.0)
    assert why.runner_up.instead == ("1 × Qwen/Qwen3-14B fp16 on rented",)
    assert {"speed of t4", "speed of l4"} <= {one.what for one in found.flips}
    written = io.StringIO()
    Console(file=written, width=400).print(explanation_report(found))
    assert f"{why.structure}  " in written.getvalue()  # which names its offers itself


def test_a_conflict_names_both_cards_that_would_serve_it(catalog: Catalog) -> None:
    # A pipeline of a T4 and an L4 carries 0.11 requests/s: two of each would serve 0.2.
    chat = workload(requests="0.2/s", tp=[1], pp=[2])
    layout = optimize(load_scenario(mixed({"chat": chat}), catalog), catalog)
    assert layout.infeasible is not None
    (serve, *_) = layout.infeasible.conflict
    assert serve.family == "serve_demand"
    assert "needs 0.2 requests/s; at least 4 GPUs of t4 and l4 (Qwen/Qwen3-14B fp16 auto vllm pp2 over" in serve.message
    assert layout.infeasible.changes


def safe_scenario(**settings: Any) -> dict[str, Any]:
    """Two servers of each card; a pipeline of one of each carries the demand."""
    four = {"old": T4 | {"own": 2, "gpus_per_server": 2}, "new": L4 | {"own": 2}}
    return mixed({"chat": workload(tp=[1], pp=[2], spare="n+1") | settings}, four)


def test_losing_a_server_loses_the_replicas_with_a_stage_on_it(catalog: Catalog) -> None:
    # One replica carries all, and another must be left: both first stages fit on one server, and would go together.
    layout = solved(safe_scenario(), catalog)
    (group,) = groups(layout)
    assert [place.servers for place in group.placement] == [(0, 0), (1, 1)]
    keys = layout.model_dump(mode="json")
    placement = keys["workloads"][0]["replica_groups"][0]["placement"]
    placement[1]["servers"] = [0, 1]
    problems = verify(Layout.model_validate(keys), load_scenario(safe_scenario(), catalog), catalog)
    assert "chat: spare is n+1, and without server 0 of old the replicas left cannot serve every class" in problems


def test_a_safe_plan_is_drawn_exported_and_explained(catalog: Catalog) -> None:
    layout = solved(safe_scenario(), catalog)
    topology = build_topology(layout, catalog)
    document = topology.document
    held = {server.id: [gpu.replica for gpu in server.gpus if gpu is not None] for server in document.servers}
    assert held == {"old/0": ["chat/0"], "old/1": ["chat/1"], "new/0": ["chat/0"], "new/1": ["chat/1"]}
    assert parse_topology(topology_yaml(document)) == document
    scripts = {f"vllm-{offer}-{number}.sh" for offer in ("old", "new") for number in (0, 1)}
    assert scripts <= set(EXPORTERS["vllm"].render(topology).files)
    found = explain_plan(layout, load_scenario(safe_scenario(), catalog), catalog)
    assert found.reasons


def test_too_few_servers_to_lose_one_are_said_to_be(catalog: Catalog) -> None:
    one_new = mixed({"chat": workload(tp=[1], pp=[2], spare="n+1")}, {"old": T4 | {"own": 2}, "new": L4})
    layout = solved(one_new, catalog)
    assert layout.infeasible is not None
    assert "spare_server" in {one.family for one in layout.infeasible.conflict}


def test_a_pipeline_is_lost_with_all_of_an_offer_that_it_stands_on(catalog: Catalog) -> None:
    # Offers that name no racks are one each: whichever of old and new fails, the pipeline is lost.
    inventory = {"old": T4, "new": L4, "rented": RENTED}
    alone = solved(mixed({"chat": workload(pp=[1, 2])}, inventory), catalog)
    safe = solved(mixed({"chat": workload(pp=[1, 2], spare="rack")}, inventory), catalog)
    assert (usd_per_hour(alone), usd_per_hour(safe)) == (0.0, 2.0)


def test_another_workload_may_be_safe_beside_a_pipeline(catalog: Catalog) -> None:
    # Of two servers with two L4 each one GPU holds a stage of the pipeline, and a small replica stands on both servers.
    small = workload(model="Qwen/Qwen3-4B", heterogeneous_pipelines=False, spare="n+1")
    inventory = {"old": T4, "new": L4 | {"own": 2, "gpus_per_server": 2}}
    layout = solved(mixed({"chat": workload(tp=[1], pp=[2]), "small": small}, inventory), catalog)
    assert [place.servers for g in groups(layout) if not g.stages for place in g.placement] == [(0,), (1,)]
    assert any(g.stages for g in groups(layout))


def test_the_key_left_out_or_false_leaves_plans_as_they_were(catalog: Catalog) -> None:
    inventory = {"old": T4, "rented": RENTED}
    without = {key: value for key, value in workload().items() if key != "heterogeneous_pipelines"}
    layout = solved(mixed({"chat": without}, inventory), catalog)
    written = layout.model_dump(mode="json")
    assert "heterogeneous_pipelines" not in written["inputs"]["workloads"]["chat"]
    assert "stages" not in written["workloads"][0]["replica_groups"][0]


def test_the_shipped_scenario_needs_both_servers_and_no_rent(catalog: Catalog) -> None:
    # docs/decisions.md: the power of both servers, (2.16 + 1.35) kW × 1.3 × $0.20, instead of two H100 at $2.60.
    scenario = load_scenario(SHIPPED, catalog)
    layout = optimize(scenario, catalog)
    assert verify(layout, scenario, catalog) == []
    assert usd_per_hour(layout) == pytest.approx((2.16 + 1.35) * 1.3 * 0.20)
    (group,) = groups(layout)
    assert {stage.gpu for stage in group.stages or ()} == {"v100-16gb-sxm2", "rtx-4090"}
    assert group.quality is not None
    assert group.quality >= 0.995
    told = DECISIONS.read_text(encoding="utf-8")
    assert all(f"| {stage.layers[0]}–{stage.layers[1]} | int" in told for stage in group.stages or ())
    assert group.tpot_ms is not None
    assert f"A token takes {group.tpot_ms['mean']:.0f} ms" in told


def test_twice_the_shipped_servers_keep_the_shipped_workload_safe(catalog: Catalog) -> None:
    # docs/decisions.md: twice the power of a server of each kind, 2 × (2.16 + 1.35) kW × 1.3 × $0.20 = $1.83.
    given = load_scenario(SHIPPED, catalog).canonical()
    given["workloads"]["reports"]["spare"] = "n+1"
    given["inventory"]["old"]["own"] = given["inventory"]["new"]["own"] = 2
    layout = solved(given, catalog)
    assert usd_per_hour(layout) == pytest.approx(2 * (2.16 + 1.35) * 1.3 * 0.20)
    first, second = (
        {(stage.offer, server) for stage, server in zip(group.stages or (), place.servers, strict=True)}
        for group in groups(layout)
        for place in group.placement
    )
    assert first.isdisjoint(second)
    assert {offer for offer, _ in first} == {offer for offer, _ in second} == {"old", "new"}
    assert "$1.83 an hour" in DECISIONS.read_text(encoding="utf-8")
