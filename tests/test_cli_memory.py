"""The questions that `gpuplan memory` answers beside the plain one: what fits, which card, what a log means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from cli import main

LOG = """\
(APIServer pid=1) INFO 04-02 12:00:00 [utils.py:328] vLLM API server version 0.19.0
(APIServer pid=1) INFO 04-02 12:00:00 [utils.py:233] non-default args: {'model': 'Qwen/Qwen3-8B', 'max_model_len': 8192}
\x1b[36m(EngineCore pid=9)\x1b[0m INFO 04-02 12:01:00 [gpu_model_runner.py:4590] Model loading took 15.27 GiB memory
(EngineCore pid=9) INFO 04-02 12:02:00 [gpu_worker.py:456] Available KV cache memory: 57.5 GiB
(EngineCore pid=9) INFO 04-02 12:02:00 [kv_cache_utils.py:1319] GPU KV cache size: 418,688 tokens
"""


def run(*arguments: object, **settings: Any) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], **settings)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "start.log"
    path.write_text(LOG, encoding="utf-8")
    return path


def test_a_log_shows_predicted_beside_actual_and_the_flag_between_them(log: Path) -> None:
    result = run("memory", "--from-log", log, "--gpu", "h100-sxm")
    assert result.exit_code == 0
    assert "--gpu-memory-utilization 0.95" in result.stdout
    assert "418,688" in result.stdout


def test_a_flag_of_the_command_line_completes_the_log(log: Path) -> None:
    data = json.loads(
        run("memory", "--from-log", log, "--gpu", "h100-sxm", "--gpu-memory-utilization", "0.95", "-o", "json").stdout
    )
    assert data["explanations"] == []
    assert all(line["agrees"] for line in data["lines"])
    # 57.5 GiB were logged at https://github.com/llm-d-incubation/llm-d-planner/pull/205
    (pool,) = [line for line in data["lines"] if line["figure"] == "kv_cache_gib"]
    assert pool["predicted"] == pytest.approx(57.5, abs=0.05)


def test_a_log_may_come_from_stdin() -> None:
    assert run("memory", "--from-log", "-", "--gpu", "h100-sxm", input=LOG).exit_code == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "no start-up line"),
        (b"\xff\xfe\x00" * 1000, "no start-up line"),
        (LOG.encode()[:300], "no start-up line"),
        (LOG.replace("Qwen3-8B", "Nobody-8B").encode(), "is not in the catalog"),
    ],
)
def test_a_log_that_cannot_be_used_is_an_input_error(tmp_path: Path, text: bytes, words: str) -> None:
    path = tmp_path / "start.log"
    path.write_bytes(text)
    result = run("memory", "--from-log", path, "--gpu", "h100-sxm")
    assert (result.exit_code, words in result.stderr) == (3, True), result.stderr


def test_a_log_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    result = run("memory", "--from-log", tmp_path / "none.log", "--gpu", "h100-sxm")
    assert result.exit_code == 3
    assert "cannot read" in result.stderr


def test_without_a_model_it_says_what_fits() -> None:
    data = json.loads(run("memory", "--gpu", "rtx-4090", "-o", "json").stdout)
    by_model = {fit["model"]: fit for fit in data["fits"]}
    # 8.19e9 × 2 B = 15.3 GiB fit into 21.7; 14.8e9 × 2 B = 27.5 GiB do not, with 8 bits a weight they do
    assert by_model["Qwen/Qwen3-8B"]["weight_dtype"] == "bf16"
    assert by_model["Qwen/Qwen3-14B"]["weight_dtype"] not in ("bf16", "fp16")
    assert "Qwen/Qwen3-235B-A22B" not in by_model
    assert "Qwen/Qwen3-8B" in run("memory", "--fits", "--gpu", "rtx-4090").stdout


def test_a_card_on_which_nothing_fits_is_an_answer() -> None:
    result = run("memory", "--fits", "--gpu", "t4", "--gpu-memory", "1GiB", "--max-model-len", "4k")
    assert (result.exit_code, "0 of" in result.stdout) == (0, True)


def test_cards_stand_side_by_side() -> None:
    asked = ("memory", "Qwen/Qwen3-14B", "--compare", "h100-sxm, rtx-4090", "--max-model-len", "8k")
    assert "no: weights" in run(*asked).stdout
    first, second = json.loads(run(*asked, "-o", "json").stdout)["cards"]
    assert (first["fits"], second["fits"]) == (True, False)
    assert json.loads(run(*asked, "--gpu", "t4", "-o", "json").stdout)["cards"][0]["gpu"] == "t4"
    assert run("memory", "Qwen/Qwen3-14B", "--compare", "h100-sxm,nothing").exit_code == 3


def test_the_stack_can_be_drawn(tmp_path: Path) -> None:
    path = tmp_path / "stack.svg"
    result = run("memory", "Qwen/Qwen3-14B", "--gpu", "h100-sxm", "-O", path)
    assert (result.exit_code, "weights" in result.stdout) == (0, True)
    assert "KV cache" in "".join(ElementTree.fromstring(path.read_text(encoding="utf-8")).itertext())
    assert run("catalog", "gpus", "-O", tmp_path / "gpus.svg").exit_code == 3


def test_the_fewest_gpus_and_the_first_format_are_said() -> None:
    data = json.loads(
        run("memory", "Qwen/Qwen3-32B", "--gpu", "rtx-4090", "--max-model-len", "8k", "-o", "json").stdout
    )
    assert data["fits"] is False
    assert data["fewest_gpus"]["flags"]["tp"] == 4  # 61 GiB of weights: 30.5 on each of two cards of 23.6, 15.3 of four
    assert data["first_format"] is None  # 61 ÷ 4 = 15.3 GiB and 16-bit embeddings leave less than 8k tokens
    eased = ("--max-model-len", "4k", "--tp", "2", "-o", "json")
    two = json.loads(run("memory", "Qwen/Qwen3-32B", "--gpu", "rtx-4090", *eased).stdout)
    assert two["first_format"]["flags"]["weight_dtype"] != "bf16"


def test_a_drafting_head_is_asked_of_one_model() -> None:
    asked = ("memory", "--gpu", "h100-sxm", "--speculative", "eagle")
    assert run(*asked).exit_code == 3
    assert run("memory", "meta-llama/Llama-3.1-8B-Instruct", *asked[1:]).exit_code == 0


def test_a_question_without_a_card_is_a_usage_error() -> None:
    assert run("memory", "Qwen/Qwen3-14B").exit_code == 2
    assert run("memory").exit_code == 2
