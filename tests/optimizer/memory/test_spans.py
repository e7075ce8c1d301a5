"""Memory of one pipeline stage with any layers: that of the ordinary stage where the layers are the same."""

from __future__ import annotations

import numpy as np
import pytest

from catalog import Catalog
from optimizer.memory import ReplicaMemory, replica_memory
from optimizer.memory.stages import layers_per_stage, stages_of_spans
from optimizer.serving_config import Configurations, one_configuration

MODELS = ("Qwen/Qwen3-14B", "Qwen/Qwen3-30B-A3B", "google/gemma-3-27b-it", "deepseek-ai/DeepSeek-V3")


def configuration(catalog: Catalog, model: str, tp: int = 4, pp: int = 2) -> Configurations:
    return one_configuration(
        catalog.models[model], catalog.engines["vllm"], None, catalog.gpus["h200-sxm"], catalog.formats["fp8"],
        catalog.kv_formats["auto"], tp=tp, pp=pp,
    )  # fmt: skip


def of_spans(c: Configurations, spans: list[tuple[int, int]]) -> ReplicaMemory:
    rows = c.take(np.zeros(len(spans), np.int64))
    return replica_memory(rows, max_model_len=8192, max_num_seqs=64, spans=np.array(spans))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("pp", [2, 4])
def test_the_fullest_of_even_spans_is_the_ordinary_replica(model: str, pp: int, catalog: Catalog) -> None:
    c = configuration(catalog, model, tp=8 if "DeepSeek" in model else 4, pp=pp)
    ends = np.cumsum(layers_per_stage(c.model.n_layers, pp)).tolist()
    stages = of_spans(c, list(zip([0, *ends[:-1]], [end - 1 for end in ends], strict=True)))
    whole = replica_memory(c, max_model_len=8192, max_num_seqs=64)
    fullest = int(stages.max_concurrency.argmin())
    assert stages.max_concurrency[fullest] == whole.max_concurrency[0]
    assert stages.kv_cache_tokens[fullest] == whole.kv_cache_tokens[0]
    assert stages.fits.all() == whole.fits[0]


def test_more_layers_take_more_and_the_ends_hold_the_vocabulary(catalog: Catalog) -> None:
    # Qwen3-14B has 151,936 × 5,120 weights in each of embedding and head, 1.449 GiB in 16 bit, a quarter on each rank.
    c = configuration(catalog, "Qwen/Qwen3-14B")
    first, middle, last, more = of_spans(c, [(0, 9), (10, 19), (30, 39), (10, 20)]).weights_gib
    vocabulary_gib = 151_936 * 5_120 * 2 / 2**30 / 4
    assert first - middle == pytest.approx(vocabulary_gib, abs=0.01)
    assert last - middle == pytest.approx(vocabulary_gib, abs=0.01)
    assert more > middle


def test_spans_that_hold_the_same_are_sized_once(catalog: Catalog) -> None:
    model = catalog.models["Qwen/Qwen3-14B"]
    stages, which = stages_of_spans(model, np.array([(1, 5), (11, 15), (0, 4), (35, 39)]))
    assert len(stages) == 3  # in the middle, with the embedding, with the head
    assert which[0] == which[1]
    assert [stage.n_layers for stage in stages] == [5, 5, 5]
