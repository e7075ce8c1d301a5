"""What must hold of every prediction, whatever the constants: sums, orders, caps, and bands that widen."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog import load_catalog
from catalog.schema import Gpu, WeightFormat
from optimizer.memory import ReplicaMemory, replica_memory
from optimizer.performance import (
    LIMITS,
    ReplicaPerformance,
    TokenMix,
    estimate_performance,
    open_replicas,
    replica_performance,
)
from optimizer.performance.work import output_held_fraction
from optimizer.scenario.targets import METRICS
from optimizer.serving_config import Configurations, FloatArray, Links, one_configuration

MODELS = (
    "Qwen/Qwen3-8B", "Qwen/Qwen3-235B-A22B", "deepseek-ai/DeepSeek-V3", "google/gemma-3-27b-it",
    "openai/gpt-oss-120b", "Qwen/Qwen3-Next-80B-A3B-Instruct",
)  # fmt: skip
"""Dense, experts, latent attention, sliding windows, both, and recurrent layers."""
ENGINES = ("vllm", "sglang", "trtllm")
CATALOG = load_catalog()
GPUS = tuple(CATALOG.gpus[name] for name in ("t4", "l4", "a100-80gb-sxm", "h100-sxm", "b200-sxm", "mi300x", "rtx-4090"))
WEIGHTS = tuple(CATALOG.formats[name] for name in ("bf16", "fp8", "awq-int4"))
KV = tuple(CATALOG.kv_formats[name] for name in ("auto", "fp8"))
CLASSES = TokenMix(
    ("short", "long"),
    np.array([0.7, 0.3]),
    np.array([300.0, 3000.0]),
    np.array([100.0, 500.0]),
    prefix_hit_fraction=0.2,
)


def one_class(input_tokens: float, output_tokens: float, prefix_hit_fraction: float = 0.0) -> TokenMix:
    return TokenMix(
        ("all",), np.ones(1), np.array([float(input_tokens)]), np.array([float(output_tokens)]), prefix_hit_fraction
    )


def many(model: str, engine: str, n: int = 300) -> Configurations:
    """n random ways to run a model, most of which fit no card: the laws hold of those too."""
    random = np.random.default_rng(1)
    draw = [random.integers(0, len(kinds), n) for kinds in (GPUS, WEIGHTS, KV)]
    tp, pp, dp = (random.choice(degrees, n) for degrees in ([1, 2, 4, 8], [1, 1, 2], [1, 1, 2]))
    return Configurations(
        CATALOG.models[model], CATALOG.engines[engine], None, GPUS, WEIGHTS, KV, *draw, tp, pp, dp, np.ones(n, np.int64)
    )


def predict(
    configurations: Configurations, mix: TokenMix, concurrency: float | None
) -> tuple[ReplicaMemory, ReplicaPerformance]:
    memory = replica_memory(configurations, max_model_len=8192, max_num_seqs=512)
    in_flight = None if concurrency is None else np.full(len(configurations), float(concurrency))
    return memory, replica_performance(configurations, memory, mix, in_flight, CATALOG.calibration)


def single(model: str, gpu: str, weights: str = "bf16", engine: str = "vllm", **degrees: int) -> Configurations:
    return one_configuration(
        CATALOG.models[model], CATALOG.engines[engine], None, CATALOG.gpus[gpu], CATALOG.formats[weights],
        CATALOG.kv_formats["auto"], **degrees,
    )  # fmt: skip


def never_less(first: FloatArray, second: FloatArray) -> bool:
    """Whether no number of the second is below its partner, but for rounding."""
    return bool((second >= first * (1 - 1e-9)).all())


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model", MODELS)
def test_parts_sum_to_the_time_they_explain(model: str, engine: str) -> None:
    for concurrency in (1.0, 48.0, 2000.0):
        _, found = predict(many(model, engine), CLASSES, concurrency)
        assert all((part >= 0).all() for part in (*found.parts.values(), *found.ttft_parts.values()))
        np.testing.assert_allclose(sum(found.parts.values()), found.tpot_ms[:, 0], rtol=1e-9)
        np.testing.assert_allclose(sum(found.ttft_parts.values()), found.ttft_ms @ CLASSES.share, rtol=1e-9)


@pytest.mark.parametrize("model", MODELS)
def test_classes_share_a_replica_by_time(model: str) -> None:
    """Little: requests in flight = total rate × mean time in the system, where 1 / total = Σ share / rate."""
    for concurrency in (1.0, 48.0, 2000.0):
        memory, found = predict(many(model, "vllm"), CLASSES, concurrency)
        fits = memory.fits
        total_rps = 1.0 / (CLASSES.share / found.rate_rps).sum(axis=1)
        in_system_s = found.e2e_ms @ CLASSES.share / 1000.0
        np.testing.assert_allclose((total_rps * in_system_s)[fits], concurrency, rtol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model", MODELS)
def test_the_batch_is_what_there_is_what_memory_holds_or_what_the_flag_allows(model: str, engine: str) -> None:
    configurations = many(model, engine)
    for concurrency in (4.0, 10_000.0, None):
        memory, found = predict(configurations, CLASSES, concurrency)
        held = memory.concurrency(CLASSES.resident_tokens(output_held_fraction(configurations, CATALOG.calibration)))
        ceiling = np.maximum(np.minimum(held, memory.max_num_seqs * configurations.dp), 1.0)
        assert (found.batch <= ceiling * (1 + 1e-9)).all()
        by = np.array(LIMITS)[found.limit]
        np.testing.assert_allclose(found.batch[by != "concurrency"], ceiling[by != "concurrency"])
        if concurrency is None:
            assert "concurrency" not in by
        else:
            assert (found.batch[by == "concurrency"] == concurrency).all()


@pytest.mark.parametrize("model", MODELS)
def test_percentiles_are_ordered_and_surround_the_mean(model: str) -> None:
    configurations = many(model, "vllm")
    memory, _ = predict(configurations, CLASSES, 32.0)
    places = np.full(len(configurations), 32.0)
    for load in (0.01, 0.5, 0.9):
        at = open_replicas(configurations, memory, CLASSES, places, CATALOG.calibration).at(load * places)
        for metric in METRICS:
            p50, p90, p95, p99 = (at.statistic(metric, statistic) for statistic in ("p50", "p90", "p95", "p99"))
            assert (p50 <= p90).all()
            assert (p90 <= p95).all()
            assert (p95 <= p99).all()
            assert (at.statistic(metric, "mean") <= p99 * (1 + 1e-9)).all()


@pytest.mark.parametrize("engine", [*ENGINES, "llamacpp"])
def test_intervals_contain_the_mean(engine: str) -> None:
    _, found = predict(many("Qwen/Qwen3-8B", engine), CLASSES, 32.0)
    for (low, high), mean in ((found.ttft_interval_ms, found.ttft_ms), (found.tpot_interval_ms, found.tpot_ms)):
        assert (low > 0).all()
        assert (low <= mean).all()
        assert (mean <= high).all()


@settings(max_examples=60, deadline=None)
@given(
    model=st.sampled_from(MODELS), gpu=st.sampled_from(GPUS), weights=st.sampled_from(WEIGHTS),
    concurrency=st.integers(1, 300), times=st.floats(1.0, 4.0), tp=st.sampled_from([1, 2, 4]),
)  # fmt: skip
def test_more_bandwidth_is_never_slower(
    model: str, gpu: Gpu, weights: WeightFormat, concurrency: int, times: float, tp: int
) -> None:
    faster = gpu.model_copy(update={"memory_bandwidth_gb_per_s": gpu.memory_bandwidth_gb_per_s * times})
    slow, fast = (
        predict(
            one_configuration(
                CATALOG.models[model], CATALOG.engines["vllm"], None, card, weights, KV[0], tp=tp
            ),
            CLASSES, concurrency,
        )[1]
        for card in (gpu, faster)
    )  # fmt: skip
    assert never_less(fast.tpot_ms, slow.tpot_ms)
    assert never_less(fast.ttft_ms, slow.ttft_ms)
    assert never_less(slow.rate_rps, fast.rate_rps)


@pytest.mark.parametrize("model", MODELS)
def test_more_ranks_never_read_or_multiply_longer(model: str) -> None:
    """Collectives may cost more than tensor parallelism gains; a rank's own share of the work never grows."""
    one_by_tp = [predict(single(model, "h100-sxm", tp=tp), CLASSES, 1.0)[1] for tp in (1, 2, 4, 8)]
    for fewer, more in pairwise(one_by_tp):
        for part in ("weights", "kv", "compute"):
            assert never_less(more.parts[part], fewer.parts[part])


