"""`gpuplan batch` in a process of its own, and what it has done so far."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optimizer.batch import read_results

ROOT = Path(__file__).parents[3]
GPUPLAN = (sys.executable, "-c", "import cli; cli.main(prog_name='gpuplan')")
FIGURES = ("scenario", "status", "usd_per_hour", "gap", "gpus", "servers", "scenario_sha256")


def start(*arguments: object, **how: Any) -> subprocess.Popen[str]:
    command = [*GPUPLAN, "batch", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, env=environment, **pipes, **how)


def gpuplan(*arguments: object, **how: Any) -> tuple[int, str, str]:
    process = start(*arguments, **how)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def figures(folder: Path) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in FIGURES) for row in read_results(folder)]


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, "waited for a minute"
        time.sleep(0.02)


def n_solved(folder: Path) -> int:
    journal = folder / ".journal.jsonl"
    return journal.read_text(encoding="utf-8").count("\n") if journal.exists() else 0
