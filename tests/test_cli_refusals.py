"""What the command line refuses before anything is lost, and what it says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import SCENARIO, run


@pytest.fixture(scope="module")
def solved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("refusals")
    (folder / "tiny.yaml").write_text(SCENARIO, encoding="utf-8")
    assert run("solve", folder / "tiny.yaml", "-O", folder / "tiny.plan.json").exit_code == 0
    return folder


@pytest.fixture
def folder(solved: Path, tmp_path: Path) -> Path:
    """A folder with a scenario and its plan, for one test."""
    return Path(shutil.copytree(solved, tmp_path / "work"))


@pytest.mark.parametrize(
    ("read", "words"),
    [
        ("tiny.yaml", ("solve", "tiny.yaml")),
        ("tiny.yaml", ("pareto", "./tiny.yaml")),
        ("tiny.plan.json", ("export", "tiny.plan.json", "--to", "topology")),
        ("tiny.plan.json", ("compare", "tiny.plan.json", "tiny.plan.json")),
        ("tiny.plan.json", ("verify", "tiny.plan.json")),
    ],
)
def test_no_answer_takes_the_place_of_a_file_that_is_read(
    read: str, words: tuple[str, ...], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    before = Path(read).read_bytes()
    done = run(*words, "-O", folder / read)
    assert done.exit_code == 3
    assert "this file is read; an answer in its place would lose it" in done.stderr
    assert Path(read).read_bytes() == before


@pytest.mark.parametrize(
    ("words", "exit_code", "reason"),
    [
        (("report", "tiny.plan.json", "-O", "report.pdf"), 3, "a page is HTML or Markdown, not .pdf"),
        (("report", "tiny.plan.json", "-o", "json"), 2, "this is a page: --format html or md, in place of -o"),
        (("solve", "tiny.yaml", "--write-lp", "tiny.txt"), 2, "'tiny.txt' ends neither in .lp nor in .mps"),
        (("solve", "tiny.yaml", "--gap", "150%"), 2, "'150%' is more than 100%"),
        (("perf", "Qwen/Qwen3-14B", "--gpu", "l4", "--prefix-hit", "1.3x"), 2, "'1.3x' is more than 100%"),
        (("simulate", "tiny.plan.json", "--duration", "0s"), 3, "--duration must be more than 0s"),
        (("batch", "no-such-folder", "-O", "out"), 3, "no-such-folder: error: no such file or folder"),
        (("catalog", "add-model", "tiny.yaml", "--id", "me/m"), 3, "tiny.yaml: error: model_type: missing"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nothing_is_written(
    words: tuple[str, ...], exit_code: int, reason: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    done = run(*words)
    assert done.exit_code == exit_code
    assert reason in " ".join(done.stderr.split())
    assert sorted(path.name for path in folder.iterdir()) == ["tiny.plan.json", "tiny.yaml"]


def test_a_fault_of_the_scenario_inside_a_plan_names_the_plans_file(folder: Path) -> None:
    plan = json.loads((folder / "tiny.plan.json").read_text(encoding="utf-8"))
    plan["inputs"]["workloads"]["chat"]["modle"] = "x"
    (folder / "edited.json").write_text(json.dumps(plan), encoding="utf-8")
    done = run("verify", folder / "edited.json")
    assert done.exit_code == 3
    assert done.stderr.startswith(f"{folder / 'edited.json'}: error: inputs.workloads.chat.modle: unknown key")


def test_a_simulation_too_short_for_any_request_says_so(folder: Path) -> None:
    # 2/s: in a hundredth of a second none arrives
    done = run("simulate", folder / "tiny.plan.json", "--duration", "10ms")
    assert done.exit_code == 0
    assert done.stdout.startswith("tiny: nothing was simulated")
    assert "chat: not simulated: none of its requests is seen in 0.01 s; simulate longer" in " ".join(
        done.stdout.split()
    )
    assert "nan" not in done.stdout


def test_a_plan_without_servers_is_not_called_sound(folder: Path) -> None:
    scenario = SCENARIO.replace("requests: 2/s", "requests: 2M/s")
    (folder / "large.yaml").write_text(scenario, encoding="utf-8")
    assert run("solve", folder / "large.yaml", "-O", folder / "large.json").exit_code == 4
    done = run("verify", folder / "large.json")
    assert done.exit_code == 0
    assert done.stdout.startswith("tiny: infeasible; it promises nothing")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_answer_is_utf_8_whatever_the_locale(encoding: str, folder: Path) -> None:
    words = [sys.executable, "-c", "import cli; cli.main(prog_name='gpuplan')", "solve", str(folder / "tiny.yaml")]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(words, capture_output=True, check=False, env=environment, timeout=60)
    assert done.returncode == 0
    assert "─────" in done.stdout.decode("utf-8")
    assert done.stderr == b""
