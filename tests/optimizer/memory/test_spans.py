"""Memory of one pipeline stage with any layers: that of the ordinary stage where the layers are the same."""

from __future__ import annotations

import numpy as np
import pytest

from catalog import Catalog
from optimizer.memory import ReplicaMemory, replica_memory
from optimizer.memory.stages import layers_per_stage, stages_of_spans
from optimizer.serving_config import Configurations, one_configuration

MODELS = ("Qwen/Qwen3-14B", "Qwen/Qwen3-30B-A3B", "google/gemma-3-27b-it", "deepseek-ai/DeepSeek-V3")


def configuration(
    catalog: Catalog, model: str, tp: int = 4, pp: int = 2, engine: str = "vllm", weights: str = "fp8"
) -> Configurations:
    return one_configuration(
        catalog.models[model], catalog.engines[engine], None, catalog.gpus["h200-sxm"], catalog.formats[weights],
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


@pytest.mark.parametrize("model", ["Qwen/Qwen3-14B", "meta-llama/Llama-3.2-3B-Instruct"])
def test_llamacpp_keeps_the_embedding_on_the_host_and_the_output_matrix_on_the_last_device(
    model: str, catalog: Catalog
) -> None:
    # `dev_input` is the CPU, `dev_output` the device of the layer behind the last (src/llama-model.cpp, load_tensors);
    # a tied embedding is loaded there once more. 151,936 × 5,120 weights, and 128,256 × 3,072 tied ones, in 16 bit.
    c = configuration(catalog, model, tp=1, pp=4, engine="llamacpp", weights="fp16")
    n = c.model.n_layers
    parts = of_spans(c, [(0, 6), (7, 13), (n - 7, n - 1)])
    first, middle, last = parts.weights_gib
    assert first == middle
    assert last - middle == pytest.approx(c.model.vocab_size * c.model.hidden_size * 2 / 2**30, rel=1e-3)
    of_outputs = c.model.vocab_size + c.model.hidden_size  # logits of a micro-batch, and what they are made of
    assert parts.activation_gib[2] == pytest.approx(512 * of_outputs * 4 / 2**30)
    assert parts.activation_gib[0] == parts.activation_gib[1] < parts.activation_gib[2]
    assert (parts.kv_bytes_per_token == parts.kv_bytes_per_token[0]).all()  # seven layers each


@pytest.mark.parametrize("model", ["Qwen/Qwen3-14B", "meta-llama/Llama-3.2-3B-Instruct", "Qwen/Qwen3-30B-A3B"])
def test_llamacpp_stages_together_hold_what_one_card_would(model: str, catalog: Catalog) -> None:
    c = configuration(catalog, model, tp=1, pp=3, engine="llamacpp", weights="gguf-q8_0")
    n = c.model.n_layers
    stages = of_spans(c, [(0, 4), (5, n - 4), (n - 3, n - 1)])
    alone = configuration(catalog, model, tp=1, pp=1, engine="llamacpp", weights="gguf-q8_0")
    whole = replica_memory(alone, max_model_len=8192, max_num_seqs=64)
    assert stages.weights_gib.sum() == pytest.approx(whole.weights_gib[0])
    assert stages.kv_bytes_per_token.sum() == pytest.approx(whole.kv_bytes_per_token[0])


def test_a_stage_without_a_layer_that_caches_holds_any_number_of_requests(catalog: Catalog) -> None:
    # Nemotron-H alternates: layer 1 is a feed-forward layer and keeps neither keys nor states.
    c = configuration(catalog, "nvidia/NVIDIA-Nemotron-Nano-9B-v2", tp=1)
    stage = of_spans(c, [(1, 1)])
    assert stage.fits.all()
    assert stage.kv_bytes_per_token[0] == stage.state_bytes_per_sequence[0] == 0.0
    assert stage.max_concurrency[0] == np.inf
    assert stage.kv_cache_tokens[0] == 0
