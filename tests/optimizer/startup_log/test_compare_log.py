"""A log beside its prediction: agreement, the flag that explains a difference, and what must be asked for."""

from __future__ import annotations

import io

import pytest
from log_texts import LLAMACPP, LLAMACPP_SLOTS, LLAMACPP_SWA, LLAMACPP_TWO, SGLANG, TRTLLM, V0, VLLM, VLLM_LATER
from rich.console import Console

from catalog import Catalog
from catalog.errors import InputError
from optimizer.report.startup_log import log_report
from optimizer.startup_log import compare, read_log

H100 = {"gpu": "h100-sxm", "gpu_memory_gib": 79.19}


def test_a_log_as_predicted_agrees_in_every_line(catalog: Catalog) -> None:
    compared = compare(read_log(VLLM), catalog, H100)
    assert compared.question["model"] == "meta-llama/Llama-3.3-70B-Instruct"
    assert (compared.question["weight_dtype"], compared.question["tp"]) == ("fp8", 4)
    assert [line.name for line in compared.lines if not line.agrees] == []
    assert compared.explanations == ()


def test_a_peak_that_covers_graphs_is_predicted_with_them(catalog: Catalog) -> None:
    # 72.91 − 15.26 − 1.44 = 56.21 GiB: nothing else is taken off, so the graphs' estimate is in the 1.44
    compared = compare(read_log(VLLM_LATER), catalog, {"gpu": "a100-80gb-sxm"})
    assert [line.name for line in compared.lines if not line.agrees] == []
    (peak,) = [line for line in compared.lines if line.name == "activation_gib"]
    assert peak.predicted == compared.estimate.activation_gib + compared.estimate.cuda_graph_gib
    apart = compared.estimate.plus_minus_gib
    assert peak.plus_minus == pytest.approx((apart["activation"] ** 2 + apart["cuda_graph"] ** 2) ** 0.5)


def test_a_flag_that_the_log_does_not_state_is_named(catalog: Catalog) -> None:
    # Qwen2.5-7B of the same sweep at 95 %, its arguments cut off: 5 % of 79.19 GiB are missing from the pool
    cut = """\
vLLM API server version 0.19.0
Initializing a V1 LLM engine (v0.19.0) with config: model='Qwen/Qwen2.5-7B-Instruct', max_seq_len=8192
Model loading took 14.25 GiB memory and 4.2 seconds
Available KV cache memory: 58.53 GiB
GPU KV cache size: 1,096,000 tokens
"""
    compared = compare(read_log(cut), catalog, H100)
    best = compared.explanations[0]
    assert (best.flag, best.value) == ("gpu_memory_utilization", 0.95)


def test_a_flag_that_is_stated_explains_nothing(catalog: Catalog) -> None:
    log = read_log(VLLM.replace("54.09 GiB", "44.09 GiB").replace("54.11 GiB", "44.11 GiB"))
    compared = compare(log, catalog, H100)
    assert not all(line.agrees for line in compared.lines)
    assert "gpu_memory_utilization" not in {one.flag for one in compared.explanations}


def test_the_card_and_its_size_may_come_from_the_log(catalog: Catalog) -> None:
    asked = {"model": "Qwen/Qwen2.5-1.5B-Instruct", "gpu": "t4", "weight_dtype": "fp16", "engine_version": "0.7"}
    compared = compare(read_log(V0), catalog, asked)
    assert compared.question["gpu_memory_gib"] == 14.56
    by_name = {line.name: line for line in compared.lines}
    assert by_name["kv_cache_gib"].predicted == pytest.approx(2.36, abs=0.05)
    llamacpp = compare(read_log(LLAMACPP), catalog, {})
    assert (llamacpp.question["gpu"], llamacpp.question["weight_dtype"]) == ("rtx-3090", "gguf-q4_k_m")
    assert {line.name: line.predicted for line in llamacpp.lines}["kv_cache_gib"] == pytest.approx(1.5, rel=0.001)


def test_llamacpp_windows_take_whole_pieces_of_256_cells(catalog: Catalog) -> None:
    # 24 layers of 8 heads of 64, 2,048 B per token and layer: 12 x 131,072 cells = 3,072 MiB, and in 12 windows
    # 128 + 2,048 = 2,176 tokens -> 2,304 cells = 54 MiB
    compared = compare(read_log(LLAMACPP_SWA), catalog, {"gpu": "rtx-3090"})
    pool = {line.name: line for line in compared.lines}["kv_cache_gib"]
    assert pool.actual == (3072 + 54) / 1024
    assert pool.predicted == pytest.approx(pool.actual, rel=1e-9)


