"""The normalised scenario: complete in itself, and the same whichever way it was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from base_scenario import BASE, scenario_with
from hypothesis import given
from hypothesis import strategies as st

from catalog import Catalog, load_catalog
from optimizer.errors import InputError
from optimizer.scenario import load_scenario, parse_scenario, scenario_catalog

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000,
    "max_position_embeddings": 32768, "rms_norm_eps": 1e-05, "rope_scaling": None, "tie_word_embeddings": False,
}  # fmt: skip

FRACTIONS = st.floats(0.01, 1)
AMOUNTS = st.floats(1e-3, 1e9)
NAMES = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12)


@st.composite
def scenarios(draw: st.DrawFn) -> dict[str, Any]:
    """Valid scenarios, written with numbers of every length."""
    spread = st.builds(lambda p50, more: {"p50": p50, "p95": p50 + more}, st.integers(1, 500), st.integers(0, 500))
    sizes = st.integers(1, 5000) | spread
    rate = AMOUNTS.map(lambda number: f"{number!r}/min")
    requests = (
        rate
        | st.builds(lambda u, t: {"users": u, "think_time": f"{t!r}s"}, st.integers(1, 10**6), st.floats(1, 1e4))
        | st.builds(lambda n: {"tokens_per_day": f"{n!r}M", "window": "8h"}, st.floats(1, 1e4))
    )
    workload = st.fixed_dictionaries(
        {"model": st.sampled_from(["Qwen/Qwen3-8B", ["Qwen/Qwen3-4B", "Qwen/Qwen3-8B"]]), "requests": requests,
         "input_tokens": sizes, "output_tokens": sizes, "slo": st.sampled_from(["throughput", {"ttft_p95": "0.3s"}])},
        optional={"peak": st.floats(1, 9).map(lambda x: f"{x!r}x"), "prefix_hit": FRACTIONS.map(lambda x: f"{x!r}x"),
                  "min_quality": FRACTIONS.map(lambda x: f"{100 * x!r}%").filter(lambda text: float(text[:-1]) <= 100),
                  "tp": st.just([1, 2]), "spare": st.just("n+1"), "single_format": st.booleans()},
    )  # fmt: skip
    terms = st.fixed_dictionaries(
        {"gpu": st.just("h100-sxm"), "gpus_per_server": st.integers(1, 16), "own": st.integers(0, 9)},
        optional={"rent": AMOUNTS.map(lambda x: {"price": f"${x!r}/gpu/h"}),
                  "buy": AMOUNTS.map(lambda x: {"price": f"${x!r}/gpu", "life": "5yr", "max": 0}),
                  "power": AMOUNTS.map(lambda x: f"{x!r}W/gpu")},
    )  # fmt: skip
    return {
        "name": draw(NAMES),
        "workloads": draw(st.dictionaries(NAMES, workload, min_size=1, max_size=3)),
        "inventory": draw(st.dictionaries(NAMES, terms, min_size=1, max_size=3)),
        "facility": {"power_price": f"${draw(AMOUNTS)!r}/kWh", "pue": draw(st.floats(1, 3))},
    }


@given(scenario=scenarios())
def test_the_normalised_form_reads_back_to_an_equal_scenario(scenario: dict[str, Any], catalog: Catalog) -> None:
    read = load_scenario(scenario, catalog)
    again = load_scenario(read.canonical(), catalog)
    assert again == read
    assert again.canonical() == read.canonical()
    assert again.sha256 == read.sha256


@given(scenario=scenarios())
def test_yaml_json_and_a_mapping_are_the_same_scenario(scenario: dict[str, Any], catalog: Catalog) -> None:
    read = load_scenario(scenario, catalog)
    assert parse_scenario(json.dumps(scenario, indent=1), "x.json", catalog) == read
    assert parse_scenario(yaml.safe_dump(scenario, allow_unicode=True), "x.yaml", catalog) == read
    assert parse_scenario(yaml.safe_dump(read.canonical(), sort_keys=False).encode(), "x.yaml", catalog) == read


def test_spelling_and_order_make_no_difference(catalog: Catalog) -> None:
    two = {"a": BASE["workloads"]["chat"], "b": BASE["workloads"]["chat"] | {"peak": "1x"}}
    first = load_scenario(scenario_with(workloads=two, horizon="1yr"), catalog)
    other = load_scenario(scenario_with(workloads=dict(reversed(two.items())), horizon="12mo"), catalog)
    assert first == other
    assert first.sha256 == other.sha256
    assert list(first.workloads) == ["a", "b"]
    assert list(other.workloads) == ["b", "a"]  # plans follow the order of the file


def test_the_hash_follows_every_change(catalog: Catalog) -> None:
    changes: list[dict[str, Any]] = [
        {"horizon": "2mo"}, {"workload": {"requests": "2.0000001/s"}}, {"workload": {"slo": {"ttft_p95": "3001ms"}}},
        {"offer": {"rent": {"price": "$2.40/gpu/h", "max": 5}}}, {"budget": {"monthly": "$1"}}, {"name": "other"},
    ]  # fmt: skip
    hashes = {load_scenario(scenario_with(**change), catalog).sha256 for change in [{}, *changes]}
    assert len(hashes) == 1 + len(changes)


def test_what_reads_a_normalised_form_cannot_change_it(catalog: Catalog) -> None:
    scenario = load_scenario(BASE, catalog)
    scenario.canonical()["workloads"].clear()
    assert scenario.canonical()["workloads"]


def test_defaults_are_merged_key_by_key_and_the_workload_wins(catalog: Catalog) -> None:
    defaults = {"slo": {"ttft_p95": "1s", "tpot_p95": "50ms"}, "engines": ["sglang"], "peak": "2x"}
    merged = load_scenario(scenario_with(defaults=defaults, workload={"slo": {"ttft_p95": "9s"}}), catalog).workloads[
        "chat"
    ]
    assert [target.name for target in merged.targets] == ["ttft_p95"]
    assert (merged.engines, merged.peak_factor) == (("sglang",), 2.0)


def test_defaults_that_a_workload_says_otherwise_do_not_clash(catalog: Catalog) -> None:
    classes = {"short": {"share": "100%", "input_tokens": 300, "output_tokens": 100}}
    defaults = {"input_tokens": 1000, "output_tokens": 200, "requests": "1/s", "growth": "10%/period"}
    workload = {"classes": classes, "input_tokens": None, "output_tokens": None}
    assert (
        load_scenario(scenario_with(defaults=defaults, workload=workload), catalog).workloads["chat"].input_tokens
        is None
    )
    in_periods = {"requests": None, "requests_per_period": ["1/s", "2/s"]}
    chat = load_scenario(scenario_with(defaults=defaults, workload=in_periods, periods=2), catalog).workloads["chat"]
    assert (chat.requests, chat.growth_fraction_per_period) == (None, None)


def test_a_fault_among_the_defaults_is_reported_once(catalog: Catalog) -> None:
    text = yaml.safe_dump(
        scenario_with(defaults={"peak": 2}, workloads={str(i): BASE["workloads"]["chat"] for i in range(9)})
    )
    with pytest.raises(InputError) as refused:
        parse_scenario(text, "x.yaml", catalog)
    assert len(refused.value.faults) == 1


def test_an_instance_brings_card_count_network_and_a_dated_price(catalog: Catalog) -> None:
    offers = {
        "p5": {"instance": "aws/us-east-1/p5.48xlarge"},
        "few": {"instance": "aws/us-east-1/p5.48xlarge", "rent": {"max": 2}},
    }
    inventory = load_scenario(scenario_with(inventory=offers), catalog).inventory
    # aws/us-east-1/p5.48xlarge in the price snapshot: 8 × H100, $55.04/h on 2026-07-20, 3,200 Gbit/s
    p5 = inventory["p5"]
    assert (p5.gpu, p5.gpus_per_server, p5.network_gbit_per_s, p5.link_domain_gpus) == ("h100-sxm", 8, 3200.0, 8)
    assert p5.rent is not None
    assert (p5.rent.usd_per_server_hour, p5.rent.max) == (55.04, None)
    assert p5.price_source is not None
    assert p5.price_source.startswith("aws/us-east-1/p5.48xlarge, price of 2026-07-20: ")
    assert (p5.spot, p5.reserve, p5.instance) == (None, (), None)
    assert inventory["few"].rent is not None
    assert (inventory["few"].rent.usd_per_server_hour, inventory["few"].rent.max) == (55.04, 2)


def test_spot_prices_come_only_when_asked_for(catalog: Catalog) -> None:
    offers = {
        "asked": {"instance": "aws/us-east-1/p5.48xlarge", "spot": True},
        "declined": {"instance": "aws/us-east-1/p5.48xlarge", "spot": False},
    }
    inventory = load_scenario(scenario_with(inventory=offers), catalog).inventory
    assert inventory["asked"].spot is not None
    assert inventory["asked"].spot.usd_per_server_hour == 16.9508  # one moment's minimum in the snapshot
    assert inventory["declined"].spot is None


def test_reserved_prices_come_where_listed_and_the_term_fits(catalog: Catalog) -> None:
    offer = {"list": {"instance": "coreweave/us/per-GPU-list-(H100-PCIe-class)"}}  # $1.79/h reserved for a year
    assert load_scenario(scenario_with(inventory=offer, horizon="6mo"), catalog).inventory["list"].reserve == ()
    (reserve,) = load_scenario(scenario_with(inventory=offer, horizon="18mo"), catalog).inventory["list"].reserve
    assert (reserve.term_months, reserve.usd_per_server_hour) == (12.0, 1.79)


def test_a_model_of_ones_own_is_inlined_and_joins_the_catalog(tmp_path: Path, catalog: Catalog) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    text = yaml.safe_dump(scenario_with(models={"mine": {"hf_config": "config.json"}}, workload={"model": "mine"}))
    scenario = parse_scenario(text, str(tmp_path / "x.yaml"), catalog)
    assert scenario.canonical()["models"] == {"mine": {"hf_config": CONFIG}}
    assert load_scenario(scenario.canonical(), catalog) == scenario
    overlaid = scenario_catalog(scenario, catalog)
    assert overlaid.models["mine"].max_context_tokens == 32768
    assert len(overlaid.models) == len(catalog.models) + 1


def test_a_configuration_may_stand_in_the_scenario_itself(catalog: Catalog) -> None:
    scenario = scenario_with(models={"mine": {"hf_config": CONFIG}}, workload={"model": "mine"})
    in_yaml = parse_scenario(yaml.safe_dump(scenario), "x.yaml", catalog)
    assert in_yaml == load_scenario(scenario, catalog)
    assert in_yaml.models["mine"].hf_config == CONFIG


@pytest.fixture
def own_catalog(tmp_path: Path, catalog: Catalog) -> Catalog:
    """The shipped catalog with a card and a weight format of the user's own."""
    for folder, entry in (("gpus", catalog.gpus["h100-sxm"]), ("formats", catalog.formats["fp8"])):
        (tmp_path / folder).mkdir()
        own = entry.model_copy(update={"id": f"my-{entry.id}"})
        (tmp_path / folder / f"{own.id}.json").write_text(own.model_dump_json(exclude_none=True))
    return load_catalog(tmp_path)