def test_tensor_parallelism_over_fast_links_makes_a_large_model_faster() -> None:
    tpot_ms = [
        predict(single("meta-llama/Llama-3.1-70B-Instruct", "h100-sxm", "fp8", tp=tp), CLASSES, 1.0)[1].tpot_ms[0, 0]
        for tp in (1, 2, 4, 8)
    ]
    assert tpot_ms == sorted(tpot_ms, reverse=True)


@settings(max_examples=80, deadline=None)
@given(
    model=st.sampled_from(MODELS), gpu=st.sampled_from(["h100-sxm", "a100-80gb-sxm", "l4"]),
    concurrency=st.integers(1, 200), tokens=st.integers(16, 6000), more=st.integers(0, 20_000),
)  # fmt: skip
def test_longer_prompts_are_never_faster(model: str, gpu: str, concurrency: int, tokens: int, more: int) -> None:
    short, long = (
        predict(single(model, gpu, tp=8), one_class(input_tokens, 200), concurrency)[1]
        for input_tokens in (tokens, tokens + more)
    )
    assert never_less(short.ttft_ms, long.ttft_ms)
    assert never_less(short.e2e_ms, long.e2e_ms)
    assert never_less(long.rate_rps, short.rate_rps)
    alone = [
        predict(single(model, gpu, tp=8), one_class(input_tokens, 200), 1)[1].tpot_ms
        for input_tokens in (tokens, tokens + more)
    ]
    assert never_less(*alone)


