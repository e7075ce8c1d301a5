"""Stages that differ, each rated as if all were like it."""

from __future__ import annotations

import numpy as np
import pytest

from catalog import Catalog
from optimizer.memory import replica_memory
from optimizer.performance import TokenMix
from optimizer.performance.capacity import open_replicas
from optimizer.performance.open_loop import OpenLoop
from optimizer.performance.pipeline import slowest_stages, stage_replicas
from optimizer.performance.tables import span_tables, tables_of
from optimizer.serving_config import Configurations, Links, one_configuration

MIX = TokenMix(("all",), np.ones(1), np.array([1000.0]), np.array([300.0]), 0.0)
MODELS = ("Qwen/Qwen3-14B", "Qwen/Qwen3-30B-A3B", "google/gemma-3-27b-it", "deepseek-ai/DeepSeek-V3")


def configuration(catalog: Catalog, model: str, pp: int = 2) -> Configurations:
    return one_configuration(
        catalog.models[model], catalog.engines["vllm"], None, catalog.gpus["a100-80gb-sxm"], catalog.formats["fp8"],
        catalog.kv_formats["auto"], tp=4, pp=pp, links=Links(None, True, None),
    )  # fmt: skip


def of_stages(c: Configurations, catalog: Catalog, spans: list[tuple[int, int]]) -> OpenLoop:
    n = len(spans)
    rows, budget, places = c.take(np.zeros(n, np.int64)), np.full(n, 2048), np.full(n, 32.0)
    return stage_replicas(rows, np.array(spans), budget, MIX, places, catalog.calibration).at(np.full(n, 16.0))


@pytest.mark.parametrize("model", MODELS)
def test_a_span_of_all_layers_is_the_model(model: str, catalog: Catalog) -> None:
    of = catalog.models[model]
    formats = (catalog.formats["bf16"], catalog.formats["fp8"])
    every = np.array([[0, of.n_layers - 1]] * 2)
    spanned, whole = span_tables(of, formats, np.array([0, 1]), every, np.ones(2, np.int64)), tables_of(of, formats)
    for field in ("weight_bytes", "quantized_flops", "plain_flops"):
        np.testing.assert_allclose(getattr(spanned, field), getattr(whole, field))
    for field in ("layers", "moe_layers", "latent_layers", "recurrent_layers"):
        np.testing.assert_array_equal(getattr(spanned, field), getattr(whole, field))


@pytest.mark.parametrize("model", MODELS)
def test_the_mean_of_even_stages_is_the_ordinary_pipeline(model: str, catalog: Catalog) -> None:
    # One has the head and the other has not, and a layer more or less; both together are the model, and so their mean.
    c = configuration(catalog, model)
    middle = c.model.n_layers // 2
    stages = of_stages(c, catalog, [(0, middle - 1), (middle, c.model.n_layers - 1)])
    memory = replica_memory(c, max_model_len=2048, max_num_seqs=32, max_num_batched_tokens=2048)
    whole = open_replicas(c, memory, MIX, np.array([32.0]), catalog.calibration).at(np.array([16.0]))
    assert stages.tpot_ms.mean() == pytest.approx(whole.tpot_ms[0], rel=0.005)
    assert stages.tpot_ms.max() >= whole.tpot_ms[0] * (1 - 1e-9)  # the slowest sets the pace


def test_a_stage_with_more_layers_is_slower(catalog: Catalog) -> None:
    c = configuration(catalog, "Qwen/Qwen3-14B")
    tpot_ms = of_stages(c, catalog, [(1, n) for n in (5, 10, 20, 30)]).tpot_ms
    assert (np.diff(tpot_ms) > 0).all()


def test_the_slowest_stage_is_the_one_that_carries_least_of_the_mix() -> None:
    # Busy by one request: 0.5/1 + 0.5/4 = 0.625 and 0.5/2 + 0.5/2 = 0.5; then 1/1 and 1/3; the last lacks a class.
    rates = np.array([[1.0, 4.0], [2.0, 2.0], [1.0, 1.0], [3.0, 3.0], [9.0, 0.0]])
    share, replica = np.array([0.5, 0.5]), np.array([0, 0, 1, 1, 2])
    assert slowest_stages(rates, share, replica).tolist() == [0, 2, 4]


def test_rows_of_their_own_are_not_taken(catalog: Catalog) -> None:
    from optimizer.performance.work import Bench

    c = configuration(catalog, "Qwen/Qwen3-14B")
    tables = span_tables(c.model, c.weight_formats, c.weight_format, np.array([[0, 9]]), c.pp)
    with pytest.raises(AssertionError, match="rows of their own"):
        Bench.of(c, catalog.calibration, tables).take(np.array([0]))
