"""What a worker does with one scenario of a batch: load, solve, return the row and the plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from catalog import Catalog
from optimizer.api import optimize
from optimizer.batch.items import Items
from optimizer.batch.row import Made, Row, Settings, identity, row_of
from optimizer.candidates import Ratings
from optimizer.errors import GpuplanError, InputError
from optimizer.kept import Kept
from optimizer.plans import dump_plan
from optimizer.scenario import render_faults

ErrorKind = Literal["input", "solver", "unexpected", "crashed", "hung"]


@dataclass(frozen=True, slots=True)
class Task:
    """An item, and the identity of the answer to it that is there already."""

    index: int
    known: bytes | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """A scenario without an answer."""

    scenario: str
    kind: ErrorKind
    message: str


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The answer that is there already still holds."""


@dataclass(frozen=True, slots=True)
class Solved:
    """A new answer."""

    row: Row
    plan: str | None
    """The text of its file, where plans are kept. The driver writes it: a worker may be on another machine."""


Reply = Solved | Problem | Unchanged


@dataclass(frozen=True, slots=True)
class Job:
    """Everything a worker has to know; called once there, for what works off the tasks."""

    items: Items
    catalog: Catalog
    settings: Settings
    made: Made
    keeps_plans: bool

    def __call__(self) -> Solver:
        return Solver(self)


class Solver:
    """Solves tasks one after the other and remembers what they share."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._ratings, self._truths = Ratings(), Kept[Any]()

    def __call__(self, task: Task) -> Reply:
        """The row or why there is none; only what is beyond Python's reach (a crash) takes the worker down."""
        name = self._job.items.name(task.index)
        try:
            return self._answer(task, name)
        except InputError as error:
            return Problem(name, "input", render_faults(error))
        except GpuplanError as error:
            return Problem(name, "solver", str(error))
        except Exception as error:  # the batch goes on; the message is recorded
            return Problem(name, "unexpected", " ".join(repr(error).split()))

    def _answer(self, task: Task, name: str) -> Reply:
        job = self._job
        scenario, values = job.items.scenario(task.index, job.catalog), job.items.values(task.index)
        if task.known is not None and task.known == identity(scenario.sha256, job.made, values):
            return Unchanged()
        layout = optimize(
            scenario, job.catalog, job.settings.time_limit_s, job.settings.gap, solver=job.settings.solver,
            ratings=self._ratings, truths=self._truths,
        )  # fmt: skip
        return Solved(row_of(name, layout, scenario, job.made, values), dump_plan(layout) if job.keeps_plans else None)
