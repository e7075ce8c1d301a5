"""Stages that differ: each rated as if all were like it, or all of a replica in turn."""

from __future__ import annotations

import numpy as np
import pytest

from catalog import Catalog
from optimizer.memory import replica_memory
from optimizer.performance import TokenMix
from optimizer.performance.capacity import open_replicas
from optimizer.performance.open_loop import OpenLoop
from optimizer.performance.pipeline import StagesInTurn, pipeline_replicas, slowest_stages, stage_replicas
from optimizer.performance.tables import span_tables, tables_of
from optimizer.serving_config import Configurations, Links, one_configuration

MIX = TokenMix(("all",), np.ones(1), np.array([1000.0]), np.array([300.0]), 0.0)
MODELS = ("Qwen/Qwen3-14B", "Qwen/Qwen3-30B-A3B", "google/gemma-3-27b-it", "deepseek-ai/DeepSeek-V3")


def configuration(
    catalog: Catalog, model: str, pp: int = 2, tp: int = 4, engine: str = "vllm", weights: str = "fp8"
) -> Configurations:
    return one_configuration(
        catalog.models[model], catalog.engines[engine], None, catalog.gpus["a100-80gb-sxm"], catalog.formats[weights],
        catalog.kv_formats["auto"], tp=tp, pp=pp, links=Links(None, True, None),
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


def in_turn(catalog: Catalog, spans: list[tuple[int, int]], replica: list[int], pp: int = 2) -> OpenLoop:
    """Of every row its replica on llama.cpp."""
    c = configuration(catalog, "Qwen/Qwen3-14B", pp, tp=1, engine="llamacpp", weights="gguf-q8_0")
    rows = c.take(np.zeros(len(spans), np.int64))
    budget, places = np.full(len(spans), 512), np.full(len(spans), 8.0)
    replicas = pipeline_replicas(rows, np.array(spans), np.array(replica), budget, MIX, places, catalog.calibration)
    return replicas.at(np.full(len(spans), 4.0))


def test_even_stages_that_take_turns_are_the_ordinary_pipeline_of_such_an_engine(catalog: Catalog) -> None:
    c = configuration(catalog, "Qwen/Qwen3-14B", 2, tp=1, engine="llamacpp", weights="gguf-q8_0")
    memory = replica_memory(c, max_model_len=2048, max_num_seqs=8, max_num_batched_tokens=512)
    whole = open_replicas(c, memory, MIX, np.array([8.0]), catalog.calibration).at(np.array([4.0]))
    stages = in_turn(catalog, [(0, 19), (20, 39)], [0, 0])
    assert stages.tpot_ms == pytest.approx([whole.tpot_ms[0]] * 2, rel=1e-3)
    for metric in ("ttft", "tpot", "e2e"):
        assert stages.statistic(metric, "p95")[0] == pytest.approx(whole.statistic(metric, "p95")[0], rel=2e-3)


def test_where_stages_take_turns_one_border_is_as_good_as_another_on_like_cards(catalog: Catalog) -> None:
    # What one stage has less the other has more: the sum is the model whatever the split, unlike the slowest.
    tpot_ms = in_turn(catalog, [(0, 4), (5, 39), (0, 19), (20, 39)], [0, 0, 1, 1]).tpot_ms
    assert tpot_ms == pytest.approx([tpot_ms[0]] * 4, rel=0.01)


def test_an_engine_whose_stages_take_turns_gains_nothing_from_a_second_card(catalog: Catalog) -> None:
    # llama.cpp decodes no faster on two cards than on one that holds the model; vLLM halves what a full batch takes.
    per_batch_ms = {}
    for engine, weights in (("llamacpp", "gguf-q8_0"), ("vllm", "int8-w8a16")):
        for pp in (1, 2):
            c = configuration(catalog, "Qwen/Qwen3-14B", pp, tp=1, engine=engine, weights=weights)
            memory = replica_memory(c, max_model_len=2048, max_num_seqs=64, max_num_batched_tokens=2048)
            open_ = open_replicas(c, memory, MIX, np.array([64.0]), catalog.calibration)
            per_batch_ms[engine, pp] = float(open_.at(np.array([48.0])).tpot_ms[0])
    assert per_batch_ms["llamacpp", 2] > per_batch_ms["llamacpp", 1]
    assert per_batch_ms["vllm", 2] < 0.9 * per_batch_ms["vllm", 1]


def test_steps_in_turn_are_sums_over_the_stages_of_each_replica() -> None:
    class Linear:
        """1 ms a sequence for the first stage, 10 for the second …"""

        def __init__(self, slope: np.ndarray) -> None:
            self.slope = slope

        def ms(self, batch: np.ndarray) -> np.ndarray:
            return self.slope * batch

        def take(self, rows: np.ndarray) -> Linear:
            return Linear(self.slope[rows])

        @classmethod
        def together(cls, parts: tuple[Linear, ...]) -> Linear:
            return cls(np.concatenate([part.slope for part in parts]))

    step = StagesInTurn.of(Linear(np.array([1.0, 10.0, 2.0, 20.0, 200.0])), np.array([0, 0, 1, 1, 1]))
    assert step.ms(np.full(5, 3.0)).tolist() == [33.0, 33.0, 666.0, 666.0, 666.0]
    chosen = step.take(np.array([2, 0]))
    assert chosen.ms(np.array([1.0, 2.0])).tolist() == [222.0, 22.0]
    both = StagesInTurn.together([chosen, step.take(np.array([4]))])
    assert both.ms(np.ones(3)).tolist() == [222.0, 11.0, 222.0]


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
