"""Start-up logs as pasted: colours, time stamps, ranks in any order, cut lines, and what is no log at all."""

from __future__ import annotations

import time

import pytest
from log_texts import LLAMACPP, LLAMACPP_CPU, LLAMACPP_TWO, SGLANG, TRTLLM, V0, VLLM

from catalog.errors import InputError
from optimizer.startup_log import read_log
from optimizer.startup_log.read import MOST_CHARACTERS


def test_of_several_ranks_the_one_that_limits_counts() -> None:
    log = read_log(VLLM)
    assert log.engine == "vllm"
    assert log.sizes == {
        "weights_gib": 16.96, "cuda_graph_gib": 1.66, "kv_cache_gib": 54.09, "kv_cache_tokens": 708_992,
        "max_concurrency": 86.55,
    }  # fmt: skip
    assert log.stated["engine_version"] == "0.19.0"
    assert (log.stated["tp"], log.stated["gpu_memory_utilization"]) == ("4", "0.95")


def test_the_order_of_the_lines_does_not_matter() -> None:
    lines = VLLM.splitlines()
    assert read_log("\n".join(reversed(lines))).sizes == read_log(VLLM).sizes


def test_colours_stamps_and_carriage_returns_do_no_harm() -> None:
    coloured = "\r\n".join(f"\x1b[1;36mpod/vllm-0\x1b[0m 2026-04-02T12:00:00Z \x00{line}" for line in VLLM.splitlines())
    assert read_log(coloured).sizes == read_log(VLLM).sizes


def test_a_rank_that_prints_again_means_the_last_time() -> None:
    again = VLLM + "(Worker_TP0 pid=21) INFO 04-02 13:02:00 [gpu_worker.py:456] Available KV cache memory: 50.00 GiB\n"
    assert read_log(again).sizes["kv_cache_gib"] == 50.0


def test_the_old_scheduler_says_it_all_in_one_line() -> None:
    log = read_log(V0)
    assert log.sizes["gpu_memory_gib"] == 14.56
    assert (log.sizes["weights_gib"], log.sizes["activation_gib"], log.sizes["kv_cache_gib"]) == (2.89, 2.02, 2.36)
    assert log.stated["gpu_memory_utilization"] == "0.50"


def test_sglang_adds_keys_and_values_up() -> None:
    log = read_log(SGLANG)
    assert (log.engine, log.sizes["kv_cache_gib"], log.sizes["weights_gib"]) == ("sglang", 2.84, 15.54)
    assert "quantization" not in log.stated  # None is no statement


def test_llamacpp_counts_what_lies_on_the_card() -> None:
    log = read_log(LLAMACPP)
    assert log.sizes["weights_gib"] == pytest.approx(2228.82 / 1024)  # not the 52.84 MiB in host memory
    assert log.sizes["kv_cache_gib"] == 1.5
    assert log.stated["file_type"] == "Q4_K - Medium"


def test_llamacpp_of_2024_on_two_cards_is_read_as_one() -> None:
    log = read_log(LLAMACPP_TWO)
    assert log.sizes["weights_gib"] == pytest.approx((12633.25 + 8652.00) / 1024)
    assert log.sizes["kv_cache_gib"] == pytest.approx((1472 + 1024) / 1024)
    assert (log.stated["file_type"], log.stated["offloaded"]) == ("Q4_K - Medium", "78/81")


def test_llamacpp_in_host_memory_alone_is_refused_as_such() -> None:
    with pytest.raises(InputError, match="the whole model into host memory"):
        read_log(LLAMACPP_CPU)


def test_of_sglangs_two_pools_the_larger_is_that_of_the_model() -> None:
    draft = "[2025-03-07 10:02:00 TP0] KV Cache is allocated. #tokens: 46611, K size: 0.02 GB, V size: 0.02 GB\n"
    assert read_log(SGLANG + draft).sizes["kv_cache_gib"] == 2.84


def test_tensorrt_llm_says_fraction_and_pool() -> None:
    log = read_log(TRTLLM)
    assert log.engine == "trtllm"
    assert log.sizes == {
        "weights_gib": 1.14, "kv_cache_gib": 68.69, "kv_cache_tokens": 643_136, "gpu_memory_gib": 79.19,
    }  # fmt: skip
    assert log.stated == {
        "engine_version": "1.0.0", "model": "Qwen/Qwen3-0.6B", "tp": "1", "dtype": "auto", "max_model_len": "40960",
        "gpu_memory_utilization": "0.9", "max_num_seqs": "2048", "max_num_batched_tokens": "8192",
    }  # fmt: skip
    # a built engine prints only the pool, beside the memory that it measured
    built = "Memory usage when calculating max tokens in paged kv cache: total: 31.84 GiB, available: 17.83 GiB\n"
    built += "[TensorRT-LLM][INFO] [MemUsageChange] Allocated 16.05 GiB for max tokens in paged KV cache (263008)\n"
    assert read_log(built).sizes == {"kv_cache_gib": 16.05, "kv_cache_tokens": 263_008, "gpu_memory_gib": 31.84}


def test_why_it_did_not_start_is_kept() -> None:
    why = (
        "ValueError: To serve at least one request with the models's max seq len (131072), (16.0 GiB KV cache is needed"
    )
    assert read_log(VLLM + why).faults == (why,)


@pytest.mark.parametrize("text", ["", "\x00\x01\x02" * 1000, "hello\n" * 10, "{" * 5000, "Model loading took GiB"])
def test_what_is_no_log_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(InputError, match="no start-up line of vLLM, SGLang, TensorRT-LLM or"):
        read_log(text)


@pytest.mark.parametrize(
    "line",
    [
        "general.name" + " " * 19_000,
        "file type" + " " * 19_000 + "x",
        "KV Cache is allocated." * 900,
        "Load weight end." * 1200,
        "model GiB " * 2000,
        "(Worker" * 2800,
        "non-default args: " + "'model': " * 2000,
    ],
)
def test_lines_made_to_be_slow_are_not(line: str) -> None:
    start = time.process_time()
    assert read_log(VLLM + f"{line}\n" * 20).sizes == read_log(VLLM).sizes
    assert time.process_time() - start < 5.0


def test_of_very_many_lines_the_first_count() -> None:
    start = time.process_time()
    assert read_log(VLLM + "a model\n" * 1_000_000).sizes == read_log(VLLM).sizes
    assert time.process_time() - start < 20.0


def test_a_huge_line_and_a_huge_log_are_cut_not_choked_on() -> None:
    hostile = "(Worker" + "_TP0" * 100_000 + " " + "\x1b[" * 100_000 + "\n" + "a" * 1_000_000 + "\n"
    assert read_log(hostile + VLLM).sizes == read_log(VLLM).sizes
    with pytest.raises(InputError):
        read_log("x" * MOST_CHARACTERS + VLLM)
