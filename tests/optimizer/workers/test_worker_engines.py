"""Engines by name, and what is said where there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from optimizer.errors import GpuplanError
from optimizer.workers import open_engine

UNGUARDED = """
print("the program runs", flush=True)
from optimizer.workers import Calls, Processes
from tests.optimizer.workers.pool_work import obedient
with Calls(Processes(2), obedient) as obey:
    print(obey(["a", "b", "c"]))
"""


def test_without_ray_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(GpuplanError, match=r"^--engine ray needs Ray: pip install 'gpuplan\[ray\]'$"),
        open_engine("ray"),
    ):
        pass


def test_a_program_that_starts_workers_is_not_run_by_them(tmp_path: Path) -> None:
    program = tmp_path / "unguarded.py"
    program.write_text(UNGUARDED)
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    ran = subprocess.run([sys.executable, program], env=here, capture_output=True, text=True, timeout=120, check=False)
    assert ran.stdout.splitlines() == ["the program runs", "['A', 'B', 'C']"], ran.stderr


def test_an_address_is_that_of_ray() -> None:
    with pytest.raises(GpuplanError, match="an address is that of a Ray cluster"), open_engine("local", "auto"):
        pass


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
def test_an_address_where_no_cluster_is_gets_one_line() -> None:
    with pytest.raises(GpuplanError, match=r"^no Ray cluster at 127.0.0.1:9: "), open_engine("ray", "127.0.0.1:9"):
        pass
