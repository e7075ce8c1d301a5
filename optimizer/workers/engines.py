"""The engines by name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal

from optimizer.errors import GpuplanError
from optimizer.workers.pool import Engine
from optimizer.workers.processes import Processes, processors
from optimizer.workers.ray_cluster import ray_cluster

EngineName = Literal["local", "ray"]


@contextlib.contextmanager
def open_engine(name: EngineName, address: str | None = None, n_workers: int | None = None) -> Iterator[Engine]:
    """An engine to use within the context; by default with a worker for each processor that it has.

    Raises:
        GpuplanError: an address for an engine that has none; Ray is not there, or no cluster at the address.
    """
    if name == "ray":
        with ray_cluster(address, n_workers) as cluster:
            yield cluster
        return
    if address is not None:
        raise GpuplanError("an address is that of a Ray cluster; say --engine ray too")
    yield Processes(n_workers or processors())


@contextlib.contextmanager
def asked_engine(name: EngineName | None, address: str | None, n_workers: int | None) -> Iterator[Engine | None]:
    """The engine where one is asked for; else everything stays in this process."""
    if name is not None:
        with open_engine(name, address, n_workers) as engine:
            yield engine
    elif address is not None or n_workers is not None:
        raise GpuplanError("--address and --workers are those of an engine; say --engine local or --engine ray too")
    else:
        yield None
