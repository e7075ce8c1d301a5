"""Batches on Ray: the same rows as by processes of this machine, whatever is lost on the way."""

from __future__ import annotations

import gc
import json
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from command_line_batches import figures, gpuplan, n_solved, start, until
from sweeps import MANY, write

from catalog import Catalog
from optimizer import load_plan
from optimizer.batch import Settings, State, find_items, read_results, run_batch
from optimizer.workers import Processes, open_engine

pytestmark = [
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"),
    # Ray leaves its processes and sockets to the garbage collector, which warns.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, catalog: Catalog) -> Path:
    """The results of MANY by a process of this machine."""
    folder = tmp_path_factory.mktemp("local")
    items = find_items([str(write(folder, MANY))], catalog)
    run_batch(items, catalog, folder / "out", Settings(), engine=Processes(1))
    return folder / "out"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Three nodes of one processor."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    for _ in range(2):
        nodes.add_node(num_cpus=1)
    yield nodes
    nodes.shutdown()
    gc.collect()


def test_a_node_that_is_killed_loses_nothing_and_doubles_nothing(
    tmp_path: Path, catalog: Catalog, local: Path, cluster: Any
) -> None:
    items = find_items([str(write(tmp_path, MANY))], catalog)
    others = [node for node in cluster.worker_nodes if node is not cluster.head_node]
    n_at_loss: list[int] = []

    def lose_a_node(state: State) -> None:
        if state.n_done >= 20 and not n_at_loss:
            n_at_loss.append(state.n_done)
            cluster.remove_node(others[0], allow_graceful=False)

    with open_engine("ray", cluster.address) as engine:
        assert engine.n_workers == 3
        state = run_batch(items, catalog, tmp_path / "out", Settings(), engine=engine, progress=lose_a_node)
    assert n_at_loss
    assert state.counts == {"optimal": 90}
    assert figures(tmp_path / "out") == figures(local)
    for row in read_results(local):
        there, here = (load_plan(out / "plans" / f"{row['scenario']}.plan.json") for out in (tmp_path / "out", local))
        assert (there.servers, there.workloads, there.cost) == (here.servers, here.workloads, here.cost)


def test_killing_the_driver_loses_nothing_and_leaves_no_worker(tmp_path: Path, local: Path) -> None:
    out = tmp_path / "out"
    process = start(write(tmp_path, MANY), "-O", out, "--engine", "ray", "--workers", 2)
    until(lambda: n_solved(out) > 9)
    workers = workers_below(process.pid)
    assert len(workers) == 2
    process.kill()
    process.communicate()
    n_before = n_solved(out)
    until(lambda: not any(is_worker(pid) for pid in workers))
    code, text, _ = gpuplan(tmp_path / "prices.sweep.yaml", "-O", out, "--workers", 1, "--resume", "-o", "json")
    assert code == 0
    assert json.loads(text)["counts"]["unchanged"] >= n_before > 9
    assert figures(out) == figures(local)


def test_ctrl_c_finishes_what_is_in_flight_and_can_be_resumed(tmp_path: Path, local: Path) -> None:
    out = tmp_path / "out"
    arguments = (write(tmp_path, MANY), "-O", out, "--engine", "ray", "--workers", 2)
    process = start(*arguments, "--progress", "json", "-o", "json")
    until(lambda: n_solved(out) > 9)
    process.send_signal(signal.SIGINT)
    text, lines = process.communicate(timeout=120)
    assert process.returncode == 130
    assert json.loads(text)["interrupted"]
    assert 9 < json.loads(lines.splitlines()[-1])["done"] == len(read_results(out)) < 90
    code, text, err = gpuplan(*arguments, "--resume", "-o", "json")
    assert (code, err) == (0, "")
    assert json.loads(text)["rows"] == {"optimal": 90}
    assert figures(out) == figures(local)


def workers_below(pid: int) -> list[int]:
    """The actors below a process; Ray's own helpers take a minute longer to notice."""
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text(encoding="utf-8").split()):
            found += [child] * is_worker(child) + workers_below(child)
    return found


def is_worker(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::_Remote")
    except OSError:
        return False


def test_the_folder_of_a_batch_on_ray_is_refused_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, err = gpuplan(write(tmp_path), "-O", tmp_path / "file", "--engine", "ray", "--workers", 1)
    assert code == 3
    assert f"error: cannot write into {tmp_path / 'file'}: File exists; make room or choose another -O" in err
