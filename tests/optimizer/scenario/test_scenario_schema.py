"""The JSON Schema of a scenario file agrees with what is read."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from base_scenario import BASE, scenario_with
from jsonschema import Draft202012Validator

from catalog import Catalog
from optimizer.scenario import load_scenario, scenario_schema

ROOT = Path(__file__).parents[3]
SHIPPED = sorted((ROOT / "scenarios").glob("*.yaml"))
EVERY_KEY = """
name: every key
horizon: 36mo
periods: 12
discount_rate: 8%/yr
catalog: [{kind: engine, id: mine}]
defaults: {slo: {ttft_p95: 1s, tpot_p95: 50ms}, engines: [vllm]}
models: {my-model: {hf_config: ./my-model/config.json}}
workloads:
  assistant:
    model: [Qwen/Qwen3-32B]
    requests: {tokens_per_day: 900M, window: 8h}
    peak: 2.5x
    growth: 10%/period
    input_tokens: {p50: 900, p95: 6k}
    output_tokens: 350
    prefix_hit: 30%
    max_context: 32k
    slo: {ttft_p95: 1s, tpot_p95: 50ms}
    weight_dtypes: [bf16, fp8, awq-int4]
    kv_cache_dtypes: [auto, fp8]
    min_quality: 98%
    engines: [vllm, sglang]
    tp: [1, 2, 4, 8]
    pp: 1
    dp: [1]
    max_batch_size: [32, 64]
    max_gpus_per_replica: 16
    single_format: true
    priority: 1
    spare: n+1
  measured:
    model: Qwen/Qwen3-8B
    requests_per_period: [6/s, 7/s]
    classes: {a: {share: 60%, input_tokens: 300, output_tokens: 9}, b: {share: 40%, input_tokens: 3k, output_tokens: 9}}
    measured: [{gpu: a10g, gpus: 1, requests_per_s: {a: 5, b: 0.4}}]
  users: {model: Qwen/Qwen3-8B, requests: {users: 80, think_time: 20s}, input_tokens: 5, output_tokens: 5}
  traced: {model: Qwen/Qwen3-8B, trace: ./requests.csv.gz, slo: throughput}
inventory:
  lab: {gpu: a100-80gb-sxm, gpus_per_server: 8, own: 1, power: 10kW/server, network: 400Gbit/s, link_domain: 8}
  h100-node:
    gpu: h100-sxm
    gpus_per_server: 8
    buy: {price: $265k/server, max: 4, life: 48mo, residual: 25%, lead_time: 3mo}
    rent: {price: $2.40/gpu/h, max: 16}
    reserve: [{term: 12mo, price: $1.95/gpu/h, max: 2}]
    spot: {price: $1.10/gpu/h, interruption: 5%/h}
  p5: {instance: aws/us-east-1/p5.48xlarge, spot: true, rent: {max: 3}}
facility: {power_price: $0.11/kWh, pue: 1.35, power_cap: 60kW, opex: $450/server/mo}
budget: {capex: $1.2M, monthly: $40k}
max_utilization: 75%
confidence: 80%
objective: cost
"""


@pytest.fixture(scope="module")
def judge() -> Draft202012Validator:
    schema = scenario_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def complaints(judge: Draft202012Validator, scenario: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in judge.iter_errors(scenario)]


def test_it_says_which_dialect_it_is_and_what_it_is_called() -> None:
    schema = scenario_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"].startswith("urn:gpuplan:")


def test_it_accepts_every_key_as_a_yaml_parser_reads_it(judge: Draft202012Validator) -> None:
    assert complaints(judge, yaml.safe_load(EVERY_KEY)) == []


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_it_accepts_shipped_scenarios_and_their_normalised_form(
    file: Path, judge: Draft202012Validator, catalog: Catalog
) -> None:
    assert complaints(judge, yaml.safe_load(file.read_text(encoding="utf-8"))) == []
    assert complaints(judge, load_scenario(file, catalog).canonical()) == []


def mappings(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths of all mappings whose keys are not the user's to choose."""
    free = {(), ("models",), ("workloads",), ("inventory",)}
    if isinstance(value, dict):
        chosen = path in free - {()} or path[-1:] in (("classes",), ("requests_per_s",), ("models",))
        if not chosen and path[:1] != ("catalog",):
            yield path
        for key, inner in value.items():
            yield from mappings(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from mappings(inner, (*path, index))


MAPPINGS = tuple(mappings(yaml.safe_load(EVERY_KEY)))


@pytest.mark.parametrize("path", MAPPINGS, ids=lambda path: ".".join(map(str, path)) or "top")
def test_it_refuses_an_unknown_key_everywhere(path: tuple[str | int, ...], judge: Draft202012Validator) -> None:
    scenario = yaml.safe_load(EVERY_KEY)
    here = scenario
    for key in path:
        here = here[key]
    here["colour"] = "red"
    assert complaints(judge, scenario)


@pytest.mark.parametrize(
    "change",
    [
        {"horizon": 12}, {"horizon": "12"}, {"horizon": None}, {"periods": 0}, {"objective": "costs"},
        {"workloads": {}}, {"inventory": {}}, {"max_utilization": 0.75}, {"workload": {"requests": 6}},
        {"workload": {"requests": "6 per second"}}, {"workload": {"input_tokens": 10.5}}, {"workload": {"slo": {}}},
        {"workload": {"slo": {"ttft_p96": "1s"}}}, {"workload": {"spare": False}}, {"workload": {"tp": []}},
        {"workload": {"tp": [0]}}, {"workload": {"model": []}},
        {"offer": {"rent": {"price": 2.4}}}, {"offer": {"rent": {"price": "€2.40/gpu/h"}}}, {"offer": {"gpu": None}},
        {"offer": {"buy": {"price": "$265k/server"}}}, {"offer": {"gpus_per_server": 0}},
    ],
    ids=str,
)  # fmt: skip
def test_it_refuses_what_reading_refuses_for_its_form(
    change: dict[str, Any], judge: Draft202012Validator, catalog: Catalog
) -> None:
    scenario = scenario_with(**change)
    assert complaints(judge, scenario)
    with pytest.raises(Exception, match=r"."):
        load_scenario(copy.deepcopy(scenario), catalog)


def test_every_key_says_what_it_means() -> None:
    schema = scenario_schema()
    for name, part in {"Scenario": schema, **schema["$defs"]}.items():
        for key, value in part.get("properties", {}).items():
            said = "description" in value or "$ref" in value  # then it is the description of what is referred to
            assert said or name == "ObservedTokens", f"{name}.{key} has no description"


def test_it_accepts_the_base(judge: Draft202012Validator) -> None:
    assert complaints(judge, BASE) == []