@settings(max_examples=40, deadline=None)
@given(model=st.sampled_from(MODELS), concurrency=st.integers(1, 200), hit=st.floats(0, 1), more=st.floats(0, 1))
def test_a_larger_prefix_hit_is_never_slower(model: str, concurrency: int, hit: float, more: float) -> None:
    low, high = sorted((hit, more))
    cold, warm = (
        predict(single(model, "h100-sxm", tp=8), one_class(4000, 200, part), concurrency)[1] for part in (low, high)
    )
    assert never_less(warm.ttft_ms, cold.ttft_ms)
    assert never_less(cold.rate_rps, warm.rate_rps)


@settings(max_examples=80, deadline=None)
@given(
    model=st.sampled_from(MODELS), gpu=st.sampled_from(["h100-sxm", "a100-80gb-sxm", "l4"]),
    pp=st.sampled_from([1, 2]), concurrency=st.integers(1, 400), more=st.integers(0, 400),
)  # fmt: skip
def test_more_requests_in_flight_carry_more_and_wait_longer(
    model: str, gpu: str, pp: int, concurrency: int, more: int
) -> None:
    """A step grows by less than its batch: weights are read once for all, and nothing grows faster than linearly.

    What grows is the rate of the mix; of one class alone, which a long queue delays by more than others, it need not.
    """
    few, more_ = (
        predict(single(model, gpu, "fp8" if gpu != "a100-80gb-sxm" else "bf16", tp=8, pp=pp), CLASSES, n)[1]
        for n in (concurrency, concurrency + more)
    )
    assert never_less(few.tpot_ms, more_.tpot_ms)
    assert never_less(few.ttft_ms, more_.ttft_ms)
    assert never_less(*(1.0 / (CLASSES.share / served.rate_rps).sum(axis=1) for served in (few, more_)))


def width(interval_ms: FloatArray) -> float:
    low, high = interval_ms[:, 0, 0]
    return float(np.log(high / low))


