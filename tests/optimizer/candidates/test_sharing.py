"""What workloads of one kind share: configurations prepared once, and memory looked up instead of worked out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from catalog import Catalog
from optimizer import load_scenario
from optimizer.candidates import Candidates, build_candidates
from optimizer.candidates.enumerate import batch_sizes, choices_of
from optimizer.candidates.ground import MANY
from optimizer.candidates.physics import Physics
from optimizer.candidates.starts import LEAN, Flags
from optimizer.memory import HeldMemory, ReplicaMemory, holds_at_every_length
from optimizer.scenario import Scenario
from optimizer.serving_config import IntArray

OFFERS = {
    "l4": {"gpu": "l4", "gpus_per_server": 4, "rent": {"price": "$0.7/gpu/h"}},
    "l40s": {"gpu": "l40s", "gpus_per_server": 4, "rent": {"price": "$1.5/gpu/h"}},
    "h100": {"gpu": "h100-sxm", "gpus_per_server": 8, "rent": {"price": "$2.7/gpu/h"}},
}


def chat(i: int, model: str) -> dict[str, Any]:
    """Workloads that differ in what they send and how soon they want it."""
    slo: Any = {"ttft_p95": f"{1 + i % 3}s", "tpot_p95": f"{40 + 10 * i}ms"} if i % 2 else "throughput"
    return {
        "model": model,
        "requests": f"{0.5 + i}/s",
        "input_tokens": 300 + 400 * i,
        "output_tokens": 100 + 60 * i,
        "slo": slo,
    }


def scenario_of(catalog: Catalog, model: str, n: int) -> Scenario:
    given = {"name": "alike", "workloads": {f"w{i}": chat(i, model) for i in range(n)}, "inventory": OFFERS}
    return load_scenario(given, catalog)


def physics_of(scenario: Scenario, catalog: Catalog) -> Physics:
    workload = next(iter(scenario.workloads.values()))
    offers = list(scenario.inventory.values())
    choices = choices_of(workload, offers, catalog, workload.models[0], "vllm")
    configurations = choices.configurations(choices.accepted(workload.min_quality_fraction))
    return Physics.of(configurations, batch_sizes(workload), catalog.calibration)


def memory_of(physics: Physics, size: int, length: int, tokens: IntArray) -> HeldMemory | ReplicaMemory:
    """Of every configuration, with the most of the memory that a plan asks for."""
    rows = np.arange(len(physics.configurations))
    flags = Flags(tokens, physics.defaults.most_fraction)
    ((here, memory),) = physics.memory(rows, np.full(len(rows), size), np.full(len(rows), length), flags)
    assert np.array_equal(here, rows)
    return memory


def most_rps(c: Candidates, offer: int, gpus: int, enough_rps: float) -> float:
    """Requests/s that equal replicas on so many GPUs of an offer sustain, at most what is enough."""
    fits = (c.offer == offer) & (c.gpus_per_replica <= gpus)
    rates = c.rate_rps[fits, 0] * (gpus // c.gpus_per_replica[fits])
    return min(enough_rps, float(rates.max(initial=0.0)))


@pytest.mark.parametrize("model", ["Qwen/Qwen3-8B", "openai/gpt-oss-20b", "Qwen/Qwen3-30B-A3B"])
def test_sharing_gives_each_workload_the_candidates_it_has_alone(model: str, catalog: Catalog) -> None:
    together = scenario_of(catalog, model, MANY)
    shared = build_candidates(together, catalog)
    for i, many in enumerate(shared):
        alone = load_scenario({"name": "alone", "workloads": {f"w{i}": chat(i, model)}, "inventory": OFFERS}, catalog)
        (one,) = build_candidates(alone, catalog)
        enough_rps = alone.workloads[f"w{i}"].demand_rps / alone.max_utilization_fraction
        for s in range(len(OFFERS)):
            for gpus in (1, 2, 4, 8):
                assert most_rps(many, s, gpus, enough_rps) == pytest.approx(most_rps(one, s, gpus, enough_rps))
        assert many.n_evaluated == one.n_evaluated


def test_workloads_share_whatever_quality_they_ask_for(catalog: Catalog) -> None:
    floors = ("95%", "98%", "99%")
    workloads = {f"w{i}": chat(i, "Qwen/Qwen3-8B") | {"min_quality": floors[i % 3]} for i in range(2 * MANY)}
    shared = build_candidates(
        load_scenario({"name": "a", "workloads": workloads, "inventory": OFFERS}, catalog), catalog
    )
    for (name, workload), many in zip(workloads.items(), shared, strict=True):
        alone = load_scenario({"name": "a", "workloads": {name: workload}, "inventory": OFFERS}, catalog)
        (one,) = build_candidates(alone, catalog)
        enough_rps = alone.workloads[name].demand_rps / alone.max_utilization_fraction
        for s in range(len(OFFERS)):
            assert most_rps(many, s, 4, enough_rps) == pytest.approx(most_rps(one, s, 4, enough_rps))
        assert many.n_evaluated == one.n_evaluated
        assert many.rejected["quality"] == one.rejected["quality"]


def test_the_table_holds_what_memory_says_at_every_batch_and_number_of_tokens(catalog: Catalog) -> None:
    physics = physics_of(scenario_of(catalog, "Qwen/Qwen3-8B", 1), catalog)
    some = physics.take(np.arange(0, len(physics.configurations), 7))
    table = some.tabulated(np.arange(len(some.configurations)), 8192)
    default = some.defaults.max_num_batched_tokens
    for size in (0, 40, len(physics.sizes) - 1, 40):  # the last is known by then
        for tokens in (default, default // LEAN):
            for length in (2048, 8192, 50_000):
                worked_out = memory_of(some, size, length, tokens)
                looked_up = memory_of(table, size, length, tokens)
                assert np.array_equal(worked_out.fits, looked_up.fits)
                assert np.array_equal(worked_out.reason, looked_up.reason)
                assert worked_out.concurrency(1500.0) == pytest.approx(looked_up.concurrency(1500.0))


def test_memory_is_tabulated_only_where_one_stage_limits_at_every_length(catalog: Catalog) -> None:
    alike, windowed = (
        physics_of(scenario_of(catalog, model, 1), catalog).configurations
        for model in ("Qwen/Qwen3-8B", "openai/gpt-oss-20b")
    )
    assert alike.pp.max() > 1
    assert windowed.pp.max() > 1
    assert holds_at_every_length(alike).all()
    assert np.array_equal(holds_at_every_length(windowed), windowed.pp == 1)  # half of gpt-oss's layers have a window


def test_workloads_in_other_regions_share_what_is_known_of_their_own_offers(catalog: Catalog) -> None:
    given = {"name": "alike", "workloads": {f"w{i}": chat(i, "Qwen/Qwen3-8B") for i in range(2 * MANY)}}
    given["inventory"] = {name: offer | {"region": "eu"} for name, offer in OFFERS.items()}
    given["inventory"]["far"] = OFFERS["h100"] | {"region": "us"}
    given["region_latency"] = {"eu": {"us": "90ms"}}
    for i in range(2 * MANY):
        given["workloads"][f"w{i}"] |= {"region": "eu"} | ({"residency": ["eu"]} if i < MANY else {})
    shared = build_candidates(load_scenario(given, catalog), catalog)
    for i, many in enumerate(shared):
        one_workload = given | {"workloads": {f"w{i}": given["workloads"][f"w{i}"]}}
        alone = load_scenario(one_workload, catalog)
        (one,) = build_candidates(alone, catalog)
        assert (many.offer == len(OFFERS)).any() == (i >= MANY)
        enough_rps = alone.workloads[f"w{i}"].demand_rps / alone.max_utilization_fraction
        for s in range(len(given["inventory"])):
            assert most_rps(many, s, 8, enough_rps) == pytest.approx(most_rps(one, s, 8, enough_rps))
