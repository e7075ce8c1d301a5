"""Plans on the command line: exported, judged, reported and compared, and refused when they are not what they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from command_line import SCENARIO, run


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plans")
    (folder / "tiny.yaml").write_text(SCENARIO, encoding="utf-8")
    assert run("solve", folder / "tiny.yaml", "-O", folder / "tiny.plan.json").exit_code == 0
    return folder / "tiny.plan.json"


def test_export_to_all_makes_a_folder_that_a_person_can_apply(plan: Path, tmp_path: Path) -> None:
    done = run("export", plan, "--to", "all", "-O", tmp_path / "out")
    assert done.exit_code == 0
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert {"README.md", "k8s/k8s-chat.yaml", "vllm/vllm-l4-0.sh", "bill-of-materials/bill-of-materials.csv"} <= written
    assert not [name for name in written if name.startswith(("sglang", "trtllm", "llamacpp"))]
    assert "left out: lws: chat" not in done.stdout
    assert "chat: a replica stays on one server" in done.stderr


def test_export_check_asks_what_is_installed(plan: Path, tmp_path: Path) -> None:
    done = run("export", plan, "--to", "vllm,k8s", "-O", tmp_path / "out", "--check")
    assert done.exit_code == 0
    assert "checked by bash -n" in done.stderr
    assert "0 objections" in done.stderr
    assert run("export", plan, "--to", "vllm", "--check").exit_code == 2


def test_an_objection_of_a_judge_exits_1(plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "bash").write_text("#!/bin/sh\necho 'line 3: syntax error' >&2\nexit 2\n")
    (tmp_path / "bin" / "bash").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    done = run("export", plan, "--to", "vllm", "-O", tmp_path / "out", "--check")
    assert done.exit_code == 1
    assert "bash -n: line 3: syntax error" in done.stderr


def test_report_writes_html_and_markdown(plan: Path, tmp_path: Path) -> None:
    assert run("report", plan, "--time-limit", "0s", "-O", tmp_path / "r.html").stdout == f"{tmp_path / 'r.html'}\n"
    assert (tmp_path / "r.html").read_text().startswith("<!DOCTYPE html>")
    assert run("report", plan, "--time-limit", "0s", "-O", tmp_path / "r.md").exit_code == 0
    assert (tmp_path / "r.md").read_text().startswith("# tiny: what to buy, rent and use\n")
    assert run("report", plan, "--time-limit", "0s", "--format", "md").stdout == (tmp_path / "r.md").read_text()


def test_the_same_plan_gives_the_same_report(plan: Path) -> None:
    first, second = (run("report", plan).stdout for _ in range(2))
    assert "What moves the cost" in first
    assert first == second


def test_compare_writes_a_page_where_a_page_is_asked_for(plan: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(plan.read_text(encoding="utf-8"), encoding="utf-8")
    assert run("compare", plan, other, "-O", tmp_path / "c.html").exit_code == 0
    assert "2 plans compared" in (tmp_path / "c.html").read_text()
    assert run("compare", plan, other, "--format", "md").stdout.startswith("# 2 plans compared\n")


def test_compare_draws_what_plans_cost(plan: Path, tmp_path: Path) -> None:
    done = run("compare", plan, plan, plan, "-O", tmp_path / "cost.svg")
    assert done.exit_code == 0
    drawn = ElementTree.parse(tmp_path / "cost.svg").getroot()
    assert drawn.findtext("{http://www.w3.org/2000/svg}title") == "Cost of a month of each plan"


def test_export_follows_no_link_out_of_its_folder(plan: Path, tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("precious", encoding="utf-8")
    (tmp_path / "out" / "k8s").mkdir(parents=True)
    (tmp_path / "out" / "k8s" / "k8s-chat.yaml").symlink_to(tmp_path / "precious.txt")
    (tmp_path / "out" / "vllm").symlink_to(tmp_path)
    done = run("export", plan, "--to", "all", "-O", tmp_path / "out")
    assert done.exit_code == 3
    assert "leads out of" in done.stderr
    assert (tmp_path / "precious.txt").read_text(encoding="utf-8") == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "precious.txt"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["k8s", "vllm"]  # nothing half done


def edited(keys: dict[str, Any]) -> dict[str, Any]:
    keys["workloads"][0]["replica_groups"][0]["replicas"] += 1
    return keys


REFUSED = {
    "edited": (lambda text: json.dumps(edited(json.loads(text))), 1, "is not sound; solve its scenario again"),
    "cut short": (lambda text: text[: len(text) // 2], 3, "not JSON"),
    "of another version": (
        lambda text: text.replace('"schema_version": 1', '"schema_version": 2', 1),
        3,
        "reads version 1",
    ),
    "with a key of its own": (lambda text: text.replace("{", '{"also": 1,', 1), 3, "plan is damaged: also"),
    "a scenario": (lambda _text: SCENARIO, 3, "this looks like a scenario: solve it first"),
}


@pytest.mark.parametrize("how", REFUSED)
@pytest.mark.parametrize("command", [("export", "--to", "all"), ("report",), ("compare",)])
def test_a_plan_that_is_not_what_was_solved_is_refused_and_nothing_is_written(
    how: str, command: tuple[str, ...], plan: Path, tmp_path: Path
) -> None:
    change, exit_code, reason = REFUSED[how]
    broken = tmp_path / "broken.json"
    broken.write_text(change(plan.read_text(encoding="utf-8")), encoding="utf-8")
    more = (str(plan),) if command[0] == "compare" else ()
    done = run(command[0], broken, *more, *command[1:], "-O", tmp_path / "out.html")
    assert done.exit_code == exit_code
    assert reason in " ".join(done.stderr.split())
    assert not (tmp_path / "out.html").exists()
