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
