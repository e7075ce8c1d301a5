"""Workers that are killed or hang take nothing else down."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from pool_work import obedient, unable

from optimizer.batch.pool import Done, Lost, Pool
from optimizer.errors import GpuplanError


def ended(pool: Pool, tasks: list[str]) -> list[Done | Lost]:
    return [event for event in pool.run(tasks) if event is not None]


def test_every_task_is_answered_once() -> None:
    tasks = [f"t{i}" for i in range(50)]
    replies = {event.task: event.reply for event in ended(Pool(obedient, 2, 60), tasks) if isinstance(event, Done)}
    assert replies == {task: task.upper() for task in tasks}


def test_a_task_whose_worker_is_killed_is_given_to_another(tmp_path: Path) -> None:
    task = f"die-once:{tmp_path / 'died'}"
    events = ended(Pool(obedient, 1, 60), ["a", task, "b"])
    assert sorted(event.task for event in events if isinstance(event, Done)) == sorted(["a", task, "b"])
    assert (tmp_path / "died").exists()


def test_a_task_that_takes_two_workers_down_is_reported_and_the_rest_goes_on() -> None:
    events = ended(Pool(obedient, 2, 60), ["a", "die", "b", "c"])
    (lost,) = (event for event in events if isinstance(event, Lost))
    assert (lost.task, lost.kind, lost.message) == ("die", "crashed", "the worker ended with code -9, 2 times")
    assert sorted(event.task for event in events if isinstance(event, Done)) == ["a", "b", "c"]


def test_a_task_that_hangs_is_ended_and_reported() -> None:
    events = ended(Pool(obedient, 1, 0.5), ["a", "hang", "b"])
    (lost,) = (event for event in events if isinstance(event, Lost))
    assert (lost.kind, lost.message) == ("hung", "the worker did not answer within 0.5 s, 2 times")
    assert sorted(event.task for event in events if isinstance(event, Done)) == ["a", "b"]


def test_a_stopped_pool_finishes_what_is_in_flight_and_hands_out_no_more() -> None:
    pool = Pool(obedient, 2, 60)
    n_done = 0
    for event in pool.run(f"t{i}" for i in range(1000)):
        if isinstance(event, Done):
            n_done += 1
            if n_done == 10:
                pool.stop()
                n_in_flight = pool.n_in_flight
    assert n_done == 10 + n_in_flight


def test_workers_that_cannot_start_end_the_batch() -> None:
    with pytest.raises(GpuplanError, match="workers do not start"):
        ended(Pool(unable, 2, 60), ["a"])


def test_workers_killed_from_outside_are_replaced() -> None:
    pool = Pool(obedient, 2, 60)
    n_killed = n_done = 0
    for event in pool.run(f"t{i}" for i in range(200)):
        n_done += isinstance(event, Done)
        if n_done in (20, 100) and isinstance(event, Done):
            os.kill(pool.pids[0], signal.SIGKILL)
            n_killed += 1
    assert (n_done, n_killed) == (200, 2)
