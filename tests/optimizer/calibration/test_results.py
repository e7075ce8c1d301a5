"""Every tool's file is recognised and read in our words and units; a broken one is refused at its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from optimizer.calibration import read_results
from optimizer.calibration.run import Run
from optimizer.errors import InputError

BENCHMARKS = Path(__file__).parents[2] / "data" / "benchmarks"


def runs(name: str) -> list[Run]:
    return read_results([BENCHMARKS / name])


def test_vllm_bench_states_means_and_its_arrivals_give_the_requests_in_flight() -> None:
    (run,) = runs("vllm_bench.json")
    assert (run.engine, run.model) == ("vllm", "meta-llama/Llama-3.1-405B-FP8")
    assert (run.input_tokens, run.output_tokens) == (215.196, 120.689)  # 215,196 and 120,689 of 1,000 requests
    assert (run.ttft_ms, run.tpot_ms) == (pytest.approx(1486.394), pytest.approx(106.5389))
    # Little's law: 9.9337/s × (1.4864 s + 119.689 × 0.10654 s) = 9.9337 × 14.238
    assert run.concurrency == pytest.approx(141.44, rel=1e-3)


def test_sglang_bench_serving_shares_the_fields_and_its_own_count_in_flight_agrees() -> None:
    (run,) = runs("sglang_bench.jsonl")
    assert (run.engine, run.model, run.input_tokens, run.output_tokens) == ("sglang", None, 1200, 800)
    assert run.concurrency == pytest.approx(9.9339, rel=1e-3)  # the file says 9.93386, of at most 10


def test_guidellm_tells_a_run_for_every_rate_and_its_inter_token_latency_is_our_tpot() -> None:
    first, second = runs("guidellm.json")
    assert (first.model, first.engine) == ("e2e-mock-model", None)
    assert (first.input_tokens, first.output_tokens, first.ttft_ms) == (71.5, 8.0, pytest.approx(11.4812, rel=1e-4))
    assert first.tpot_ms == pytest.approx(
        1.15085, rel=1e-4
    )  # not its own "TPOT" of 2.44 ms, which counts the first token
    assert second.concurrency == pytest.approx(0.0140029, rel=1e-5)


def test_aiperf_summaries_and_single_requests_are_both_read() -> None:
    (summary,) = runs("aiperf.json")
    assert (summary.input_tokens, summary.output_tokens, summary.ttft_ms, summary.tpot_ms) == (1024, 350, 210, 18.1)
    assert summary.concurrency == pytest.approx(4.2 * (0.210 + 349 * 0.0181))
    (requests,) = runs("aiperf_records.jsonl")  # two lines, one of them cancelled
    assert (requests.input_tokens, requests.output_tokens) == (550, 9)
    assert (requests.ttft_ms, requests.tpot_ms) == (pytest.approx(255.887, rel=1e-5), pytest.approx(5.20483, rel=1e-5))
    assert requests.concurrency == 1.0  # one request in flight, from its start to its end


def test_inferencex_states_seconds_and_rates_per_gpu() -> None:
    (run,) = runs("inferencex.json")
    assert (run.engine, run.gpu, run.tp, run.concurrency) == ("vllm", "h200-sxm", 8, 64)
    assert (run.ttft_ms, run.tpot_ms) == (123.0, 4.5)
    assert run.output_tokens_per_s == pytest.approx(8 * 567.89)


def test_llama_bench_tells_prompts_and_generation_apart() -> None:
    prompt, generation = runs("llama_bench.json")
    assert (prompt.model, prompt.weight_dtype, prompt.gpu) == (
        "Qwen2.5-7B-Instruct",
        "gguf-q4_k_m",
        "NVIDIA GeForce RTX 4080",
    )
    assert (prompt.input_tokens, prompt.tpot_ms) == (512, None)
    assert prompt.prefill_ms == pytest.approx(72.11, rel=1e-3)  # 512 tokens at 7,100/s; the file's avg_ns is 72,135,640
    assert (generation.output_tokens, generation.prefill_ms) == (129, None)
    assert generation.tpot_ms == pytest.approx(8.412, rel=1e-3)  # 118.88 tokens/s


def test_trtllm_bench_states_formats_and_degrees() -> None:
    (run,) = runs("trtllm_bench.json")
    assert (run.engine_version, run.gpu, run.weight_dtype, run.kv_cache_dtype) == ("1.2", "NVIDIA GB10", "nvfp4", "fp8")
    assert (run.tp, run.pp, run.concurrency) == (1, None, 1.0)
    assert (run.ttft_ms, run.tpot_ms, run.output_tokens_per_s) == (4533.1, 14.03, 3.37)


def test_a_table_is_read_by_its_header(tmp_path: Path) -> None:
    table = tmp_path / "bench.csv"
    table.write_text(
        "gpu_info,model_filename,type_k,n_prompt,n_gen,n_depth,avg_ts\n"
        '"NVIDIA L4","models/Llama-2-7b.Q8_0.gguf","f16","0","128","4096","25.0"\n'
    )
    (run,) = read_results([table])
    assert (run.weight_dtype, run.tpot_ms, run.input_tokens) == ("gguf-q8_0", 40.0, 4096)
    assert str(run.location) == f"{table}:2"


VLLM = json.loads((BENCHMARKS / "vllm_bench.json").read_text())
INFERENCEX = json.loads((BENCHMARKS / "inferencex.json").read_text())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("\x00\x01\nx", "not a benchmark result that gpuplan reads"),
        ("hello", "no run in this file"),
        ('{"backend": "vllm", ', "was the file cut short?"),
        ('{"a": 1}\n{"a": 2', "was the file cut short?"),
        ("[" * 100_000, "not a result: "),
        ("[1, 2]", "expected an object with the figures of a run, not 1"),
        ('{"a": 1}', "not a benchmark result that gpuplan reads (vllm bench"),
        (json.dumps([VLLM, INFERENCEX]), "this is of InferenceX, the file starts with vllm bench"),
        (json.dumps(VLLM | {"completed": None}), "completed: no request was completed"),
        (json.dumps(VLLM | {"completed": 0}), "completed: expected a number above 0, not 0; is this run complete?"),
        (json.dumps(VLLM | {"mean_ttft_ms": "fast"}), "mean_ttft_ms: expected a number, not 'fast'"),
        (json.dumps(VLLM | {"mean_ttft_ms": -3}), "mean_ttft_ms: expected a number above 0, not -3"),
        (json.dumps(VLLM | {"mean_ttft_ms": True}), "mean_ttft_ms: expected a number, not True"),
        (json.dumps(VLLM | {"mean_ttft_ms": 10**400}), "mean_ttft_ms: expected a number"),
        (json.dumps(VLLM | {"backend": ["x"] * 99}), "backend: expected a text, not ['x', 'x'"),
        (json.dumps({"metadata": {}, "benchmarks": [{"metrics": []}]}), "benchmarks.0.metrics: expected an object"),
        (json.dumps({"metadata": {}, "benchmarks": 3}), "benchmarks: expected a list of objects, not 3"),
        (json.dumps(INFERENCEX | {"spec_decoding": "mtp"}), "spec_decoding: speculative decoding is not what"),
        (json.dumps(INFERENCEX | {"disagg": True}), "disagg: prefill and decode on separate servers"),
        ("model_filename,n_prompt,n_gen,avg_ts\n1,2\n", "2 cells under a header of 4"),
        ("model_filename,n_prompt,n_gen,avg_ts\na.gguf,512,128,9\n", "n_gen: a run either reads a prompt"),
    ],
)
def test_a_broken_file_is_refused_at_its_place(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "result.json"
    file.write_text(content)
    with pytest.raises(InputError) as caught:
        read_results([file])
    (fault,) = caught.value.faults
    assert message in fault.message
    assert fault.location is not None
    assert fault.location.file == str(file)
    assert len(fault.message) < 400


def test_a_line_of_many_is_named_by_its_number(tmp_path: Path) -> None:
    file = tmp_path / "result.jsonl"
    file.write_text(json.dumps(VLLM) + "\n\n" + json.dumps(VLLM | {"mean_tpot_ms": "x"}) + "\n")
    with pytest.raises(InputError) as caught:
        read_results([file])
    assert str(caught.value.faults[0].location) == f"{file}:3"


def test_what_tools_write_for_no_number_is_no_number(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    file.write_text(json.dumps(VLLM | {"mean_tpot_ms": float("nan"), "max_concurrency": None, "mean_ttft_ms": "inf"}))
    (run,) = read_results([file])
    assert (run.tpot_ms, run.ttft_ms, run.concurrency) == (None, None, None)


def test_the_faults_of_all_files_are_reported_together(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_results([tmp_path / "none.json", BENCHMARKS / "vllm_bench.json", tmp_path])
    assert [fault.message.split(":")[0] for fault in caught.value.faults] == ["cannot be read", "cannot be read"]
