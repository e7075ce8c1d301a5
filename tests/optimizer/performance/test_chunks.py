"""Prompts in the tokens of a step: chunks, steps that carry some, and what a small budget holds back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from catalog import Catalog
from optimizer.memory import ReplicaMemory, replica_memory
from optimizer.performance import LOAD_STEPS, RatedReplicas, TokenMix, estimate_performance, largest_load, open_replicas
from optimizer.performance.chunks import Chunks, chunks_of, most_decoding
from optimizer.performance.station import OpenReplicas
from optimizer.performance.work import Work, work_of
from optimizer.scenario import Target
from optimizer.serving_config import Configurations, one_configuration
from optimizer.simulation import Requests, TokenSizes, arrival_times_ms, open_loop, simulated_replica

ONE = np.ones(1)
MAX_MODEL_LEN = 16384


def the_replica(catalog: Catalog) -> Configurations:
    return one_configuration(
        catalog.models["Qwen/Qwen3-14B"], catalog.engines["vllm"], None, catalog.gpus["h100-sxm"],
        catalog.formats["fp8"], catalog.kv_formats["auto"],
    )  # fmt: skip


def memory_of(one: Configurations, batch: int, budget: int) -> ReplicaMemory:
    return replica_memory(
        one, max_model_len=MAX_MODEL_LEN, max_num_seqs=np.array([batch]), max_num_batched_tokens=budget
    )


def mix_of(inputs: float, outputs: float, sigma: float = 0.0) -> TokenMix:
    spread = np.array([sigma])
    return TokenMix(("all",), ONE, np.array([inputs]), np.array([outputs]), 0.0, spread, spread)


def closed_form(catalog: Catalog, mix: TokenMix, budget: int, batch: int = 64) -> OpenReplicas:
    one = the_replica(catalog)
    return open_replicas(one, memory_of(one, batch, budget), mix, np.array([float(batch)]), catalog.calibration)


def work(catalog: Catalog, inputs: float, outputs: float) -> Work:
    return work_of(the_replica(catalog), mix_of(inputs, outputs), catalog.calibration)


def test_those_who_decode_leave_the_rest_of_a_step_to_prompts(catalog: Catalog) -> None:
    # 1024 − 24 = 1000 tokens of room: a prompt of 2,500 fills two and a half steps, and takes three when alone
    chunks = chunks_of(work(catalog, 2500.0, 100.0), np.array([1024.0]), np.array([24.0]))
    assert (float(chunks.mean[0]), float(chunks.steps[0])) == (2.5, 3.0)


@pytest.mark.parametrize(
    ("of_class", "prefills", "expected"),
    [
        (0.0, 0.5, 0.3935),  # so small that all share a step: 1 − exp(−0.5)
        (1.0, 0.1, 0.1),  # whole steps: one for each
        (2.5, 0.1, 0.1 * 2.5 + (1 - np.exp(-0.1)) * 0.5),  # what is left of the last is shared with who comes along
        (4.0, 0.5, 1.0),  # more than there are: every step
    ],
)
def test_steps_that_carry_prompts_are_counted(of_class: float, prefills: float, expected: float) -> None:
    chunks = Chunks(np.array([[of_class]]), ONE)
    # a prompt of no tokens still takes its step
    steps = replace(chunks, of_class=np.maximum(chunks.of_class, 1e-9))
    assert float(steps.mixed_fraction(np.array([prefills]))[0]) == pytest.approx(expected, abs=1e-4)


def test_a_small_budget_bounds_how_many_decode(catalog: Catalog) -> None:
    # 101 tokens a request are 100 steps; 1,900 of a prompt: D + D / 100 · 1900 ≤ 0.98 · 1000, so that D ≤ 49
    most = most_decoding(work(catalog, 1900.0, 101.0), np.array([1000.0]))
    assert float(most[0]) == pytest.approx(49.0)


def test_a_larger_budget_never_slows_what_prompts_hold_back(catalog: Catalog) -> None:
    budgets = (512, 1024, 2048, 4096, 8192, 16384)
    for mix in (mix_of(1000.0, 200.0, 0.5), mix_of(6000.0, 200.0, 0.3)):
        loops = [closed_form(catalog, mix, budget) for budget in budgets]
        rates = [float(loop.full_rate[0]) for loop in loops]
        assert rates == sorted(rates)
        decoding = 0.3 * loops[0].most  # the same number with every budget
        for metric, statistic in (("ttft", "mean"), ("ttft", "p95"), ("tpot", "mean")):
            late = [float(loop.at(decoding).statistic(metric, statistic)[0, 0]) for loop in loops]
            assert late == sorted(late, reverse=True), (metric, statistic)


def test_a_batch_beyond_what_the_budget_feeds_adds_nothing(catalog: Catalog) -> None:
    # D + D / 99 · 6000 ≤ 0.98 · 512: eight sequences decode at most, whatever the places
    small, large = (closed_form(catalog, mix_of(6000.0, 100.0), 512, batch) for batch in (64, 128))
    assert float(small.most[0]) == pytest.approx(0.98 * 512 * 99 / (99 + 6000))
    assert small.full_rate == pytest.approx(large.full_rate)
    everybody, targets = np.ones((1, 1), bool), (Target("tpot", "p95", 1000.0),)
    rates = [RatedReplicas.at(one, largest_load(one, targets, everybody)).rate_rps for one in (small, large)]
    assert rates[0] == pytest.approx(rates[1])


def test_an_estimate_takes_the_budget_per_attention_rank(catalog: Catalog) -> None:
    asked = {"model": "Qwen/Qwen3-14B", "gpu": "h100-sxm", "weight_dtype": "fp8", "input_tokens": 8000,
             "output_tokens": 100, "concurrency": 4}  # fmt: skip
    default = estimate_performance(catalog, **asked)  # type: ignore[arg-type]
    same, small = (
        estimate_performance(catalog, **asked, max_num_batched_tokens=budget)  # type: ignore[arg-type]
        for budget in (8192, 1024)
    )
    assert same == default  # the default of a card with 80 GB
    assert small.ttft_ms > default.ttft_ms
    assert sum(small.ttft_parts.values()) == pytest.approx(small.ttft_ms)


def test_requests_in_line_for_a_step_wait_before_their_first_token(catalog: Catalog) -> None:
    asked = {"model": "Qwen/Qwen3-14B", "gpu": "h100-sxm", "weight_dtype": "fp8", "input_tokens": 4000,
             "output_tokens": 101, "max_num_batched_tokens": 1024}  # fmt: skip
    few, many = (estimate_performance(catalog, **asked, concurrency=n) for n in (40, 80))  # type: ignore[arg-type]
    # 0.98 · 1024 · 100 / 4100 = 24 of them decode; the others wait, so that twice as many carry no more
    assert many.requests_per_s == pytest.approx(few.requests_per_s)
    assert many.tpot_ms == pytest.approx(few.tpot_ms)
    cycle_s = (many.ttft_ms + 100 * many.tpot_ms) / 1000
    assert cycle_s * many.requests_per_s == pytest.approx(80)


@pytest.mark.parametrize("budget", [1024, 2048, 4096, 8192, 16384])
@pytest.mark.parametrize(("inputs", "outputs", "sigma"), [(1000.0, 250.0, 0.5), (4000.0, 250.0, 0.3)])
def test_it_agrees_with_the_simulated_scheduler_at_every_budget(
    budget: int, inputs: float, outputs: float, sigma: float, catalog: Catalog
) -> None:
    mix, one = mix_of(inputs, outputs, sigma), the_replica(catalog)
    replicas = closed_form(catalog, mix, budget)
    at = replicas.at(0.25 * replicas.most)
    replica = simulated_replica(one, memory_of(one, 64, budget), mix, catalog.calibration, max_model_len=MAX_MODEL_LEN)
    rng = np.random.default_rng(1)
    shrink = float(np.exp(-(sigma**2) / 2))
    sizes = [TokenSizes(inputs * shrink, sigma, outputs * shrink, sigma)]
    arrived = arrival_times_ms(float(at.rate_rps[0]), 900.0, rng)
    outcome = open_loop(replica, Requests.drawn(arrived, ONE, sizes, MAX_MODEL_LEN, rng))
    seen = outcome.take(np.flatnonzero(outcome.arrived_ms > 100_000)).statistics()
    off = {"ttft": 0.15, "tpot": 0.15, "e2e": 0.15}
    for metric in ("ttft", "tpot", "e2e"):
        for statistic in ("mean", "p50", "p95"):
            predicted = float(at.statistic(metric, statistic)[0, 0])
            assert predicted == pytest.approx(seen[metric][statistic], rel=off[metric]), (metric, statistic)


def test_loads_are_parts_of_what_can_decode(catalog: Catalog) -> None:
    replicas = closed_form(catalog, mix_of(6000.0, 100.0), 1024)
    full = RatedReplicas.at(replicas, np.array([LOAD_STEPS]))
    assert float(full.open_loop.rate_rps[0]) == pytest.approx(float(replicas.full_rate[0]) * 1000)