def test_llamacpp_is_compared_over_all_its_cards(catalog: Catalog) -> None:
    # 80 layers of 8,192 tokens of 4 KiB are 2,560 MiB, of which 64 MiB (two layers) lie in host memory
    compared = compare(read_log(LLAMACPP_TWO), catalog, {"gpu": "rtx-3090"})
    pool = {line.name: line for line in compared.lines}["kv_cache_gib"]
    assert (pool.predicted, pool.actual) == (pytest.approx(2.5), (2560 - 64) / 1024)
    assert {one.flag for one in compared.explanations}.isdisjoint({"tp", "gpu_memory_utilization", "engine_version"})
    said = io.StringIO()
    Console(file=said, width=200).print(log_report(compared))
    assert "only 78 of 81 layers on cards" in said.getvalue()
    assert "all cards together" in said.getvalue()
    assert "layers in host memory are not on the cards" in said.getvalue()
    with pytest.raises(InputError, match="over all its cards together"):
        compare(read_log(LLAMACPP_TWO), catalog, {"gpu": "rtx-3090", "tp": 2})


def test_llamacpp_slots_and_file_name_are_understood(catalog: Catalog) -> None:
    compared = compare(read_log(LLAMACPP_SLOTS), catalog, {})
    asked = compared.question
    assert asked["model"] == "meta-llama/Llama-3.2-1B-Instruct"
    assert (asked["max_num_seqs"], asked["max_model_len"]) == (10, 13_312)
    assert all(line.agrees for line in compared.lines)


def test_tensorrt_llm_is_compared_too(catalog: Catalog) -> None:
    compared = compare(read_log(TRTLLM), catalog, {"gpu": "h100-sxm"})
    assert (compared.question["engine"], compared.question["weight_dtype"]) == ("trtllm", "bf16")
    assert all(line.agrees for line in compared.lines)
    quantized = TRTLLM.replace("dtype='auto'", "quant_algo='FP8_BLOCK_SCALES'")
    assert compare(read_log(quantized), catalog, {"gpu": "h100-sxm"}).question["weight_dtype"] == "fp8-block"


def test_sglang_is_compared_too(catalog: Catalog) -> None:
    compared = compare(read_log(SGLANG), catalog, {"gpu": "l4"})
    assert all(line.agrees for line in compared.lines)


@pytest.mark.parametrize(
    ("text", "given", "words"),
    [
        (VLLM, {}, "add --gpu"),
        (VLLM.replace("Llama-3.3-70B", "Nobody-7B"), {"gpu": "h100-sxm"}, "is not in the catalog"),
        (V0, {"gpu": "t4"}, "does not name its model"),
        (SGLANG.replace("quantization=None", "quantization='quark'"), {"gpu": "l4"}, "add --weight-dtype"),
        (SGLANG.replace("#tokens", "tokens").replace("KV Cache", "cache").replace("Load weight end", "loaded")
         + "max_total_num_tokens=x Capture cuda graph end. mem usage=0.5 GB", {"gpu": "l4"}, ""),
    ],
)  # fmt: skip
def test_what_the_log_leaves_open_is_asked_for(catalog: Catalog, text: str, given: dict[str, str], words: str) -> None:
    if words:
        with pytest.raises(InputError, match=words):
            compare(read_log(text), catalog, given)
    else:
        assert [line.name for line in compare(read_log(text), catalog, given).lines] == ["cuda_graph_gib"]


def test_a_flag_that_would_leave_nothing_for_the_cache_explains_nothing(catalog: Catalog) -> None:
    # https://github.com/noonghunna/club-3090/issues/612, at the default fraction; 0.5 of the card would hold no weights
    log = """\
non-default args: {'model': '/models/qwen3.6', 'max_model_len': 131072, 'quantization': 'modelopt', \
'kv_cache_dtype': 'fp8', 'max_num_batched_tokens': 8192, 'max_num_seqs': 1}
Initializing a V1 LLM engine (v0.24.0) with config: model='/models/qwen3.6'
Available KV cache memory: 5.98 GiB
GPU KV cache size: 567,978 tokens
Maximum concurrency for 131,072 tokens per request: 4.33x
"""
    asked = {"model": "Qwen/Qwen3.6-35B-A3B", "weight_dtype": "nvfp4", "gpu": "rtx-5090"}
    best = compare(read_log(log), catalog, asked).explanations[0]
    assert (best.flag, best.value) == ("gpu_memory_utilization", 0.9)
