"""Predictions with steps from measured kernels: what the tables say, read between their points, and what they lack."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from catalog import Catalog
from catalog.architecture import architecture_of
from catalog.errors import InputError
from catalog.schema.calibration import Residual
from optimizer.performance import PerformanceEstimate, estimate_performance, silicon, times_known
from optimizer.performance.kernel_tables import BATCHES, TOKENS
from optimizer.performance.silicon import Silicon, silicon_times
from optimizer.serving_config import Configurations, one_configuration


def estimate(catalog: Catalog, **changes: Any) -> PerformanceEstimate:
    question: dict[str, Any] = {"model": "Qwen/Qwen3-8B", "gpu": "h100-sxm", "weight_dtype": "fp8", "concurrency": 1,
                                "input_tokens": 1000, "output_tokens": 500, "performance": "silicon"}  # fmt: skip
    return estimate_performance(catalog, **{**question, **changes})


def configuration(catalog: Catalog, *, gpu: str = "h100-sxm", **degrees: int) -> Configurations:
    return one_configuration(
        catalog.models["Qwen/Qwen3-8B"], catalog.engines["vllm"], None, catalog.gpus[gpu], catalog.formats["bf16"],
        catalog.kv_formats["auto"], **degrees,
    )  # fmt: skip


@pytest.mark.usefixtures("silicon_tables")
def test_steps_and_prefills_are_those_of_the_tables(catalog: Catalog) -> None:
    # Alone at 1000 tokens and half of 500 of context: 10 + 0.01 × 1.25 ms. A prefill is 4 + 0.05 × 1000 ms
    one = estimate(catalog)
    assert one.tpot_ms == pytest.approx(10.0125, rel=1e-3)
    assert one.ttft_parts["prefill"] == pytest.approx(54.0)
    assert sum(one.parts.values()) == pytest.approx(one.tpot_ms)
    assert one.source == "shipped-2026-11 with steps of aiconfigurator-core 0.12.9"
    assert estimate(catalog, performance="calibrated").source == "shipped-2026-11"


def tpot_residual(catalog: Catalog) -> Residual:
    """Of the tables, for vLLM on Hopper."""
    assert catalog.calibration.silicon is not None
    (found,) = [
        one for one in catalog.calibration.silicon.residuals
        if (one.metric, one.engine, one.generation) == ("tpot", "vllm", "hopper")
    ]  # fmt: skip
    return found


@pytest.mark.usefixtures("silicon_tables")
def test_bands_are_those_of_the_tables_errors(catalog: Catalog) -> None:
    band, one = tpot_residual(catalog), estimate(catalog)
    assert one.tpot_interval_ms == pytest.approx((band.low * one.tpot_ms, band.high * one.tpot_ms))


@pytest.mark.usefixtures("silicon_tables")
def test_steps_never_get_shorter_as_the_batch_grows(catalog: Catalog) -> None:
    # The tables have batches of 8 faster than those of 4, by noise
    times = silicon_times(configuration(catalog), catalog.calibration)
    assert (np.diff(times.decode_ms, axis=1) >= 0).all()
    assert (np.diff(times.decode_ms, axis=2) >= 0).all()


def test_times_are_straight_between_the_points_of_the_tables_and_beyond_them() -> None:
    # 5 + 2·b + 3·b·t at every point, so that it is the same everywhere from the shortest context on
    def step(batch: Any, tokens: Any) -> Any:
        return 5.0 + 2.0 * batch + 3.0 * batch * tokens

    times = Silicon(step(BATCHES[None, :, None], TOKENS[None, None, :]), np.zeros((1, len(TOKENS))))
    batches, contexts = np.array([1.0, 3.0, 100.0, 3000.0]), np.array([64.0, 700.0, 300_000.0, 1500.0])
    assert times._decode_ms(batches, contexts) == pytest.approx(step(batches, contexts))


@pytest.mark.usefixtures("silicon_tables")
def test_confidence_makes_all_times_longer_by_the_tables_own_errors(catalog: Catalog) -> None:
    # At 90 % the margin is the upper end of the 80 % band itself
    sure = catalog.calibration.model_copy(update={"performance": "silicon", "confidence_fraction": 0.9})
    plain = catalog.calibration.model_copy(update={"performance": "silicon"})
    longer = (
        silicon_times(configuration(catalog), sure).decode_ms / silicon_times(configuration(catalog), plain).decode_ms
    )
    assert longer == pytest.approx(tpot_residual(catalog).high)


def test_each_model_has_its_own_handle_and_is_tabulated_once(catalog: Catalog, silicon_tables: list[Any]) -> None:
    for concurrency in (1, 8, 64):
        estimate(catalog, concurrency=concurrency)
    assert estimate(catalog, model="Qwen/Qwen3-32B").tpot_ms == pytest.approx(2 * estimate(catalog).tpot_ms, rel=0.001)
    assert silicon_tables == [
        ("Qwen3-8B", "h100_sxm", "vllm", "fp8", None),
        ("Qwen3-32B", "h100_sxm", "vllm", "fp8", None),
    ]


def test_near_kernels_stand_in_for_those_without_figures(catalog: Catalog, silicon_tables: list[Any]) -> None:
    estimate(catalog, model="Qwen/Qwen3-30B-A3B")  # blocks for experts quantized whole
    estimate(catalog, model="meta-llama/Llama-3.1-8B-Instruct", weight_dtype="bf16")  # attention in 16 bit
    modes = [(products, attention) for _, _, _, products, attention in silicon_tables]
    assert modes == [
        ("fp8", None),
        ("fp8", "bfloat16"),
        ("fp8_block", None),
        ("bfloat16", None),
        ("bfloat16", "bfloat16"),
    ]


@pytest.mark.usefixtures("silicon_tables")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gpu": "rtx-4090"}, "do not know card rtx-4090"),
        ({"engine": "llamacpp", "weight_dtype": "gguf-q8_0"}, "do not know engine llamacpp"),
        ({"weight_dtype": "int8"}, "do not know weight format int8"),
        ({"model": "google/gemma-3-27b-it"}, "do not know model google/gemma-3-27b-it"),
        (
            {"model": "Qwen/Qwen3-14B"},
            "have no figures for Qwen/Qwen3-14B in fp8 on h100_sxm .*: 'no rows for this model'",
        ),
        ({"speculative": "ngram", "acceptance_fraction": 0.5}, "say nothing of drafted tokens"),
    ],
)
def test_what_the_tables_do_not_hold_is_refused(changes: dict[str, Any], message: str, catalog: Catalog) -> None:
    with pytest.raises(InputError, match=message):
        estimate(catalog, **changes)


@pytest.mark.usefixtures("silicon_tables")
def test_each_configuration_is_known_or_not(catalog: Catalog) -> None:
    calibration = catalog.calibration.model_copy(update={"performance": "silicon"})
    assert times_known(configuration(catalog), calibration).tolist() == [True]
    assert times_known(configuration(catalog, gpu="rtx-4090"), calibration).tolist() == [False]
    assert times_known(configuration(catalog, gpu="rtx-4090"), catalog.calibration).tolist() == [True]


@pytest.mark.usefixtures("no_silicon")
def test_without_the_extra_it_says_how_to_install_it(catalog: Catalog) -> None:
    with pytest.raises(InputError, match=r"pip install 'gpuplan\[silicon\]'"):
        estimate(catalog)


@pytest.mark.usefixtures("silicon_tables")
def test_a_calibration_that_knows_no_errors_of_the_tables_is_refused(catalog: Catalog) -> None:
    bare = catalog.calibration.model_copy(update={"performance": "silicon", "silicon": None})
    with pytest.raises(InputError, match="does not say how far silicon tables are off"):
        _ = bare.residuals_in_use


def test_models_under_another_name_have_the_same_shapes(catalog: Catalog) -> None:
    pairs = [(ours, same) for ours, same in silicon.SAME_SHAPES.items() if same in catalog.models]
    assert pairs
    for ours, same in pairs:
        mine, other = architecture_of(catalog.models[ours]), architecture_of(catalog.models[same])
        assert (mine.parameters, mine.n_heads, mine.n_kv_heads) == (other.parameters, other.n_heads, other.n_kv_heads)
        assert mine.layers == other.layers, ours


def test_every_card_engine_and_format_of_the_tables_is_one_of_the_catalog(catalog: Catalog) -> None:
    assert set(silicon.SYSTEMS) <= set(catalog.gpus)
    assert set(silicon.ENGINES) <= set(catalog.engines)
    assert set(silicon.WEIGHTS) <= set(catalog.formats)
    assert set(silicon.CACHES) <= set(catalog.kv_formats)
    assert set(silicon.SAME_SHAPES) <= set(catalog.models)


@pytest.mark.skipif(find_spec("aiconfigurator_core") is None, reason="needs pip install 'gpuplan[silicon]'")
def test_the_package_itself_times_a_known_model(catalog: Catalog, tmp_path: Any, monkeypatch: Any) -> None:
    # Qwen3-32B in fp8 over two H100: 16 GB of weights each take 5 ms to read at rated speed, and real steps about twice
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    one = estimate(catalog, model="Qwen/Qwen3-32B", tp=2)
    assert 5.0 < one.tpot_ms < 20.0
