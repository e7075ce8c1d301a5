"""What the keys of a scenario mean."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from base_scenario import BASE, scenario_with

from catalog import Catalog
from optimizer.errors import InputError
from optimizer.scenario import RequestClass, Target, Workload, load_scenario, parse_scenario


@pytest.fixture
def chat(catalog: Catalog) -> Any:
    """Reads a workload that differs from the base in some keys."""
    return lambda **changes: load_scenario(scenario_with(workload=changes), catalog).workloads["chat"]


VALUES = [None, True, [], {}, 3.5, float("nan"), object(), b"x", {"a": object()}]
PLACES = ["horizon", "periods", "workloads", "inventory", "facility", "models", "catalog", "max_utilization"]


def messages_of(scenario: dict[str, Any], catalog: Catalog) -> list[str]:
    with pytest.raises(InputError) as refused:
        load_scenario(scenario, catalog)
    return [f"{fault.key}: {fault.message}" for fault in refused.value.faults]


def test_what_is_not_said_has_its_default(catalog: Catalog) -> None:
    scenario = load_scenario(BASE, catalog)
    chat = scenario.workloads["chat"]
    assert (scenario.horizon_months, scenario.periods, scenario.max_utilization_fraction) == (1.0, 1, 0.8)
    assert (scenario.confidence_fraction, scenario.discount_rate_per_year, scenario.objective) == (None, None, "cost")
    assert (chat.peak_factor, chat.prefix_hit_fraction, chat.min_quality_fraction) == (1.0, 0.0, 0.97)
    assert (chat.engines, chat.weight_dtypes, chat.kv_cache_dtypes, chat.tp) == (("vllm",), None, None, None)
    assert (chat.max_gpus_per_replica, chat.single_format, chat.spare, chat.priority) == (16, True, "none", 1)
    assert scenario.facility.pue == 1.0
    assert scenario.facility.power_price_usd_per_kwh == scenario.facility.opex_usd_per_server_month == 0.0
    assert (scenario.facility.power_cap_kw, scenario.budget.capex_usd, scenario.budget.monthly_usd) == (
        None,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("requests", "mean_rps"),
    [
        ("6/s", 6.0),
        ("90/min", 1.5),
        ({"users": 80, "think_time": "20s"}, 4.0),  # 80 / 20
        ({"tokens_per_day": "103.68M"}, 1.0),  # 86,400 s × 1,200 tokens a request
        ({"tokens_per_day": "103.68M", "window": "8h"}, 3.0),  # the same in a third of the day
    ],
)
def test_requests_may_be_said_in_three_ways(chat: Any, requests: object, mean_rps: float) -> None:
    assert chat(requests=requests).mean_rps == pytest.approx(mean_rps, rel=1e-12)


def test_tokens_per_day_count_the_tokens_of_each_class(chat: Any) -> None:
    classes = {
        "short": {"share": "60%", "input_tokens": 300, "output_tokens": 100},
        "long": {"share": "40%", "input_tokens": 3000, "output_tokens": 500},
    }
    # A request has 0.6 × 400 + 0.4 × 3500 = 1640 tokens; 86,400 s × 1640 = 141.696M
    workload = chat(classes=classes, input_tokens=None, output_tokens=None, requests={"tokens_per_day": "141.696M"})
    assert workload.mean_rps == pytest.approx(1.0, rel=1e-12)


def test_demand_is_mean_times_peak(chat: Any) -> None:
    assert chat(requests="6/s", peak="2.5x").demand_rps == 15.0


def test_a_workload_without_classes_has_one(chat: Any) -> None:
    assert chat().request_classes == (RequestClass("all", 1.0, 1000.0, 200.0),)


def test_a_log_normal_size_has_the_mean_and_percentiles_of_that_distribution(chat: Any) -> None:
    # σ = ln(6000 / 900) / 1.644854 = 1.153370; mean = 900 · exp(σ² / 2) = 1750.27; p99 = 900 · exp(2.326348 σ) = 13,168
    workload = chat(input_tokens={"p50": 900, "p95": "6k"}, max_context="32k")
    size = workload.input_tokens
    assert size.sigma == pytest.approx(math.log(6000 / 900) / 1.644854, rel=1e-6)
    assert size.mean_tokens == pytest.approx(1750.27, abs=0.01)
    assert size.p99_tokens == pytest.approx(13_168, abs=1)
    assert workload.request_classes[0].input_tokens == size.mean_tokens


def test_a_fixed_size_has_no_spread(chat: Any) -> None:
    size = chat(input_tokens="1.8k").input_tokens
    assert (size.mean_tokens, size.p99_tokens) == (1800.0, 1800.0)


def test_the_longest_request_is_that_of_the_largest_class(chat: Any) -> None:
    assert chat().max_context_tokens == 1200
    assert chat(max_context="16Ki").max_context_tokens == 16_384
    classes = {
        "short": {"share": "60%", "input_tokens": 300, "output_tokens": 100},
        "long": {"share": "40%", "input_tokens": 3000, "output_tokens": {"p50": 100, "p95": 200}},
    }
    # p99 of the output: 100 · exp(2.326348 · ln 2 / 1.644854) = 266.5 → 267
    assert chat(classes=classes, input_tokens=None, output_tokens=None).max_context_tokens == 3267


def test_targets_are_in_a_fixed_order_whatever_the_file(chat: Any) -> None:
    workload = chat(slo={"e2e_mean": "1min", "tpot_p99": "80ms", "ttft_p50": "1s"})
    assert workload.targets == (
        Target("ttft", "p50", 1000.0),
        Target("tpot", "p99", 80.0),
        Target("e2e", "mean", 60_000.0),
    )
    assert workload.targets[0].name == "ttft_p50"
    assert chat(slo="throughput").targets == ()


def test_a_measured_workload_needs_no_targets(chat: Any) -> None:
    workload = chat(slo=None, measured=[{"gpu": "a10g", "gpus": 2, "requests_per_s": {"all": 5}}])
    assert workload.targets == ()
    assert workload.measured[0].requests_per_s == {"all": 5.0}


def test_one_value_stands_for_a_list_of_one(chat: Any) -> None:
    workload = chat(tp=4, weight_dtypes="fp8", engines="sglang", model=["Qwen/Qwen3-8B", "Qwen/Qwen3-4B"])
    assert (workload.tp, workload.weight_dtypes, workload.engines) == ((4,), ("fp8",), ("sglang",))
    assert workload.models == ("Qwen/Qwen3-8B", "Qwen/Qwen3-4B")


def test_a_list_of_models_may_hold_one_that_is_too_short(chat: Any) -> None:
    # Llama 2 ends at 4,096 tokens: it is no candidate then, and the other one is
    assert (
        chat(model=["meta-llama/Llama-2-7b-chat-hf", "Qwen/Qwen3-8B"], max_context="16k").max_context_tokens == 16_000
    )


def test_prices_per_gpu_are_those_of_the_server(catalog: Catalog) -> None:
    offer = {
        "gpus_per_server": 3,
        "rent": {"price": "$2.40/gpu/h"},
        "buy": {"price": "$30k/gpu", "life": "4yr", "residual": "25%", "lead_time": "3mo", "max": 0},
        "reserve": [{"term": "12mo", "price": "$1.95/gpu/h"}],
        "spot": {"price": "$3/server/h", "interruption": "5%/h"},
        "power": "700W/gpu",
    }
    node = load_scenario(scenario_with(offer=offer, horizon="36mo"), catalog).inventory["node"]
    assert node.rent is not None
    assert node.rent.usd_per_server_hour == 7.2
    assert node.buy is not None
    assert (node.buy.usd_per_server, node.buy.life_months, node.buy.max) == (90_000.0, 48.0, 0)
    assert (node.buy.residual_fraction, node.buy.lead_time_months) == (0.25, 3.0)
    assert (node.reserve[0].usd_per_server_hour, node.reserve[0].term_months) == (5.85, 12.0)
    assert node.spot is not None
    assert (node.spot.usd_per_server_hour, node.spot.interruptions_per_hour) == (3.0, 0.05)
    assert node.power_kw_per_server == pytest.approx(2.1)


def test_a_life_shorter_than_the_horizon_needs_periods(catalog: Catalog) -> None:
    buy = {"price": "$265k/server", "life": "12mo"}
    assert load_scenario(scenario_with(offer={"buy": buy}, horizon="36mo", periods=3), catalog)
    assert "needs periods" in messages_of(scenario_with(offer={"buy": buy}, horizon="36mo"), catalog)[0]


def test_faults_of_independent_parts_are_reported_together(catalog: Catalog) -> None:
    scenario = scenario_with(
        workload={"requests": 2, "model": "Qwen3-32B", "tpp": [1]},
        offer={"gpu": "h100", "rent": None, "reserve": [{"term": "2yr", "price": "$1/gpu/h"}]},
        horizon="12mo",
        budget={"capex": "€1M"},
    )
    assert messages_of(scenario, catalog) == [
        "workloads.chat.tpp: unknown key 'tpp'; did you mean 'tp' or 'pp'?",
        "workloads.chat.model.0: unknown model 'Qwen3-32B'; did you mean 'Qwen/Qwen3-32B' or 'Qwen/Qwen3-32B-FP8'?",
        "workloads.chat.requests: a rate needs its unit, such as 6/s, 90/min or 2k/h; 2 has none",
        "inventory.node.gpu: unknown GPU 'h100'; did you mean 'h100-nvl', 'h100-sxm' or 'h100-pcie'?",
        "inventory.node.reserve.0.term: the term must not be longer than the horizon, 12mo; this is 24mo",
        "budget.capex: '€1M' is not in US dollars; all money is in one currency, written $40k or $1.2M",
    ]


def test_a_misspelt_key_is_not_also_reported_as_missing(catalog: Catalog) -> None:
    scenario = scenario_with(workload={"model": None, "modell": "Qwen/Qwen3-8B"})
    assert messages_of(scenario, catalog) == ["workloads.chat.modell: unknown key 'modell'; did you mean 'model'?"]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("key", PLACES)
def test_a_wrong_value_of_any_type_is_refused_in_words(key: str, value: object, catalog: Catalog) -> None:
    if key == "facility" and value == {}:
        assert load_scenario(scenario_with(facility={}), catalog) == load_scenario(BASE, catalog)
    else:
        assert all(messages_of(scenario_with(**{key: value}), catalog))


@pytest.mark.parametrize("key", ["models", "catalog", "workloads", "inventory"])
def test_a_mapping_that_contains_itself_is_refused(key: str, catalog: Catalog) -> None:
    endless: dict[str, Any] = {}
    endless["hf_config"] = endless["kind"] = endless
    assert messages_of(scenario_with(**{key: [endless] if key == "catalog" else {"x": endless}}), catalog)


def test_a_key_that_is_no_text_is_refused(catalog: Catalog) -> None:
    for key in (1, None, 10**5000, ("a", "b")):
        assert messages_of(scenario_with(workload={key: 1, "slo": {key: "1s"}}), catalog)  # type: ignore[dict-item]
        assert messages_of(scenario_with(workloads={key: BASE["workloads"]["chat"]}), catalog)


def test_a_scenario_knows_where_its_values_stand(catalog: Catalog) -> None:
    text = (
        "name: x\n"
        "defaults: {slo: {ttft_p95: 3s}}\n"
        "workloads: {chat: {model: Qwen/Qwen3-8B, requests: 2/s, input_tokens: 10, output_tokens: 10}}\n"
        "inventory: {node: {gpu: h100-sxm, gpus_per_server: 8, own: 1}}\n"
    )
    scenario = parse_scenario(text, "x.yaml", catalog)
    assert str(scenario.location("workloads", "chat", "requests")) == "x.yaml:3:52"
    assert str(scenario.location("workloads", "chat", "slo", "ttft_p95")) == "x.yaml:2:28"  # from the defaults
    assert str(scenario.location("workloads", "chat", "peak")) == "x.yaml:3:13"  # not there: the workload
    assert load_scenario(BASE, catalog).location("workloads") is None


def test_a_scenario_file_may_lie_anywhere_and_its_paths_start_there(tmp_path: Path, catalog: Catalog) -> None:
    (tmp_path / "trace.csv").write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n0,10,20\n10,30,40\n")
    file = tmp_path / "x.yaml"
    file.write_text(
        "name: x\n"
        "workloads: {chat: {model: Qwen/Qwen3-8B, trace: trace.csv, slo: throughput}}\n"
        "inventory: {node: {gpu: h100-sxm, gpus_per_server: 8, own: 1}}\n"
    )
    chat: Workload = load_scenario(file, catalog).workloads["chat"]
    assert chat.mean_rps == pytest.approx(0.1)
    (kind,) = chat.request_classes
    assert (kind.name, kind.share_fraction, kind.input_tokens, kind.output_tokens) == ("all", 1.0, 20.0, 30.0)
    # inputs 10 and 30: median 20, 95th percentile 29, so that sigma is ln(29 / 20) / 1.645 = 0.226
    assert kind.input_sigma == pytest.approx(0.226, abs=0.001)


@pytest.mark.parametrize("source", ["no-such-file.yaml", ".", "\0"])
def test_what_cannot_be_opened_is_an_input_error(source: str, catalog: Catalog) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_scenario(source, catalog)


def test_without_a_catalog_the_shipped_one_is_used() -> None:
    assert load_scenario(BASE).workloads.keys() == {"chat"}
