"""Plans made with steps from measured kernels say so, carry it along, and are derived again in the same way."""

from __future__ import annotations

from typing import Any

import pytest

from catalog import Catalog
from catalog.errors import InputError
from optimizer import load_plan, load_scenario, optimize, verify
from optimizer.candidates import build_candidates
from optimizer.layout import Layout
from optimizer.scenario import Scenario, scenario_catalog
from optimizer.simulation import Traffic, simulate_plan

CHAT = {
    "model": "Qwen/Qwen3-8B", "requests": "4/s", "input_tokens": 800, "output_tokens": 200, "tp": [1, 2], "pp": [1],
    "weight_dtypes": ["bf16", "fp8"], "slo": {"ttft_p95": "2s", "tpot_p95": "40ms"},
}  # fmt: skip
INVENTORY = {
    name: {"gpu": gpu, "gpus_per_server": 2, "rent": {"price": price}}
    for name, gpu, price in (("h100", "h100-sxm", "$3/gpu/h"), ("gaming", "rtx-4090", "$0.1/gpu/h"))
}


def scenario_of(catalog: Catalog, **changes: Any) -> Scenario:
    keys = {"name": "kernels", "performance": "silicon", "workloads": {"chat": CHAT}, "inventory": INVENTORY}
    return load_scenario({**keys, **changes}, catalog)


def solved(catalog: Catalog, **changes: Any) -> tuple[Scenario, Layout]:
    scenario = scenario_of(catalog, **changes)
    return scenario, optimize(scenario, catalog)


@pytest.mark.usefixtures("silicon_tables")
def test_a_plan_is_made_of_what_the_tables_know(catalog: Catalog) -> None:
    # The cheaper card is not in them
    scenario, layout = solved(catalog)
    (group,) = layout.workloads[0].replica_groups
    assert group.gpu == "h100-sxm"
    assert group.source == "shipped-2026-11 with steps of aiconfigurator-core 0.12.9"
    assert any(group.source in line for line in layout.assumptions)
    assert any("configurations are not in the silicon tables and were left out" in line for line in layout.warnings)
    assert verify(layout, scenario, catalog) == []
    assert (
        optimize(scenario_of(catalog, performance="calibrated"), catalog).workloads[0].replica_groups[0].gpu
        == "rtx-4090"
    )


@pytest.mark.usefixtures("silicon_tables")
def test_what_the_tables_lack_is_counted(catalog: Catalog) -> None:
    scenario = scenario_of(catalog)
    (found,) = build_candidates(scenario, scenario_catalog(scenario, catalog))
    # On the 4090 fewer formats run than were asked for; of what runs none is known
    known = build_candidates(scenario_of(catalog, performance="calibrated"), catalog)[0]
    assert found.rejected["silicon tables"] > 0
    assert "silicon tables" not in known.rejected
    assert {spec.gpu for spec in found.specs} == {"h100-sxm"}


@pytest.mark.usefixtures("silicon_tables")
def test_where_the_tables_know_nothing_the_answer_says_why(catalog: Catalog) -> None:
    layout = optimize(scenario_of(catalog, inventory={"gaming": INVENTORY["gaming"]}), catalog)
    assert layout.status == "infeasible"
    assert layout.infeasible is not None
    assert layout.infeasible.rejections["chat"]["silicon tables"] > 0
    assert "because the tables of measured kernels lack them" in layout.infeasible.conflict[0].message


@pytest.mark.usefixtures("silicon_tables")
def test_the_plan_alone_is_enough_to_derive_it_again(catalog: Catalog) -> None:
    _, layout = solved(catalog)
    plan = load_plan(layout.model_dump(mode="json"))
    assert verify(plan, load_scenario(plan.inputs, catalog), catalog) == []


@pytest.mark.usefixtures("silicon_tables")
def test_a_plan_of_the_other_model_is_found_out(catalog: Catalog) -> None:
    scenario, layout = solved(catalog)
    plain = scenario_of(catalog, performance="calibrated")
    problems = verify(
        layout.model_copy(update={"inputs": plain.canonical(), "scenario_sha256": plain.sha256}), plain, catalog
    )
    assert any("the rates are those of shipped-2026-11" in problem for problem in problems)
    keys = layout.model_dump(mode="json")
    group = keys["workloads"][0]["replica_groups"][0]
    group["weight_dtype"] = "int8"
    assert any("the silicon tables do not hold it" in problem for problem in verify(load_plan(keys), scenario, catalog))


def test_without_the_extra_a_plan_is_refused(
    catalog: Catalog, silicon_tables: list[Any], request: pytest.FixtureRequest
) -> None:
    scenario, layout = solved(catalog)
    assert silicon_tables
    request.getfixturevalue("no_silicon")
    with pytest.raises(InputError, match=r"pip install 'gpuplan\[silicon\]'"):
        verify(layout, scenario, catalog)
    with pytest.raises(InputError, match=r"pip install 'gpuplan\[silicon\]'"):
        optimize(scenario, catalog)


@pytest.mark.usefixtures("silicon_tables")
def test_the_plan_is_simulated_with_the_same_steps(catalog: Catalog) -> None:
    # Almost idle: a step of 10 ms and 0.01 × 0.9 for the context, over as many ranks as the plan takes
    scenario, layout = solved(catalog)
    tp = layout.workloads[0].replica_groups[0].tp
    assert tp is not None
    quiet = Traffic(rate_rps={"chat": 0.01}, duration_s=20_000.0)
    outcome = simulate_plan(layout, scenario, scenario_catalog(scenario, catalog), quiet).workloads[0]
    assert outcome.classes[0].statistics["tpot"]["mean"] == pytest.approx(10.009 / tp, rel=0.01)


@pytest.mark.usefixtures("silicon_tables")
def test_confidence_plans_on_the_tables_own_errors(catalog: Catalog) -> None:
    _, plain = solved(catalog)
    scenario, sure = solved(catalog, confidence="80%")
    rates = [layout.workloads[0].replica_groups[0].rate_rps["all"] for layout in (plain, sure)]
    assert rates[1] < rates[0]
    assert verify(sure, scenario, catalog) == []


@pytest.mark.usefixtures("silicon_tables")
def test_workloads_alike_get_rates_that_each_gets_alone(catalog: Catalog) -> None:
    # Three alike are rated from shared tables, where formats that another beats at every point of them go first
    more = {name: {**CHAT, "requests": rate} for name, rate in (("a", "2/s"), ("b", "9/s"), ("c", "30/s"))}
    together = scenario_of(catalog, workloads=more)
    shared = build_candidates(together, scenario_catalog(together, catalog))
    for name, many in zip(more, shared, strict=True):
        lone = scenario_of(catalog, workloads={name: more[name]})
        (alone,) = build_candidates(lone, scenario_catalog(lone, catalog))
        assert many.gpus_per_replica.tolist() == alone.gpus_per_replica.tolist()
        assert many.rate_rps == pytest.approx(alone.rate_rps)


@pytest.mark.usefixtures("silicon_tables")
def test_a_limit_that_the_first_tables_exceed_says_that_they_are_kept(catalog: Catalog) -> None:
    layout = optimize(scenario_of(catalog), catalog, time_limit_s=1e-6)
    assert layout.status == "no_plan"
    assert layout.warnings == (
        "the time limit ran out before the program was ready; the silicon tables made so far are kept: solve again",
    )
