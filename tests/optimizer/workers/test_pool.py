"""Workers that are killed or hang take nothing else down, whatever they run on."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
from pool_work import obedient, unable

from optimizer.errors import GpuplanError
from optimizer.workers import Done, Engine, EngineName, Lost, Pool, open_engine
from optimizer.workers.pool import Make

HERE = Path(__file__).parent
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
# Ray leaves its processes and sockets to the garbage collector, which warns.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module", params=["local", pytest.param("ray", marks=needs_ray)])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    name: EngineName = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")  # for pool_work, there too
        with open_engine(name, n_workers=2) as there:
            yield there
    gc.collect()


def ended(
    engine: Engine, tasks: list[str], *, make: Make = obedient, task_limit_s: float = 60, most_workers: int = 2
) -> list[Done | Lost]:
    with Pool(engine, make, task_limit_s, most_workers) as pool:
        return [event for event in pool.run(tasks) if event is not None]


def test_every_task_is_answered_once(engine: Engine) -> None:
    tasks = [f"t{i}" for i in range(50)]
    replies = {event.task: event.reply for event in ended(engine, tasks) if isinstance(event, Done)}
    assert replies == {task: task.upper() for task in tasks}


def test_workers_stay_from_one_run_to_the_next(engine: Engine) -> None:
    with Pool(engine, obedient, 60, most_workers=1) as pool:
        first, second = ([event for event in pool.run(["pid"]) if isinstance(event, Done)] for _ in range(2))
    assert first == second


def test_a_task_whose_worker_is_killed_is_given_to_another(engine: Engine, tmp_path: Path) -> None:
    task = f"die-once:{tmp_path / 'died'}"
    events = ended(engine, ["a", task, "b"], most_workers=1)
    assert sorted(event.task for event in events if isinstance(event, Done)) == sorted(["a", task, "b"])
    assert (tmp_path / "died").exists()


def test_a_task_that_takes_two_workers_down_is_reported_and_the_rest_goes_on(engine: Engine) -> None:
    events = ended(engine, ["a", "die", "b", "c"])
    (lost,) = (event for event in events if isinstance(event, Lost))
    assert (lost.task, lost.kind) == ("die", "crashed")
    assert lost.message.startswith("the worker ended")
    assert lost.message.endswith(", 2 times")
    assert sorted(event.task for event in events if isinstance(event, Done)) == ["a", "b", "c"]


def test_a_task_that_hangs_is_ended_and_reported(engine: Engine) -> None:
    events = ended(engine, ["a", "hang", "b"], task_limit_s=1, most_workers=1)
    (lost,) = (event for event in events if isinstance(event, Lost))
    assert (lost.kind, lost.message) == ("hung", "the worker did not answer within 1 s, 2 times")
    assert sorted(event.task for event in events if isinstance(event, Done)) == ["a", "b"]


def test_a_stopped_pool_finishes_what_is_in_flight_and_hands_out_no_more(engine: Engine) -> None:
    n_done = 0
    with Pool(engine, obedient, 60) as pool:
        for event in pool.run(f"t{i}" for i in range(1000)):
            if isinstance(event, Done):
                n_done += 1
                if n_done == 10:
                    pool.stop()
                    n_in_flight = pool.n_in_flight
    assert n_done == 10 + n_in_flight


def test_no_more_is_taken_than_there_are_workers(engine: Engine) -> None:
    n_taken = n_done = 0

    def tasks() -> Iterator[str]:
        nonlocal n_taken
        for i in range(100):
            n_taken += 1
            yield f"t{i}"

    with Pool(engine, obedient, 60) as pool:
        for event in pool.run(tasks()):
            n_done += isinstance(event, Done)
            assert n_taken - n_done <= 2
    assert n_done == 100


def test_workers_that_cannot_start_end_the_batch(engine: Engine) -> None:
    with pytest.raises(GpuplanError, match="workers do not start"):
        ended(engine, ["a"], make=unable)


def test_a_worker_that_dies_on_starting_does_not_hold_up_a_large_work(engine: Engine) -> None:
    # More than a pipe holds: whoever writes it to a process that is no more would wait for ever.
    with pytest.raises(GpuplanError, match="workers do not start"):
        ended(engine, ["a"], make=partial(unable, bytes(1_000_000)))


def test_workers_killed_from_outside_are_replaced(engine: Engine) -> None:
    tasks = ["pid" if i in (20, 100) else f"t{i}" for i in range(200)]
    with Pool(engine, obedient, 60) as pool:
        n_done = 0
        for event in pool.run(tasks):
            if isinstance(event, Done):
                n_done += 1
                if event.task == "pid":
                    os.kill(int(event.reply), signal.SIGKILL)
    assert n_done == 200
