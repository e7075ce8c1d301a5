"""The simulated scheduler against arithmetic by hand and the laws of queues."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from plain_replica import STEP_MS, plain_replica, requests

from catalog import Catalog
from optimizer.memory import replica_memory
from optimizer.performance import TokenMix, replica_performance
from optimizer.serving_config import one_configuration
from optimizer.simulation import Outcome, SimulatedReplica, arrival_times_ms, closed_loop, open_loop, simulated_replica
from optimizer.simulation.scheduler import SchedulerRun


def drawn(count: int, rate_rps: float, inputs: Any, outputs: Any, seed: int = 0) -> Any:
    """`count` Poisson arrivals."""
    rng = np.random.default_rng(seed)
    return requests(arrival_times_ms(rate_rps, 2 * count / rate_rps, rng)[:count], inputs, outputs)


def test_one_request_takes_its_prefill_and_its_steps() -> None:
    # 5 tokens of prompt at 1 ms beside a step of 10 ms, then 3 more steps; it arrives at 100 ms
    outcome = open_loop(plain_replica(), requests([100.0], 5, 4))
    assert outcome.ttft_ms.tolist() == [15.0]
    assert outcome.tpot_ms.tolist() == [10.0]
    assert outcome.e2e_ms.tolist() == [45.0]
    assert outcome.finished_ms.tolist() == [145.0]


def test_what_passes_around_a_request_delays_nobody_else() -> None:
    # 7 ms once and 3 steps of 10 ms, of which the own prefill step is one: all tokens come 27 ms later
    late = plain_replica(request_ms=7.0, delivery_steps=3.0)
    plain, around = (open_loop(replica, requests([0.0, 0.0], 5, 4)) for replica in (plain_replica(), late))
    assert (around.ttft_ms - plain.ttft_ms).tolist() == [27.0, 27.0]
    assert around.tpot_ms.tolist() == plain.tpot_ms.tolist()


def test_a_prompt_beyond_the_budget_takes_several_steps() -> None:
    # 25 tokens in chunks of 10, 10 and 5: three steps of 10 ms and 25 ms of prefill
    outcome = open_loop(plain_replica(max_batched_tokens=10), requests([0.0], 25, 1))
    assert outcome.ttft_ms.tolist() == [55.0]


def test_a_prefill_holds_up_those_who_decode() -> None:
    # The first decodes from 15 ms; the second comes at 20, is computed in the step from 25 to 25 + 10 + 50
    outcome = open_loop(plain_replica(), requests([0.0, 20.0], [5, 50], [4, 1]))
    assert outcome.first_ms.tolist() == [15.0, 85.0]
    # 15 → 25 → 85 → 95
    assert outcome.finished_ms.tolist() == [95.0, 85.0]


def test_the_tokens_of_a_step_are_those_of_decoding_and_of_prompts() -> None:
    # While one decodes, nine tokens of the budget of ten are left for the prompt of eighteen: two steps
    outcome = open_loop(plain_replica(max_batched_tokens=10), requests([0.0, 12.0], [5, 18], [9, 1]))
    # 0 → 15; from 15 two steps of 10 + 9 ms
    assert outcome.first_ms.tolist() == [15.0, 53.0]


def test_a_full_batch_makes_requests_wait() -> None:
    # One place; each takes 15 + 30 ms
    outcome = open_loop(plain_replica(1), requests([0.0, 0.0, 0.0], 5, 4))
    assert outcome.finished_ms.tolist() == [45.0, 90.0, 135.0]


def test_a_full_cache_makes_requests_wait() -> None:
    # Each holds ⌈32 / 16⌉ = 2 blocks from admission on, of 3: the second waits until the first has ended, in 26 + 10 ms
    replica = plain_replica(blocks=3.0, grows=False, reserves_output=True)
    outcome = open_loop(replica, requests([0.0, 0.0], 16, 2))
    assert outcome.first_ms.tolist() == [26.0, 62.0]
    assert outcome.preemptions == 0


def test_the_youngest_is_preempted_and_computed_again() -> None:
    # Both start in the step to 10 + 32 = 42 ms with a block each; the next token of each needs another, and there are
    # 3. The second goes, the first gets its block and decodes from 42 to 52. Then 16 + 1 tokens of the second need 2
    # blocks, of which 1 is free, so that it waits for the first to end: 42 + 3 · 10 = 72 ms; then 10 + 17 ms.
    outcome = open_loop(plain_replica(blocks=3.0), requests([0.0, 0.0], 16, 4))
    assert outcome.preemptions == 1
    assert outcome.first_ms.tolist() == [42.0, 42.0]
    assert outcome.finished_ms.tolist() == [72.0, 119.0]
    # the longest gap of the second lasts from 42 to 99
    assert outcome.gaps_ms.max() == 57.0


@pytest.mark.parametrize("blocks", [1e9, 40.0])
def test_every_token_of_every_request_comes(blocks: float) -> None:
    rng = np.random.default_rng(0)
    many = drawn(300, 20.0, rng.integers(1, 200, 300), rng.integers(1, 60, 300))
    replica = plain_replica(8, blocks=blocks)
    outcome = open_loop(replica, many)
    assert np.isfinite(outcome.finished_ms).all()
    assert (outcome.first_ms <= outcome.finished_ms).all()
    assert outcome.gaps_n.sum() == (many.output_tokens - 1).sum()
    assert (outcome.preemptions > 0) == (blocks < 1e9)
    # a request needs at least a step for each token, and its prompt
    assert (outcome.e2e_ms >= many.output_tokens * STEP_MS + many.input_tokens - 1e-6).all()


def test_little_s_law_and_the_cap_of_the_batch() -> None:
    many = drawn(2000, 30.0, 20, 40)
    outcome = open_loop(plain_replica(1000, decode_ms=np.full(1001, STEP_MS)), many)
    # nobody waits for a place: the time in the batch is what follows the wait for the step to begin
    assert outcome.mean_in_batch == pytest.approx(outcome.e2e_ms.sum() / outcome.elapsed_ms, rel=0.05)
    capped = open_loop(plain_replica(8), many)
    assert capped.mean_in_batch <= 8
    assert capped.elapsed_ms > outcome.elapsed_ms


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_one_place_is_the_queue_of_pollaczek_and_khinchine(load: float) -> None:
    # M/D/1: one place, 10 + 40 ms each, wait load / (2 · (1 − load)) · 50 ms on average
    outcome = open_loop(plain_replica(1), drawn(40_000, load / 0.050, 40, 1))
    wait_ms = outcome.e2e_ms.mean() - 50.0
    assert wait_ms == pytest.approx(load / (2 * (1 - load)) * 50.0, rel=0.05)


def test_one_place_with_lengths_that_vary_waits_longer_by_their_variance() -> None:
    # M/G/1: outputs of 1 or 19 tokens after a prompt of 10: 20 or 200 ms, mean 110, mean square 20,200 ms²
    outputs = np.random.default_rng(1).choice([1, 19], size=40_000)
    outcome = open_loop(plain_replica(1), drawn(40_000, 5.0, 10, outputs))
    service = 10.0 + 10.0 * outputs
    load = 0.005 * service.mean()
    expected_ms = 0.005 * (service**2).mean() / (2 * (1 - load))
    assert (outcome.e2e_ms - service).mean() == pytest.approx(expected_ms, rel=0.1)


def test_with_places_for_all_nobody_waits() -> None:
    # M/G/∞: a request that decodes is not slowed down, but for prompts of one token and the rest of a step
    outcome = open_loop(plain_replica(1000), drawn(5000, 50.0, 1, 50))
    in_flight = 50.0 * outcome.e2e_ms.mean() / 1000.0
    assert outcome.mean_in_batch == pytest.approx(in_flight, rel=0.05)
    assert outcome.ttft_ms.max() < 2 * STEP_MS + 20


def test_a_closed_loop_of_one_is_the_sum_of_its_requests() -> None:
    outcome = closed_loop(plain_replica(), requests([0.0] * 5, 5, 4), 1)
    assert outcome.finished_ms.tolist() == [45.0, 90.0, 135.0, 180.0, 225.0]
    assert outcome.arrived_ms.tolist() == [0.0, 45.0, 90.0, 135.0, 180.0]


def test_a_closed_loop_never_has_more_in_flight() -> None:
    outcome = closed_loop(plain_replica(64), requests([0.0] * 200, 5, 20), 10)
    for moment in outcome.arrived_ms:
        assert ((outcome.arrived_ms <= moment) & (outcome.finished_ms > moment)).sum() <= 10
    assert outcome.mean_in_batch <= 10


@pytest.mark.parametrize("blocks", [1e9, 60.0])
def test_jumping_over_equal_steps_changes_nothing(blocks: float) -> None:
    rng = np.random.default_rng(3)
    many = drawn(200, 15.0, rng.integers(1, 100, 200), rng.integers(1, 90, 200))
    replica = plain_replica(6, blocks=blocks)
    jumped = open_loop(replica, many)
    stepped = SchedulerRun(replica, many)
    for request, arrived_ms in enumerate(many.arrived_ms.tolist()):
        stepped.send(arrived_ms, request)
    for until_ms in np.arange(1.0, jumped.elapsed_ms, 3.0):
        stepped.advance(float(until_ms))
    outcome = stepped.outcome()
    np.testing.assert_allclose(outcome.first_ms, jumped.first_ms)
    np.testing.assert_allclose(outcome.finished_ms, jumped.finished_ms)
    assert outcome.preemptions == jumped.preemptions


def real(catalog: Catalog, engine: str = "vllm", batch: int = 64) -> tuple[SimulatedReplica, Any]:
    """Qwen3-14B on an H100, and its closed form in a closed loop of so many requests of 1,000 and 250 tokens."""
    one = one_configuration(
        catalog.models["Qwen/Qwen3-14B"], catalog.engines[engine], None, catalog.gpus["h100-sxm"],
        catalog.formats["bf16"], catalog.kv_formats["auto"],
    )  # fmt: skip
    memory = replica_memory(one, max_model_len=8192, max_num_seqs=np.array([batch]))
    mix = TokenMix(("all",), np.ones(1), np.array([1000.0]), np.array([250.0]), 0.0)
    replica = simulated_replica(one, memory, mix, catalog.calibration, max_model_len=8192)
    return replica, lambda n: replica_performance(one, memory, mix, np.array([float(n)]), catalog.calibration)


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
def test_alone_a_request_takes_what_the_calibrated_model_says(engine: str, catalog: Catalog) -> None:
    replica, predicted = real(catalog, engine)
    outcome = closed_loop(replica, requests([0.0] * 4, 1000, 250), 1)
    # sizes are tabulated in steps of 15 %
    assert outcome.ttft_ms.mean() == pytest.approx(predicted(1).ttft_ms[0, 0], rel=0.006)
    assert outcome.tpot_ms.mean() == pytest.approx(predicted(1).tpot_ms[0, 0], rel=0.006)


@pytest.mark.parametrize("concurrency", [4, 16, 64])
def test_in_a_closed_loop_it_agrees_with_the_form_fitted_to_measurements(concurrency: int, catalog: Catalog) -> None:
    # Benchmarks send ten requests a place, all of the first at once, of sizes that vary a little
    replica, predicted = real(catalog)
    rng = np.random.default_rng(0)
    count = 10 * concurrency
    sizes = [np.rint(mean * np.exp(0.05 * rng.standard_normal(count))).astype(int) for mean in (1000, 250)]
    outcome = closed_loop(replica, requests([0.0] * count, *sizes), concurrency)
    assert outcome.tpot_ms.mean() == pytest.approx(predicted(concurrency).tpot_ms[0, 0], rel=0.05)
    assert outcome.ttft_ms.mean() == pytest.approx(predicted(concurrency).ttft_ms[0, 0], rel=0.15)


def test_the_same_requests_give_the_same_outcome(catalog: Catalog) -> None:
    replica, _ = real(catalog)
    one, two = (open_loop(replica, drawn(200, 5.0, 1000, 250, seed=7)) for _ in range(2))
    assert one.finished_ms.tolist() == two.finished_ms.tolist()


def test_statistics_of_gaps_count_every_gap() -> None:
    # 9 gaps of 10 ms and one of 30: mean 12, p90 10, p95 30
    empty = np.zeros(0)
    outcome = Outcome(
        of_class=np.zeros(0, np.int64), output_tokens=np.zeros(0, np.int64), arrived_ms=empty, first_ms=empty,
        finished_ms=empty, gaps_ms=np.array([30.0, 10.0]), gaps_n=np.array([1.0, 9.0]), elapsed_ms=1.0,
        in_batch_ms=0.0, preemptions=0,
    )  # fmt: skip
    itl = outcome.statistics()["itl"]
    assert (itl["mean"], itl["p50"], itl["p90"], itl["p95"]) == (12.0, 10.0, 10.0, 30.0)
    assert np.isnan(outcome.statistics()["ttft"]["mean"])
