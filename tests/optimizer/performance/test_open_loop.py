"""The closed form under random arrivals: its laws, and how close it is to the simulated scheduler."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from catalog import Catalog
from optimizer.memory import replica_memory
from optimizer.performance import LOAD_STEPS, RatedReplicas, TokenMix, largest_load, open_replicas
from optimizer.performance.station import OpenReplicas, no_place
from optimizer.scenario import Target
from optimizer.serving_config import one_configuration
from optimizer.simulation import Requests, TokenSizes, arrival_times_ms, open_loop, simulated_replica

EVERYBODY = np.ones((1, 1), bool)
BATCH = 64


def closed_form(catalog: Catalog, mix: TokenMix, gpu: str = "h100-sxm", batch: int = BATCH) -> OpenReplicas:
    one = one_configuration(
        catalog.models["Qwen/Qwen3-14B"], catalog.engines["vllm"], None, catalog.gpus[gpu], catalog.formats["fp8"],
        catalog.kv_formats["auto"],
    )  # fmt: skip
    memory = replica_memory(one, max_model_len=16384, max_num_seqs=np.array([batch]))
    return open_replicas(one, memory, mix, np.array([float(batch)]), catalog.calibration)


@pytest.mark.parametrize("places", [4, 8, 16, 64, 256])
@pytest.mark.parametrize("used", [0.5, 0.7, 0.9])
def test_places_are_taken_as_often_as_erlang_says(places: int, used: float) -> None:
    # Erlang C by the recursion of Erlang B: B(0) = 1, B(s) = a·B(s−1) / (s + a·B(s−1)); C = B / (1 − ρ·(1 − B))
    load, blocked = used * places, 1.0
    for servers in range(1, places + 1):
        blocked = load * blocked / (servers + load * blocked)
    waits = blocked / (1 - used * (1 - blocked))
    found = float(no_place(np.array([load]), np.array([float(places)]), np.ones(1))[0])
    assert found == pytest.approx(waits, rel=0.1, abs=0.002)


def mix_of(inputs: float, outputs: float, sigma: float = 0.0) -> TokenMix:
    spread = np.array([sigma])
    return TokenMix(("all",), np.ones(1), np.array([inputs]), np.array([outputs]), 0.0, spread, spread)


def test_sequences_that_decode_are_those_of_little_s_law(catalog: Catalog) -> None:
    at = closed_form(catalog, mix_of(1000.0, 201.0)).at(np.array([20.0]))
    # 200 steps of TPOT each: 20 sequences = rate · 200 · TPOT
    assert float(at.rate_rps[0]) * 200 * float(at.tpot_ms[0]) / 1000 == pytest.approx(20.0)


def test_every_latency_and_the_rate_grow_with_the_load(catalog: Catalog) -> None:
    replicas = closed_form(catalog, mix_of(1000.0, 200.0, 0.5))
    points = [replicas.at(np.array([load * BATCH])) for load in (0.01, 0.2, 0.4, 0.6, 0.8, 0.95)]
    for metric in ("ttft", "tpot", "e2e"):
        for statistic in ("mean", "p50", "p95", "p99"):
            values = [float(at.statistic(metric, statistic)[0, 0]) for at in points]
            assert values == sorted(values), (metric, statistic)
    rates = [float(at.rate_rps[0]) for at in points]
    assert rates == sorted(rates)


def test_a_wait_for_a_place_adds_up_with_the_other_distances_like_variances(catalog: Catalog) -> None:
    at = closed_form(catalog, mix_of(1000.0, 200.0, 0.5)).at(np.array([20.0]))
    at = replace(at, no_place_fraction=np.array([0.05]), place_wait_ms=np.array([1000.0]))
    mean = float(at.certain_ms[0] + at.queued_ms[0] + at.own.mean_ms[0, 0])
    at_once = replace(at, no_place_fraction=np.zeros(1))
    # One in twenty waits, 1 s on average: one in a hundred longer than 1 s · ln(0.05 / 0.01) = 1609 ms.
    others = float(at_once.statistic("ttft", "p99")[0, 0]) - mean
    assert float(at.statistic("ttft", "p99")[0, 0]) == pytest.approx(mean + np.hypot(others, 1609.4), rel=1e-4)
    assert float(at.statistic("ttft", "p90")[0, 0]) == float(at_once.statistic("ttft", "p90")[0, 0])  # ln(0.5) < 0


def test_classes_share_the_rate_by_the_time_they_take(catalog: Catalog) -> None:
    mix = TokenMix(("short", "long"), np.array([0.8, 0.2]), np.array([300.0, 4000.0]), np.array([100.0, 600.0]), 0.0)
    at = closed_form(catalog, mix).at(np.array([30.0]))
    rates = at.rate_of_class_rps[0]
    assert rates[0] > rates[1]
    assert 0.8 / rates[0] + 0.2 / rates[1] == pytest.approx(1 / float(at.rate_rps[0]))
    ttft = at.statistic("ttft", "mean")[0]
    assert ttft[1] > ttft[0]  # a longer prompt of one's own


def test_capacity_is_the_last_load_at_which_the_targets_hold(catalog: Catalog) -> None:
    replicas = closed_form(catalog, mix_of(2000.0, 200.0, 0.4))
    targets = (Target("ttft", "p95", 500.0), Target("tpot", "p95", 50.0))
    load = largest_load(replicas, targets, EVERYBODY)
    assert 0 < load[0] < LOAD_STEPS

    def held(at_load: int) -> bool:
        at = replicas.at(np.array([at_load / LOAD_STEPS * BATCH]))
        return all(float(at.statistic(t.metric, t.statistic)[0, 0]) <= t.limit_ms for t in targets)

    assert held(int(load[0]))
    assert not held(int(load[0]) + 1)


def test_looser_targets_never_cost_rate(catalog: Catalog) -> None:
    replicas = closed_form(catalog, mix_of(2000.0, 200.0, 0.4))
    limits = (200.0, 300.0, 500.0, 1000.0, 4000.0)
    loads = [int(largest_load(replicas, (Target("ttft", "p99", limit),), EVERYBODY)[0]) for limit in limits]
    assert loads == sorted(loads)
    assert loads[0] < loads[-1]


def test_without_targets_a_replica_is_full_and_with_impossible_ones_empty(catalog: Catalog) -> None:
    replicas = closed_form(catalog, mix_of(1000.0, 200.0))
    full = largest_load(replicas, (), EVERYBODY)
    assert full.tolist() == [LOAD_STEPS]
    rated = RatedReplicas.at(replicas, full)
    assert float(rated.rate_rps[0, 0]) == pytest.approx(float(rated.open_loop.full_rate_rps[0]))
    assert largest_load(replicas, (Target("ttft", "p50", 1.0),), EVERYBODY).tolist() == [0]


def test_bursts_only_cost_capacity(catalog: Catalog) -> None:
    targets = (Target("ttft", "p95", 600.0), Target("tpot", "p95", 14.0))
    rates = []
    for cv in (1.0, 1.5, 2.5, 5.0):
        replicas = closed_form(catalog, replace(mix_of(1000.0, 200.0), arrival_cv=cv))
        rates.append(float(RatedReplicas.at(replicas, largest_load(replicas, targets, EVERYBODY)).rate_rps[0, 0]))
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.8 * rates[0]


@pytest.mark.parametrize(("inputs", "outputs", "sigma"), [(300.0, 300.0, 0.0), (1000.0, 250.0, 0.5)])
@pytest.mark.parametrize(
    ("load", "cv", "off"),
    [
        (0.2, 1.0, {"ttft": 0.12, "tpot": 0.07, "e2e": 0.06}),
        (0.5, 1.0, {"ttft": 0.12, "tpot": 0.07, "e2e": 0.06}),
        (0.2, 2.0, {"ttft": 0.25, "tpot": 0.12, "e2e": 0.1}),
    ],
)
def test_it_agrees_with_the_simulated_scheduler(
    inputs: float, outputs: float, sigma: float, load: float, cv: float, off: dict[str, float], catalog: Catalog
) -> None:
    mix = replace(mix_of(inputs, outputs, sigma), arrival_cv=cv)
    at = closed_form(catalog, mix).at(np.array([load * BATCH]))
    one = one_configuration(
        catalog.models["Qwen/Qwen3-14B"], catalog.engines["vllm"], None, catalog.gpus["h100-sxm"],
        catalog.formats["fp8"], catalog.kv_formats["auto"],
    )  # fmt: skip
    memory = replica_memory(one, max_model_len=16384, max_num_seqs=np.array([BATCH]))
    replica = simulated_replica(one, memory, mix, catalog.calibration, max_model_len=16384)
    rng = np.random.default_rng(0)
    shrink = float(np.exp(-(sigma**2) / 2))
    sizes = [TokenSizes(inputs * shrink, sigma, outputs * shrink, sigma)]
    arrived = arrival_times_ms(float(at.rate_rps[0]), 600.0, rng, cv=cv)
    outcome = open_loop(replica, Requests.drawn(arrived, np.ones(1), sizes, 16384, rng))
    seen = outcome.take(np.flatnonzero(outcome.arrived_ms > 100_000)).statistics()
    for metric in ("ttft", "tpot", "e2e"):
        for statistic in ("mean", "p50", "p95"):
            predicted = float(at.statistic(metric, statistic)[0, 0])
            assert predicted == pytest.approx(seen[metric][statistic], rel=off[metric]), (metric, statistic)
