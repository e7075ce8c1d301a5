"""Workers that are actors of a Ray cluster; the one module that knows Ray."""

from __future__ import annotations

import contextlib
import os
import socket
import textwrap
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import Any

from optimizer.errors import GpuplanError
from optimizer.workers.pool import READY, Make, WorkerGoneError
from optimizer.workers.processes import processors

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nobody asked the user whether to report
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # what later versions do; silences the warning about it
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",  # Ray prints the end of a node on stdout, where our answer goes
}
"""Of Ray, read from the environment when it is imported; what the user has set stays."""
MOST_WORDS = 200
"""Letters of what Ray says of an actor's end."""
CONNECT_S = 10.0
LOST_NODE = "was on a node that was lost"


class RayCluster:
    """Actors of one processor each, wherever the cluster has room; they stay warm from task to task."""

    def __init__(self, ray: Any, n_workers: int) -> None:
        self._ray, self.n_workers = ray, n_workers
        # Which task goes down with a worker is the pool's business: Ray itself starts nothing again.
        self._actor = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(_Remote)

    def starter(self, make: Make) -> Callable[[], _Actor]:
        """How an actor is started; `make` travels to each node once."""
        shared = self._ray.put(make)
        return lambda: _Actor(self._ray, self._actor.remote(shared))

    def told(self, workers: Sequence[_Actor], within_s: float) -> Sequence[_Actor]:
        """Those whose answer is there, or that are gone."""
        of_answer = {worker.answer: worker for worker in workers}
        answers = list(of_answer)
        if not answers:
            return []
        first, _ = self._ray.wait(answers, num_returns=1, timeout=within_s)
        if not first:
            return []
        all_there, _ = self._ray.wait(answers, num_returns=len(answers), timeout=0)
        return [of_answer[answer] for answer in all_there]


class _Actor:
    """An actor, with the answer that is awaited of it."""

    def __init__(self, ray: Any, handle: Any) -> None:
        self._ray, self._handle = ray, handle
        self.answer = handle.version.remote()
        self._is_ready = False

    def give(self, task: Any) -> None:
        self.answer = self._handle.work.remote(task)

    def hear(self) -> Any:
        errors = self._ray.exceptions
        try:
            said = self._ray.get(self.answer)
        except errors.ActorUnavailableError:  # its connection broke: what is left of it is not waited for
            raise WorkerGoneError(LOST_NODE, with_its_node=True) from None
        except errors.RayError as error:
            said = str(error).strip()
            how = textwrap.shorten(said.splitlines()[-1], MOST_WORDS, placeholder=" …")
            raise WorkerGoneError(f"ended: {how}", with_its_node="node has died" in said) from None
        if self._is_ready:
            return said
        if said != version("gpuplan"):
            here = version("gpuplan")
            raise GpuplanError(f"a node of the cluster has gpuplan {said}, this is {here}; install the same everywhere")
        self._is_ready = True
        return READY

    def end(self) -> None:
        self._ray.kill(self._handle)


class _Remote:
    """What runs on the cluster."""

    def __init__(self, make: Make) -> None:
        self._work = make()

    def version(self) -> str:
        return version("gpuplan")

    def work(self, task: Any) -> Any:
        return self._work(task)


@contextlib.contextmanager
def ray_cluster(address: str | None, n_workers: int | None) -> Iterator[RayCluster]:
    """The cluster at an address (`auto` finds the one of this machine), or without one a cluster of this process.

    By default there are as many workers as the cluster has processors now. A connection that is there is used and left.

    Raises:
        GpuplanError: Ray is not installed, or there is no cluster at the address.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ModuleNotFoundError:
        raise GpuplanError("--engine ray needs Ray: pip install 'gpuplan[ray]'") from None
    connects = not ray.is_initialized()
    if connects:
        try:
            _connect(ray, address, n_workers)
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            said = " ".join(str(error).split())
            raise GpuplanError(f"no Ray cluster at {address or 'this machine'}: {said}") from None
    try:
        yield RayCluster(ray, n_workers or max(1, int(ray.cluster_resources().get("CPU", 1))))
    finally:
        if connects:
            ray.shutdown()


def _connect(ray: Any, address: str | None, n_workers: int | None) -> None:
    """To a cluster that is there, or to a new one of this process."""
    how = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        ray.init(address="local", num_cpus=n_workers or processors(), include_dashboard=False, **how)
        return
    host, _, port = address.rpartition(":")
    if port.isdecimal():  # Ray itself tries for minutes
        with socket.create_connection((host, int(port)), CONNECT_S):
            pass
    ray.init(address=address, **how)
