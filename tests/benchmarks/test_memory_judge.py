"""The judge of memory predictions: what it reads of a log, and that a log never teaches what it is judged by."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.memory.judge import predictions, same_source, verdicts
from benchmarks.memory.read import SOURCES, Logged, read
from benchmarks.memory.refit import lessons, refitted
from catalog import Catalog
from catalog.schema.engine import VllmRules
from optimizer.memory import estimate_memory

RECORD: dict[str, Any] = {
    # https://github.com/llm-d-incubation/llm-d-planner/blob/main/docs/empirical-vllm-memory-results.md
    "id": "a", "source_url": "https://example.org/a", "engine": "vllm", "engine_version": "<=0.16 (doc)",
    "model": "Qwen/Qwen3-0.6B", "quantization": "bf16", "gpu": "H100-80GB", "total_gpu_memory_gib": 79.18,
    "tp": 1, "pp": 1, "gpu_memory_utilization": 0.9, "max_model_len": 16000, "weights_gib_per_gpu": 1.12,
    "activation_peak_gib": 5.56, "non_torch_gib": 0.13, "kv_cache_gib_per_gpu": 64.45, "notes": "", "excerpt": "",
}  # fmt: skip


def logs(tmp_path: Path, catalog: Catalog, *records: dict[str, Any]) -> list[Logged]:
    path = tmp_path / "records.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return read(path, catalog)[0]


def sampler_copies(catalog: Catalog) -> float:
    rules = catalog.engines["vllm"].at("0.16").memory
    assert isinstance(rules, VllmRules)
    return rules.activation.sampler_copies


def test_a_log_teaches_the_constants_it_shows(tmp_path: Path, catalog: Catalog) -> None:
    taught = {lesson.key[0]: lesson.value for lesson in lessons(logs(tmp_path, catalog, RECORD), catalog)}
    assert taught["non_torch fast 1"] == 0.13
    assert taught["sampler"] == pytest.approx(9.57, abs=0.05)


def test_a_peak_that_covers_graphs_is_judged_with_them_and_teaches_nothing(tmp_path: Path, catalog: Catalog) -> None:
    # vLLM 0.27.1 says 1.59 GiB of Qwen3.8-27B in FP8 with two sequences: 1.50 and an estimate of its graphs
    later = {**RECORD, "engine_version": "0.27.1", "activation_peak_gib": 1.9}
    (log,) = logs(tmp_path, catalog, later)
    assert "sampler" not in {lesson.key[0] for lesson in lessons([log], catalog)}
    (peak,) = [p for p in predictions([log], catalog, [], same_source) if p.metric == "activation_gib"]
    estimate = estimate_memory(catalog, **log.arguments)
    assert estimate.cuda_graph_gib > 0.1
    assert peak.predicted == estimate.activation_gib + estimate.cuda_graph_gib


def test_what_is_fitted_is_what_the_lessons_say(tmp_path: Path, catalog: Catalog) -> None:
    larger = {**RECORD, "activation_peak_gib": 1.1 * RECORD["activation_peak_gib"]}
    taught = lessons(logs(tmp_path, catalog, larger), catalog)
    assert sampler_copies(refitted(catalog, taught)) == pytest.approx(1.1 * sampler_copies(catalog), rel=0.01)
    assert sampler_copies(refitted(catalog, [])) == sampler_copies(catalog)


def test_no_log_is_predicted_by_what_its_own_source_said(tmp_path: Path, catalog: Catalog) -> None:
    wrong = {**RECORD, "activation_peak_gib": 6.12}
    other = {**RECORD, "id": "b", "source_url": "https://example.org/b"}
    read_logs = logs(tmp_path, catalog, wrong, other)
    known = lessons(read_logs, catalog)
    by_id = {p.log.id: p for p in predictions(read_logs, catalog, known, same_source) if p.metric == "activation_gib"}
    assert by_id["a"].predicted == pytest.approx(5.56, abs=0.05)  # taught by b alone
    assert by_id["b"].predicted == pytest.approx(6.12, abs=0.05)  # taught by a alone


def test_what_the_log_s_own_words_doubt_is_not_strict(tmp_path: Path, catalog: Catalog) -> None:
    branch, silent = {**RECORD, "engine_version": "0.16.dev1"}, {**RECORD, "gpu_memory_utilization": None}
    assert [bool(log.doubts) for log in logs(tmp_path, catalog, RECORD, branch, silent)] == [False, True, True]


def test_facts_are_judged_by_what_was_said_of_them(tmp_path: Path, catalog: Catalog) -> None:
    facts = logs(tmp_path, catalog, {**RECORD, "fits": True}, {**RECORD, "id": "b", "fits": False})
    assert [verdict.right for verdict in verdicts(facts, catalog)] == [True, False]


def test_flags_that_a_named_launcher_sets_are_asked_for(tmp_path: Path, catalog: Catalog) -> None:
    words = {"notes": "V0, unsloth", "total_gpu_memory_gib": 23.55, "gpu_memory_utilization": 0.78}
    started, plain = logs(tmp_path, catalog, {**RECORD, **words}, RECORD)
    # 23.55 · 0.78 - 1.12 = 17.2 GiB: up to 24 are 288 sequences
    asked = {key: started.arguments[key] for key in ("max_num_seqs", "max_loras", "lora_rank")}
    assert asked == {"max_num_seqs": 288, "max_loras": 1, "lora_rank": 64}
    assert plain.arguments["max_num_seqs"] is None
    assert "max_loras" not in plain.arguments


def test_a_drafting_head_that_the_log_names_is_loaded(tmp_path: Path, catalog: Catalog) -> None:
    drafting, plain = logs(tmp_path, catalog, {**RECORD, "notes": "with an EAGLE draft"}, RECORD)
    assert (drafting.arguments["speculative"], plain.arguments["speculative"]) == ("eagle", None)


def test_tokens_of_the_poorest_rank_say_nothing_of_another_s_bytes(tmp_path: Path, catalog: Catalog) -> None:
    told = {"kv_cache_tokens": 603_000}
    even, uneven = logs(tmp_path, catalog, {**RECORD, **told}, {**RECORD, **told, "notes": "tokens = min over ranks"})
    assert even.figures["kv_bytes_per_token"] == pytest.approx(64.45 * 2**30 / 603_000)
    assert "kv_bytes_per_token" not in uneven.figures


def test_a_source_completes_its_record(tmp_path: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"arguments": {"gpu": "h200-sxm", "speculative": None, "engine_version": "0.16"}, "says": "the thread"}
    monkeypatch.setattr("benchmarks.memory.read.SOURCES", {"a": said})
    record = {**RECORD, "gpu": "288GB-class AMD GPU", "notes": "with an EAGLE draft", "engine_version": None}
    (completed,) = logs(tmp_path, catalog, record)
    (recorded,), _ = read(tmp_path / "records.jsonl", catalog, with_sources=False)
    assert (completed.arguments["gpu"], completed.card_known) == ("h200-sxm", True)
    assert (recorded.arguments["gpu"], recorded.card_known) == ("mi300x", False)
    assert (completed.arguments["speculative"], recorded.arguments["speculative"]) == (None, "eagle")
    assert "engine version not stated" in recorded.doubts
    assert "engine version not stated" not in completed.doubts


def test_what_sources_say_is_of_the_catalog_and_of_the_memory_model(catalog: Catalog) -> None:
    known = inspect.signature(estimate_memory).parameters
    for source in SOURCES.values():
        assert source["says"]
        assert set(source["arguments"]) <= set(known)
        assert source["arguments"].get("model", RECORD["model"]) in catalog.models
        assert source["arguments"].get("gpu", "h100-sxm") in catalog.gpus


@pytest.mark.parametrize(("length", "tokens"), [(8192, 8192), (40960, 2048)])
def test_the_old_scheduler_takes_whole_prompts_up_to_32768_tokens(
    tmp_path: Path, catalog: Catalog, length: int, tokens: int
) -> None:
    forced = {**RECORD, "engine_version": "0.8.5 (V0)", "max_model_len": length}
    (log,) = logs(tmp_path, catalog, forced)
    asked = {key: log.arguments[key] for key in ("engine_version", "max_num_seqs", "max_num_batched_tokens")}
    assert asked == {"engine_version": "0.8", "max_num_seqs": 256, "max_num_batched_tokens": tokens}