@pytest.mark.parametrize(
    ("gpu", "pp", "concurrency"),
    [("h100-sxm", 2, 32), ("tpu-v6e", 1, 32), ("h100-sxm", 1, 200_000)],
    ids=["a pipeline", "a generation of cards", "a crowd"],
)
def test_beyond_what_was_measured_the_band_widens_and_says_so(gpu: str, pp: int, concurrency: int) -> None:
    def at(configurations: Configurations, in_flight: float) -> ReplicaPerformance:
        roomy = replica_memory(configurations, max_model_len=64, max_num_seqs=10**6, gpu_memory_gib=80_000.0)
        return replica_performance(configurations, roomy, one_class(16, 16), np.array([in_flight]), CATALOG.calibration)

    inside = at(single("Qwen/Qwen3-8B", "h100-sxm", "fp8"), 32.0)
    assert inside.bands.extrapolated(0) == ()
    outside = at(single("Qwen/Qwen3-8B", gpu, "fp8", pp=pp), float(concurrency))
    assert outside.bands.extrapolated(0)
    assert width(outside.tpot_interval_ms) > width(inside.tpot_interval_ms)
    assert width(outside.ttft_interval_ms) > width(inside.ttft_interval_ms)


@pytest.mark.parametrize("model", MODELS)
def test_many_at_once_are_many_one_by_one(model: str) -> None:
    configurations = many(model, "vllm", n=60)
    _, together = predict(configurations, CLASSES, 40.0)
    for row in range(0, 60, 7):
        _, alone = predict(configurations.take(np.array([row])), CLASSES, 40.0)
        for name in ("batch", "rate_rps", "ttft_ms", "tpot_ms", "e2e_ms", "limit"):
            np.testing.assert_allclose(getattr(together, name)[row], getattr(alone, name)[0], rtol=1e-12)
        np.testing.assert_allclose(together.tpot_interval_ms[:, row], alone.tpot_interval_ms[:, 0], rtol=1e-12)
        assert together.parts.keys() == alone.parts.keys()


def test_one_replica_asked_for_by_name_is_the_same_arithmetic() -> None:
    asked = estimate_performance(
        CATALOG, model="Qwen/Qwen3-8B", gpu="h100-sxm", weight_dtype="fp8", input_tokens=700, output_tokens=90,
        concurrency=12, max_num_seqs=512,
    )  # fmt: skip
    configuration = single("Qwen/Qwen3-8B", "h100-sxm", "fp8")
    memory = replica_memory(configuration, max_model_len=790, max_num_seqs=512)
    found = replica_performance(configuration, memory, one_class(700, 90), np.array([12.0]), CATALOG.calibration)
    assert asked.tpot_ms == pytest.approx(found.tpot_ms[0, 0])
    assert asked.ttft_ms == pytest.approx(found.ttft_ms[0, 0])
    assert asked.requests_per_s == pytest.approx(found.rate_rps[0, 0])
    assert asked.output_tokens_per_s == pytest.approx(90 * asked.requests_per_s)


@pytest.mark.parametrize("engine", ENGINES)
def test_ranks_wait_less_for_each_other_over_a_fast_link_than_over_pcie(engine: str) -> None:
    """Every card that has one, in pairs, beside the same cards in a server without it: from one request on."""
    linked = tuple(gpu for gpu in CATALOG.gpus.values() if gpu.link_gb_per_s is not None and gpu.link_domain_gpus > 1)
    n = 2 * len(linked)
    bare = Links(1, between_servers=False, network_gb_per_s=None)
    formats = np.array([0 if gpu.tflops.bf16 else 1 for gpu in linked])
    two, one = np.full(n, 2), np.ones(n, np.int64)
    pairs = Configurations(
        CATALOG.models["Qwen/Qwen3-8B"], CATALOG.engines[engine], None, linked * 2,
        (CATALOG.formats["bf16"], CATALOG.formats["fp16"]), KV[:1], np.arange(n), np.tile(formats, 2),
        np.zeros(n, np.int64), two, one, one, one, links=(None,) * len(linked) + (bare,) * len(linked),
    )  # fmt: skip
    for concurrency in (1.0, 64.0):
        _, found = predict(pairs, CLASSES, concurrency)
        for waited in (found.parts["all_reduce"], found.tpot_ms[:, 0], found.ttft_parts["prefill"]):
            fast, pcie = waited[: len(linked)], waited[len(linked) :]
            assert (fast < pcie).all(), [gpu.id for gpu, late in zip(linked, fast >= pcie, strict=True) if late]
