"""What `gpuplan memory` says."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.console import RenderableType

from catalog import Catalog
from optimizer.memory import estimate_memory
from optimizer.report.data import plain
from optimizer.report.delivery import console
from optimizer.report.memory import MemoryAnswer, cards_report, memory_answer, memory_report

QUESTION: dict[str, Any] = {
    "model": "Qwen/Qwen3-14B", "gpu": "h100-sxm", "weight_dtype": "bf16", "kv_cache_dtype": "auto",
    "tp": 1, "pp": 1, "dp": 1, "ep": 1, "engine": "vllm", "engine_version": None, "max_model_len": 8192,
    "max_num_seqs": None, "max_num_batched_tokens": None, "gpu_memory_utilization": None, "gpu_memory_gib": None,
    "enforce_eager": False, "input_tokens": 1024, "output_tokens": 512,
}  # fmt: skip


def asked(catalog: Catalog, **changes: Any) -> MemoryAnswer:
    return memory_answer(catalog, **{**QUESTION, **changes})


def written(report: RenderableType) -> str:
    stream = StringIO()
    console(stream).print(report)
    return " ".join(stream.getvalue().split())


def words_of(answer: MemoryAnswer) -> str:
    return written(memory_report(answer))


def test_the_answer_is_the_estimate(catalog: Catalog) -> None:
    known = {name: value for name, value in QUESTION.items() if name not in ("input_tokens", "output_tokens")}
    assert asked(catalog).estimate == estimate_memory(catalog, **known)


def test_as_data_the_estimate_stands_at_the_top(catalog: Catalog) -> None:
    answer = asked(catalog)
    data = plain(answer.data())
    assert data["weights_gib"] == answer.estimate.weights_gib
    assert data["model"] == "Qwen/Qwen3-14B"
    assert data["worst_case"] == {"tokens_per_request": 8192, "requests": answer.estimate.max_concurrency}
    assert data["certainty"]["weights"] == "exact"


def test_the_typical_case_is_the_pool_divided_by_mean_requests(catalog: Catalog) -> None:
    # 1024 + 512 tokens are 96 blocks of 16, so nothing is lost to rounding.
    answer = asked(catalog)
    assert answer.typical_tokens == 1536
    pool_tokens = answer.estimate.max_concurrency * 8192
    assert answer.typical_requests == pytest.approx(pool_tokens / 1536, rel=1e-6)


def test_no_more_requests_run_at_once_than_max_num_seqs(catalog: Catalog) -> None:
    answer = asked(catalog, max_num_seqs=4)
    assert answer.worst_requests == answer.typical_requests == 4


def test_short_requests_may_fit_where_the_longest_does_not(catalog: Catalog) -> None:
    answer = asked(catalog, model="Qwen/Qwen3-32B", max_model_len=None)
    assert not answer.estimate.fits
    assert answer.worst_requests < 1 < answer.typical_requests
    assert "0 requests at once of 40,960 tokens" in words_of(answer)


def test_what_is_missing_is_called_missing(catalog: Catalog) -> None:
    answer = asked(catalog, gpu="t4", weight_dtype=None)
    text = words_of(answer)
    assert "does not fit: the weights alone exceed the memory" in text
    assert f"missing {-answer.estimate.kv_cache_gib:.1f}" in text
    assert "weights in fp16, as the card does not compute in bf16" in text


def test_beside_other_cards_no_pool_is_negative(catalog: Catalog) -> None:
    # 16.38 GiB of weights and more on a card that shows 14.56; 27.5 GiB on one of 79.2 leave a pool.
    answers = [asked(catalog, model="Qwen/Qwen3-8B", gpu=gpu, weight_dtype=None) for gpu in ("t4", "h100-sxm")]
    text = written(cards_report(answers))
    assert f"short by {-answers[0].estimate.kv_cache_gib:.2f} {answers[1].estimate.kv_cache_gib:.1f}" in text
    assert "-" not in text[text.index("KV cache GiB") : text.index("KV tokens")]


def test_a_version_older_than_all_that_are_described_is_an_estimate(catalog: Catalog) -> None:
    answer = asked(catalog, engine_version="0.4.2")
    assert {one.certainty for one in answer.uncertainty.values()} == {"estimated"}
    assert "vLLM 0.4.2 does as 0.5, the oldest that is described" in words_of(answer)
    assert "oldest" not in words_of(asked(catalog, engine_version="0.5.3.post1"))


def test_a_model_that_nothing_small_helps_says_so(catalog: Catalog) -> None:
    answer = asked(catalog, model="deepseek-ai/DeepSeek-V3", gpu_memory_gib=2.0)
    assert answer.changes == ()
    assert "No change of one or two flags would make it fit." in words_of(answer)


def test_changes_are_written_as_the_flags_to_add(catalog: Catalog) -> None:
    text = words_of(asked(catalog, model="Qwen/Qwen3-32B", max_model_len=None))
    assert "--tp 2:" in text
    assert "--max-model-len " in text
