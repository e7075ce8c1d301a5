"""Batches from the command line: what they leave behind, and how they go on after being killed at any moment."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line_batches import ROOT, figures, gpuplan, n_solved, start, until
from sweeps import BASE, MANY, write

from catalog import Catalog
from optimizer import load_plan, load_scenario, optimize
from optimizer.batch import Settings, Shard, find_items, read_results, run_batch
from optimizer.workers import Processes


def workers_of(pid: int) -> list[int]:
    """Processes that the driver started to solve (not the one that watches over its semaphores)."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    return [int(one) for one in children if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, catalog: Catalog) -> list[tuple[Any, ...]]:
    """What the rows of MANY are when nothing happens."""
    folder = tmp_path_factory.mktemp("undisturbed")
    items = find_items([str(write(folder, MANY))], catalog)
    state = run_batch(items, catalog, folder / "out", Settings(), engine=Processes(1))
    assert state.counts == {"optimal": 90}
    return figures(folder / "out")


def test_rows_and_plans_are_what_solving_each_gives(tmp_path: Path, catalog: Catalog) -> None:
    items = find_items([str(write(tmp_path))], catalog)
    run_batch(items, catalog, tmp_path / "out", Settings(), engine=Processes(2))
    rows = {row["scenario"]: row for row in read_results(tmp_path / "out")}
    for index in range(len(items)):
        alone = optimize(items.scenario(index, catalog), catalog, solver="highs")
        row, plan = rows[items.name(index)], load_plan(tmp_path / "out" / "plans" / f"{items.name(index)}.plan.json")
        assert row["status"] == alone.status == plan.status
        assert (plan.servers, plan.workloads, plan.cost) == (alone.servers, alone.workloads, alone.cost)
    # 2/s at $2.50: a replica carries 2/s × 80 % = 1.6/s, so two servers, $5.00/h
    found = rows["prices-3"]
    assert (found["usd_per_hour"], found["gpus"], found["servers"]) == (5.0, {"l40s": 2}, {"rent": 2})
    assert found["inventory.small.rent.price [$/gpu/h]"] == 2.5


def test_what_is_solved_is_solved_again_only_when_it_changed(tmp_path: Path, catalog: Catalog) -> None:
    def run(time_limit_s: float = 10.0) -> dict[str, int]:
        items = find_items([str(tmp_path / "scenarios")], catalog)
        how = Settings(time_limit_s=time_limit_s)
        return dict(run_batch(items, catalog, tmp_path / "out", how, engine=Processes(1), resume=True).counts)

    (tmp_path / "scenarios").mkdir()
    for name in ("one", "two"):
        (tmp_path / "scenarios" / f"{name}.yaml").write_text(BASE, encoding="utf-8")
    assert run() == {"optimal": 2}
    (tmp_path / "scenarios" / "one.yaml").write_text(BASE.replace("1/s", "2/s"), encoding="utf-8")
    (tmp_path / "scenarios" / "three.yaml").write_text(BASE.replace("l40s,", "l40z,"), encoding="utf-8")
    assert run() == {"optimal": 1, "unchanged": 1, "error": 1}
    (error,) = map(json.loads, (tmp_path / "out" / "errors.jsonl").read_text(encoding="utf-8").splitlines())
    assert (error["scenario"], error["kind"]) == ("three", "input")
    assert "three.yaml:8:22: error: unknown GPU 'l40z'" in error["message"]
    (tmp_path / "scenarios" / "three.yaml").unlink()
    assert run(time_limit_s=9) == {"optimal": 2}  # asked in another way
    assert [row["usd_per_hour"] for row in read_results(tmp_path / "out")] == [2.0, 1.0]


def test_shards_are_the_whole_together(tmp_path: Path, catalog: Catalog, undisturbed: list[tuple[Any, ...]]) -> None:
    items = find_items([str(write(tmp_path, MANY))], catalog)
    for i in (1, 2, 3):
        run_batch(
            items, catalog, tmp_path / "out", Settings(), engine=Processes(1), shard=Shard(i, 3), keep_plans=False
        )
    assert figures(tmp_path / "out") == undisturbed
    assert not (tmp_path / "out" / "plans").exists()


def test_killing_a_worker_loses_nothing(tmp_path: Path, undisturbed: list[tuple[Any, ...]]) -> None:
    out = tmp_path / "out"
    process = start(write(tmp_path, MANY), "-O", out, "--workers", 2)
    until(lambda: n_solved(out) > 9)
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert figures(out) == undisturbed