def test_entries_of_ones_own_travel_with_the_scenario(own_catalog: Catalog, catalog: Catalog) -> None:
    scenario = load_scenario(scenario_with(offer={"gpu": "my-h100-sxm"}), own_catalog)
    assert [entry["id"] for entry in scenario.own_entries] == ["my-h100-sxm", "my-fp8"]
    alone = load_scenario(scenario.canonical(), catalog)  # the shipped catalog, without the user's files
    assert alone == scenario
    assert alone.sha256 == scenario.sha256
    assert load_scenario(scenario.canonical(), own_catalog).sha256 == scenario.sha256
    own, shipped = scenario_catalog(alone, catalog).gpus["my-h100-sxm"], catalog.gpus["h100-sxm"]
    assert own == shipped.model_copy(update={"id": "my-h100-sxm"})


def test_a_card_of_ones_own_that_is_not_offered_stays_behind(own_catalog: Catalog) -> None:
    assert [entry["id"] for entry in load_scenario(BASE, own_catalog).own_entries] == ["my-fp8"]


def test_a_wrong_entry_of_ones_own_is_refused_at_its_place(catalog: Catalog) -> None:
    entries = [{"kind": "gpuu", "id": "x"}, {"kind": "gpu", "id": "x"}]
    with pytest.raises(InputError) as refused:
        load_scenario(scenario_with(catalog=entries), catalog)
    assert refused.value.faults[0].key == "catalog.0"
    assert "did you mean 'gpu'?" in refused.value.faults[0].message
    assert {fault.key for fault in refused.value.faults[1:]} == {"catalog.1"}
