"""What results lack is said by flag or side file, and asked for where nobody says it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from catalog import load_catalog
from optimizer.calibration import Facts, measurements, read_results, read_side_file
from optimizer.calibration.facts import SideFile
from optimizer.calibration.run import Run
from optimizer.errors import InputError, Location

BENCHMARKS = Path(__file__).parents[2] / "data" / "benchmarks"
CATALOG = load_catalog()
RUN = Run(
    Location("runs/a.json"), "a tool", engine="vllm", model="Qwen/Qwen3-8B", gpu="l4", weight_dtype="bf16", tp=1,
    input_tokens=1000.4, output_tokens=200.0, concurrency=8.0, tpot_ms=60.0,
)  # fmt: skip


def test_everything_that_lacks_is_asked_for_at_once() -> None:
    runs = read_results([BENCHMARKS / "guidellm.json"])
    with pytest.raises(InputError) as caught:
        measurements(runs, Facts(), SideFile(), CATALOG)
    assert [fault.message for fault in caught.value.faults] == [
        "GuideLLM result does not say enough; give --engine, --model (the file calls it 'e2e-mock-model'), --gpu, "
        "--weight-dtype, --tp, or --facts FILE with these keys"
    ]


def test_flags_win_over_the_side_file_and_that_over_the_result() -> None:
    side = SideFile(gpu="a10", weight_dtype="fp8", files={"a.json": Facts(gpu="l40s", input_tokens=50)})
    (found,) = measurements([RUN], Facts(weight_dtype="awq-int4"), side, CATALOG)
    assert (found.gpu, found.weight_dtype, found.input_tokens, found.model) == ("l40s", "awq-int4", 50, "Qwen/Qwen3-8B")


def test_degrees_that_nobody_states_are_one_and_lone_requests_count_as_one_in_flight() -> None:
    (found,) = measurements([RUN], Facts(concurrency=0.3), SideFile(), CATALOG)
    assert (found.pp, found.dp, found.ep, found.kv_cache_dtype, found.concurrency) == (1, 1, 1, "auto", 1.0)


@pytest.mark.parametrize(
    ("file", "model", "gpu", "weights"),
    [
        ("llama_bench.json", "Qwen/Qwen2.5-7B-Instruct", "rtx-4080", "gguf-q4_k_m"),
        ("inferencex.json", "openai/gpt-oss-120b", "h200-sxm", "mxfp4"),  # "fp4" of a model published in MXFP4
    ],
)
def test_names_of_files_are_matched_where_they_are_unmistakable(file: str, model: str, gpu: str, weights: str) -> None:
    first, *_ = measurements(read_results([BENCHMARKS / file]), Facts(), SideFile(), CATALOG)
    assert (first.model, first.gpu, first.weight_dtype) == (model, gpu, weights)


def test_a_card_as_its_driver_calls_it_is_found() -> None:
    (found,) = measurements(
        read_results([BENCHMARKS / "trtllm_bench.json"]), Facts(model="Qwen/Qwen3-8B"), SideFile(), CATALOG
    )
    assert found.gpu == "dgx-spark-gb10"


def test_an_id_that_the_catalog_lacks_is_named_with_what_was_probably_meant() -> None:
    with pytest.raises(InputError, match="unknown GPU") as caught:
        measurements([RUN], Facts(gpu="h100sxm"), SideFile(), CATALOG)
    assert str(caught.value.faults[0].location) == "runs/a.json"


def test_throughput_counts_only_where_latencies_are_not_stated() -> None:
    both = Run(**{name: getattr(RUN, name) for name in RUN.__slots__} | {"output_tokens_per_s": 100.0})
    alone = Run(
        **{name: getattr(RUN, name) for name in RUN.__slots__} | {"output_tokens_per_s": 100.0, "tpot_ms": None}
    )
    found = measurements([both, alone], Facts(), SideFile(), CATALOG)
    assert [(one.tpot_ms, one.output_tokens_per_s) for one in found] == [(60.0, None), (None, 100.0)]


def test_a_run_without_figures_is_refused() -> None:
    nothing = replace(RUN, tpot_ms=None)
    with pytest.raises(InputError, match="there is nothing to calibrate on"):
        measurements([nothing], Facts(), SideFile(), CATALOG)


def test_a_side_file_about_no_result_is_a_fault() -> None:
    with pytest.raises(InputError, match="the side file describes"):
        measurements([RUN], Facts(), SideFile(files={"b.json": Facts(tp=2)}), CATALOG)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gpus: l4", "gpus: unknown key; did you mean 'gpu'?; known are engine, engine_version, model, gpu"),
        ("tp: 0", "tp: Input should be greater than or equal to 1"),
        ("files: {a.json: {tpp: 1}}", "files.a.json.tpp: unknown key; did you mean 'tp'?"),
        ("tp: [", "not YAML"),
        ("- 1", "Input should be a valid dictionary"),
    ],
)
def test_a_wrong_side_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "facts.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        read_side_file(file)
    assert message in caught.value.faults[0].message
    assert caught.value.faults[0].location is not None
    assert caught.value.faults[0].location.file == str(file)
