"""Drafted tokens: what they gain at small batches, cost at large ones, and weigh in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from catalog import Catalog
from catalog.errors import InputError
from optimizer.memory import estimate_memory, replica_memory
from optimizer.performance import PerformanceEstimate, TokenMix, estimate_performance, open_replicas
from optimizer.performance.constants import row_constants
from optimizer.performance.traits import trait_rows
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
        ({"speculative": "draft_model", "acceptance_fraction": 0.5}, "name it by its id"),
        ({"speculative": "ngram", "acceptance_fraction": 0.5, "draft": "Qwen/Qwen3-0.6B"}, "and with nothing else"),
        ({"speculative": "draft_model", "acceptance_fraction": 0.5, "draft": "a/b"}, "not in the catalog"),
    ],
)
def test_what_cannot_be_drafted_is_refused(changes: dict[str, Any], message: str, catalog: Catalog) -> None:
    with pytest.raises(InputError, match=message):
        estimate(catalog, **changes)


def test_a_small_model_takes_its_own_steps_before_each_of_the_large_one(catalog: Catalog) -> None:
    # With nothing accepted a step of both is one of the large model and three of the small one, checking being free
    large, small = "Qwen/Qwen3-32B", "Qwen/Qwen3-0.6B"
    asked: dict[str, Any] = {"gpu": "h200-sxm", "output_tokens": 100}
    drafted = estimate(
        catalog, model=large, speculative="draft_model", draft=small, draft_tokens=3, acceptance_fraction=0.0, **asked
    )
    alone, beside = estimate(catalog, model=large, **asked), estimate(catalog, model=small, **asked)
    # Only what an engine does once a step, whatever the layers, is not done again for drafts
    steps_ms = beside.tpot_ms - engine_step_ms(catalog)
    assert drafted.tpot_ms == pytest.approx(alone.tpot_ms + 3 * steps_ms, rel=0.03)
    # and its prompts are computed by both
    prefills = [one.ttft_parts["prefill"] for one in (drafted, alone, beside)]
    assert prefills[0] == pytest.approx(prefills[1] + prefills[2], rel=0.02)


def engine_step_ms(catalog: Catalog) -> float:
    """Scheduling and sampling of a step of vLLM on Hopper."""
    one = one_configuration(
        catalog.models["Qwen/Qwen3-32B"], catalog.engines["vllm"], None, catalog.gpus["h200-sxm"],
        catalog.formats["bf16"], catalog.kv_formats["auto"],
    )  # fmt: skip
    return float(row_constants(trait_rows(one, catalog.calibration), catalog.calibration).step_ms)


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
