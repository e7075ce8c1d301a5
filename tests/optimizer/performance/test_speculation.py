"""Drafted tokens: what they gain at small batches, cost at large ones, and weigh in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from catalog import Catalog
from catalog.errors import InputError
from optimizer.memory import estimate_memory, replica_memory
from optimizer.performance import PerformanceEstimate, TokenMix, estimate_performance, open_replicas
from optimizer.scenario import Speculation
from optimizer.serving_config import one_configuration
from optimizer.simulation import Requests, TokenSizes, arrival_times_ms, open_loop, simulated_replica

BATCH = 32


def drafts(**keys: Any) -> Speculation:
    plain: dict[str, Any] = {"method": "ngram", "tokens": 1, "acceptance_fraction": 0.5, "draft": None}
    return Speculation.model_construct(**{**plain, **keys})


def estimate(catalog: Catalog, **changes: Any) -> PerformanceEstimate:
    question: dict[str, Any] = {
        "model": "meta-llama/Llama-3.1-8B-Instruct", "gpu": "h100-sxm", "weight_dtype": "bf16", "input_tokens": 200,
        "output_tokens": 400, "concurrency": 1,
    }  # fmt: skip
    return estimate_performance(catalog, **{**question, **changes})


def test_a_step_gives_the_tokens_accepted_and_one_more() -> None:
    # 1 + 0.5 + 0.25 + 0.125
    assert drafts(tokens=3).tokens_per_step == pytest.approx(1.875)
    assert drafts(tokens=3, acceptance_fraction=0.0).tokens_per_step == 1.0
    assert drafts(tokens=3, acceptance_fraction=1.0).tokens_per_step == 4.0


def test_alone_a_request_that_accepts_every_draft_is_about_twice_as_fast(catalog: Catalog) -> None:
    # One checked token more costs nothing while weights are read; tokens found in the prompt cost no drafting
    plain = estimate(catalog)
    drafted = estimate(catalog, speculative="ngram", acceptance_fraction=1.0)
    assert drafted.tpot_ms == pytest.approx(plain.tpot_ms / 2, rel=0.02)
    assert sum(drafted.parts.values()) == pytest.approx(drafted.tpot_ms)


def test_the_gain_fades_with_the_batch_until_checking_costs_more_than_it_saves(catalog: Catalog) -> None:
    def gain(concurrency: int) -> float:
        asked = {"concurrency": concurrency, "max_num_seqs": 2048, "weight_dtype": "fp8", "output_tokens": 100}
        drafted = estimate(catalog, **asked, speculative="eagle", draft_tokens=3, acceptance_fraction=0.6)
        return estimate(catalog, **asked).tpot_ms / drafted.tpot_ms

    gains = [gain(concurrency) for concurrency in (1, 16, 128, 1024)]
    assert gains == sorted(gains, reverse=True)
    assert gains[0] > 1.5
    assert gains[-1] < 1.05


def test_drafts_that_nobody_accepts_only_cost(catalog: Catalog) -> None:
    nothing = estimate(catalog, speculative="eagle", draft_tokens=4, acceptance_fraction=0.0)
    assert nothing.tpot_ms > estimate(catalog).tpot_ms


def test_the_head_is_held_in_memory(catalog: Catalog) -> None:
    one = one_configuration(
        catalog.models["meta-llama/Llama-3.1-8B-Instruct"], catalog.engines["vllm"], None, catalog.gpus["h100-sxm"],
        catalog.formats["bf16"], catalog.kv_formats["auto"], speculation=drafts(method="eagle"),
    )  # fmt: skip
    loaded = estimate_memory(
        catalog, model="meta-llama/Llama-3.1-8B-Instruct", gpu="h100-sxm", weight_dtype="bf16", max_model_len=8192,
        speculative="eagle",
    )  # fmt: skip
    memory = replica_memory(one, max_model_len=8192)
    assert memory.weights_gib[0] == loaded.weights_gib
    assert memory.kv_bytes_per_token[0] == loaded.kv_bytes_per_token


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"speculative": "eagle"}, "accepted is missing"),
        ({"speculative": "ngram", "acceptance_fraction": 1.5}, "between 0 and 1"),
        ({"speculative": "ngram", "acceptance_fraction": 0.5, "engine": "llamacpp"}, "vllm and sglang"),
        ({"speculative": "mtp"}, "no layers for multi-token prediction"),
    ],
)
def test_what_cannot_be_drafted_is_refused(changes: dict[str, Any], message: str, catalog: Catalog) -> None:
    with pytest.raises(InputError, match=message):
        estimate(catalog, **changes)


def test_the_simulated_scheduler_agrees_with_the_closed_form(catalog: Catalog) -> None:
    one = one_configuration(
        catalog.models["meta-llama/Llama-3.1-8B-Instruct"], catalog.engines["vllm"], None, catalog.gpus["h100-sxm"],
        catalog.formats["fp8"], catalog.kv_formats["auto"],
        speculation=drafts(method="eagle", tokens=3, acceptance_fraction=0.7),
    )  # fmt: skip
    mix = TokenMix(("all",), np.ones(1), np.array([600.0]), np.array([200.0]), 0.0)
    memory = replica_memory(one, max_model_len=8192, max_num_seqs=np.array([BATCH]))
    at = open_replicas(one, memory, mix, np.array([float(BATCH)]), catalog.calibration).at(np.array([0.3 * BATCH]))
    replica = simulated_replica(one, memory, mix, catalog.calibration, max_model_len=8192)
    rng = np.random.default_rng(0)
    arrived = arrival_times_ms(float(at.rate_rps[0]), 200.0, rng)
    outcome = open_loop(replica, Requests.drawn(arrived, np.ones(1), [TokenSizes(600, 0.0, 200, 0.0)], 8192, rng))
    seen = outcome.take(np.flatnonzero(outcome.arrived_ms > 40_000)).statistics()
    for metric, off in (("ttft", 0.15), ("tpot", 0.06), ("e2e", 0.06)):
        assert float(at.statistic(metric, "mean")[0, 0]) == pytest.approx(seen[metric]["mean"], rel=off)  # type: ignore[arg-type, index]
