"""Judges that are not ours are asked about the files that they understand, and their objections are passed on."""

from __future__ import annotations

from pathlib import Path

import pytest

from optimizer.exporters import EXPORTERS, Verdict, judge_files, verdicts_text
from optimizer.files import write_files
from optimizer.topology import Topology


def test_a_script_is_read_by_bash(tmp_path: Path) -> None:
    good, bad = write_files(tmp_path, {"good.sh": "echo yes\n", "bad.sh": "if true; then\n"})
    verdicts, _ = judge_files([good, bad])
    by_bash = {Path(one.file).name: one.problem for one in verdicts if one.judge == "bash -n"}
    assert by_bash["good.sh"] == ""
    assert "syntax error" in by_bash["bad.sh"]


def test_nobody_judges_what_nobody_understands(tmp_path: Path) -> None:
    assert judge_files(write_files(tmp_path, {"a.csv": "a,b\n", "plain.yaml": "a: 1\n"})) == ((), ())


def test_judges_that_are_not_installed_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    verdicts, missing = judge_files(write_files(tmp_path, {"a.sh": "echo\n", "c.yaml": "services: {}\n"}))
    assert verdicts == ()
    assert missing == ("bash -n", "shellcheck", "docker compose config")


COMPOSE = """#!/bin/sh
case "$1" in --dry-run) exit {dry_run};; esac
/bin/grep -q imagee "$2" && echo 'services.a additional properties "imagee" not allowed' >&2 && exit 15
exit 0
"""


@pytest.mark.parametrize(("dry_run", "asked"), [(0, True), (1, False)], ids=["version 2", "version 1"])
def test_compose_without_docker_is_asked_from_version_2_on(
    dry_run: int, asked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "docker-compose"
    program.parent.mkdir()
    program.write_text(COMPOSE.format(dry_run=dry_run))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    files = {"good.yaml": "services: {a: {image: 'x:1'}}\n", "bad.yaml": "services: {a: {imagee: 'x:1'}}\n"}
    verdicts, missing = judge_files(write_files(tmp_path / "out", files))
    assert ("docker compose config" in missing) is not asked
    assert [bool(one.problem) for one in verdicts] == ([False, True] if asked else [])


def test_compose_itself_objects_to_nothing(engines: Topology, mixed: Topology, tmp_path: Path) -> None:
    for number, topology in enumerate((engines, mixed)):
        files = EXPORTERS["compose"].render(topology).files
        verdicts, missing = judge_files(write_files(tmp_path / str(number), files))
        if missing:
            pytest.skip("docker compose is not installed")
        assert [one.judge for one in verdicts] == ["docker compose config"] * len(files)
        assert [one.problem for one in verdicts if one.problem] == []


def test_verdicts_in_words() -> None:
    verdicts = (Verdict("a.sh", "bash -n", ""), Verdict("b.sh", "bash -n", "line 1: no"))
    assert verdicts_text(verdicts, ("kubeconform",)) == (
        "b.sh: bash -n: line 1: no\nchecked by bash -n: 2 verdicts, 1 objections\nnot installed: kubeconform"
    )


@pytest.mark.parametrize("target", ["k8s", "lws"])
def test_kubernetes_validate_has_no_objection(target: str, engines: Topology, tmp_path: Path) -> None:
    pytest.importorskip("kubernetes_validate")
    verdicts, _ = judge_files(write_files(tmp_path, EXPORTERS[target].render(engines).files))
    judged = [one for one in verdicts if one.judge == "kubernetes-validate"]
    assert judged
    assert [one.problem for one in judged if one.problem] == []


def test_kubernetes_validate_refuses_an_unknown_field(engines: Topology, tmp_path: Path) -> None:
    pytest.importorskip("kubernetes_validate")
    files = {name: text.replace("nodeSelector:", "nodeSelectors:") for name, text in
             EXPORTERS["k8s"].render(engines).files.items()}  # fmt: skip
    verdicts, _ = judge_files(write_files(tmp_path, files))
    assert all("nodeSelectors" in one.problem for one in verdicts if one.judge == "kubernetes-validate")
