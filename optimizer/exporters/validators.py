"""Judges of exported files that are not ours: those that are installed read each file that they understand."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from optimizer.yaml_text import parse_yaml_documents

LONGEST_S = 60
"""A judge that takes longer has hung."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one judge says of one file."""

    file: str
    judge: str
    problem: str
    """Empty = nothing to object."""


@dataclass(frozen=True, slots=True)
class _Judge:
    name: str
    installed: Callable[[], bool]
    understands: Callable[[Path], bool]
    problem: Callable[[Path], str]


def judge_files(paths: Iterable[Path]) -> tuple[tuple[Verdict, ...], tuple[str, ...]]:
    """Verdicts of the judges that are installed, and the names of those that would have been asked and are not."""
    verdicts, missing = [], dict[str, None]()
    for path in paths:
        for judge in _JUDGES:
            if not judge.understands(path):
                continue
            if judge.installed():
                verdicts.append(Verdict(str(path), judge.name, judge.problem(path)))
            else:
                missing[judge.name] = None
    return tuple(verdicts), tuple(missing)


def verdicts_text(verdicts: Sequence[Verdict], missing: Sequence[str]) -> str:
    """Objections a line each, who was asked, and who is not installed."""
    objections = [f"{verdict.file}: {verdict.judge}: {verdict.problem}" for verdict in verdicts if verdict.problem]
    asked = ", ".join(dict.fromkeys(verdict.judge for verdict in verdicts)) or "nobody"
    lines = [*objections, f"checked by {asked}: {len(verdicts)} verdicts, {len(objections)} objections"]
    return "\n".join([*lines, f"not installed: {', '.join(missing)}"] if missing else lines)


def _documents(path: Path) -> list[Mapping[str, Any]]:
    if path.suffix not in (".yaml", ".yml"):
        return []
    values = parse_yaml_documents(path.read_text(encoding="utf-8"), str(path))
    return [value for value in values if isinstance(value, Mapping)]


def _on_path(program: str) -> Callable[[], bool]:
    return lambda: shutil.which(program) is not None


def _docker_compose() -> tuple[str, ...]:
    """Compose as a plugin of Docker or as a program of its own; empty where there is neither."""
    for words in (("docker", "compose"), ("docker-compose",)):
        # Version 1, which reads another format, is there as a program only and has no `--dry-run`.
        if shutil.which(words[0]) is not None and not _run(*words, "--dry-run", "version"):
            return words
    return ()


def _run(*command: str) -> str:
    """What a program objects to; empty when it exits with 0."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LONGEST_S, stdin=subprocess.DEVNULL, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {LONGEST_S} s"
    except OSError as error:
        return str(error.strerror)
    return "" if done.returncode == 0 else " ".join((done.stderr or done.stdout or f"exit {done.returncode}").split())


def _kubernetes_validate(path: Path) -> str:
    """The package kubernetes-validate, unknown fields refused; kinds that are not Kubernetes' own are not judged."""
    import kubernetes_validate as judge  # type: ignore[import-not-found,unused-ignore]

    problems = []
    for document in _documents(path):
        try:
            judge.validate(document, judge.latest_version(), strict=True)
        except judge.SchemaNotFoundError:
            continue
        except judge.ValidationError as error:
            problems.append(" ".join(str(error).split()))
    return "; ".join(problems)


def _is_kubernetes(path: Path) -> bool:
    return any("apiVersion" in document for document in _documents(path))


def _is_compose(path: Path) -> bool:
    return any("services" in document and "apiVersion" not in document for document in _documents(path))


def _compose_problem(path: Path) -> str:
    # Variables that the user must set are no fault of the file: --no-interpolate leaves them alone.
    return _run(*_docker_compose(), "-f", str(path), "config", "--quiet", "--no-interpolate")


_JUDGES = (
    _Judge("bash -n", _on_path("bash"), lambda path: path.suffix == ".sh", lambda path: _run("bash", "-n", str(path))),
    _Judge("shellcheck", _on_path("shellcheck"), lambda path: path.suffix == ".sh",
           lambda path: _run("shellcheck", "--severity=error", str(path))),
    _Judge("docker compose config", lambda: bool(_docker_compose()), _is_compose, _compose_problem),
    _Judge("kubernetes-validate", lambda: find_spec("kubernetes_validate") is not None, _is_kubernetes,
           _kubernetes_validate),
    _Judge("kubeconform", _on_path("kubeconform"), _is_kubernetes,
           lambda path: _run("kubeconform", "-strict", "-ignore-missing-schemas", str(path))),
)  # fmt: skip