def test_killing_the_driver_loses_nothing_and_leaves_no_worker(
    tmp_path: Path, undisturbed: list[tuple[Any, ...]]
) -> None:
    out = tmp_path / "out"
    process = start(write(tmp_path, MANY), "-O", out, "--workers", 2)
    until(lambda: n_solved(out) > 9)
    workers = workers_of(process.pid)
    process.kill()
    process.communicate()
    n_before = n_solved(out)
    until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in workers))
    code, text, _ = gpuplan(tmp_path / "prices.sweep.yaml", "-O", out, "--workers", 1, "--resume", "-o", "json")
    assert code == 0
    assert json.loads(text)["counts"]["unchanged"] >= n_before > 9
    assert figures(out) == undisturbed


def test_ctrl_c_finishes_what_is_in_flight_and_can_be_resumed(
    tmp_path: Path, undisturbed: list[tuple[Any, ...]]
) -> None:
    out = tmp_path / "out"
    process = start(write(tmp_path, MANY), "-O", out, "--workers", 2, "--progress", "json")
    until(lambda: n_solved(out) > 9)
    process.send_signal(signal.SIGINT)
    text, lines = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "The same command with --resume goes on." in text
    last = json.loads(lines.splitlines()[-1])
    assert 9 < last["done"] == len(read_results(out)) < 90
    assert gpuplan(tmp_path / "prices.sweep.yaml", "-O", out, "--resume")[0] == 0
    assert figures(out) == undisturbed


def test_a_full_disk_is_reported_and_can_be_resumed(tmp_path: Path, undisturbed: list[tuple[Any, ...]]) -> None:
    def no_file_beyond_8_kib() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that writing fails as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (8 * 1024, 8 * 1024))

    out = tmp_path / "out"
    arguments = (write(tmp_path, MANY), "-O", out, "--workers", 1)
    code, _, err = gpuplan(*arguments, preexec_fn=no_file_beyond_8_kib)
    assert code == 3
    assert f"error: cannot write into {out}: File too large; make room or choose another -O" in err
    code, text, _ = gpuplan(*arguments, "--resume", "-o", "json")
    assert code == 0
    assert json.loads(text)["counts"]["unchanged"] > 5  # a row takes some 600 bytes of the 8 KiB
    assert figures(out) == undisturbed


@pytest.fixture
def read_only() -> Iterator[tuple[Path, dict[str, int]]]:
    """A folder that nobody may write into, and how a process that is nobody is started."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder)
        folder.chmod(0o555)
        yield folder, ({"user": 65534} if os.geteuid() == 0 else {})
        folder.chmod(0o755)


def test_a_folder_that_cannot_be_written_is_reported(read_only: tuple[Path, dict[str, int]]) -> None:
    folder, user = read_only
    try:
        subprocess.run([sys.executable, "-c", "import cli"], cwd=ROOT, check=True, capture_output=True, **user)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("another user cannot run this Python")
    code, _, err = gpuplan(folder / "prices.sweep.yaml", "-O", folder / "out", cwd=ROOT, **user)
    assert (code, err.splitlines()[-1].split(";")[0]) == (
        3,
        f"error: cannot write into {folder / 'out'}: Permission denied",
    )


def test_fail_on_decides_the_exit_code(tmp_path: Path) -> None:
    sweep = write(tmp_path)
    # 9/s need 9 / 1.6 = 6 servers and there are 3
    assert gpuplan(sweep, "-O", tmp_path / "out", "--fail-on", "no_plan")[0] == 0
    assert gpuplan(sweep, "-O", tmp_path / "out", "--resume", "--fail-on", "infeasible")[0] == 1


def test_relative_paths_of_a_base_start_beside_it(tmp_path: Path, catalog: Catalog) -> None:
    model = {"architectures": ["X"]}  # not a model; what matters is that the file is found
    (tmp_path / "config.json").write_text(json.dumps(model), encoding="utf-8")
    base = BASE.replace("workloads:", "models: {mine: {hf_config: config.json}}\nworkloads:")
    (tmp_path / "base.yaml").write_text(base, encoding="utf-8")
    with pytest.raises(Exception, match=r"config\.json") as alone:
        load_scenario(tmp_path / "base.yaml", catalog)
    with pytest.raises(Exception, match=r"config\.json") as swept:
        find_items([str(write(tmp_path, base=base))], catalog)
    assert str(swept.value) == str(alone.value)
    assert "no such file" not in str(swept.value)
