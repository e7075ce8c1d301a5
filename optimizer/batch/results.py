"""The folder of a batch's results: every row exactly once, whatever happens to the process that writes.

    part-000001.parquet …   rows, PART_ROWS at a time, each file whole or not there
    plans/NAME.plan.json    plans
    errors.jsonl            scenarios without an answer, a line each
    .journal.jsonl          rows that wait for their part

A row is appended to the journal first. When a part is due, rows that the journal replaces leave the older parts, the
part is written beside and renamed, and the journal is emptied. Whoever opens the folder after a crash at any of these
points finds each row in the journal, in a part, or in both, and then the journal's is dropped. A shard of a batch has
files of its own, so that shards can share a folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from optimizer.batch.axes import Axis
from optimizer.batch.columns import (
    DamagedPartError,
    axis_columns,
    identities,
    read_part,
    row_data,
    row_from,
    write_part,
    write_table,
)
from optimizer.batch.row import Row
from optimizer.batch.work import Problem, Solved
from optimizer.errors import InputError

PART_ROWS = 1000
JOURNAL = 0
"""Stands for the journal where parts have numbers from 1."""


class Results:
    """Results of one shard, open for writing; made by `opened`."""

    def __init__(self, folder: Path, axes: Sequence[Axis], shard: str) -> None:
        self.folder, self.axes, self._tag = folder, axes, shard and f"-{shard}"
        self.plans = folder / "plans"
        self.damaged: list[Path] = []
        """Parts that could not be read and were set aside; their scenarios have no rows any more."""
        self._identity: dict[str, bytes] = {}
        self._part: dict[str, int] = {}
        self._waiting: dict[str, Row] = {}
        self._stale: dict[int, set[str]] = defaultdict(set)
        self._n_parts = 0
        self._open: list[IO[Any]] = []

    def known(self, name: str) -> bytes | None:
        """Identity of the answer that is there already."""
        return self._identity.get(name)

    @property
    def n_rows(self) -> int:
        """Rows there are, in parts and waiting."""
        return len(self._identity)

    def add(self, solved: Solved) -> None:
        """Keep an answer, instead of the one of that name if there is one; from here on no crash loses it."""
        row = solved.row
        with self._writing():
            if solved.plan is not None:  # before the row: where there is a row its plan is there
                self._put_plan(row.scenario, solved.plan)
            self._journal.write(json.dumps(row_data(row), ensure_ascii=False) + "\n")
            self._journal.flush()
        self._wait(row)
        if len(self._waiting) >= PART_ROWS:
            self.flush()

    def add_error(self, problem: Problem) -> None:
        """Keep why a scenario has no answer; one from before it changed goes."""
        self._forget(problem.scenario)
        with self._writing():
            self._errors.write(json.dumps(asdict(problem), ensure_ascii=False) + "\n")
            self._errors.flush()

    def drop_all_but(self, names: set[str]) -> int:
        """Forget the rows and plans of scenarios that are no longer asked for; how many there were."""
        gone = [name for name in self._identity if name not in names]
        for name in gone:
            self._forget(name)
        self.flush()
        return len(gone)

    def flush(self) -> None:
        """Move what waits into a part."""
        with self._writing():
            for number, names in sorted(self._stale.items()):
                self._rewrite(number, names)
            self._stale.clear()
            if self._waiting:
                self._n_parts += 1
                write_part(self._path(self._n_parts), list(self._waiting.values()), self.axes)
                self._part |= dict.fromkeys(self._waiting, self._n_parts)
                self._waiting.clear()
            self._journal.seek(0)
            self._journal.truncate()

    def statuses(self) -> Counter[str]:
        """How many rows have which status, those of earlier runs included."""
        counts = Counter[str](row.status for row in self._waiting.values())
        for number in set(self._part.values()):
            counts.update(read_part(self._path(number)).column("status").to_pylist())
        return counts

    def begin(self, resume: bool) -> None:
        """Take the folder, and take up what an earlier run left."""
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = self._hold((self.folder / f".lock{self._tag}").open("a"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            message = f"another batch is writing into {self.folder}; let it end, or choose another -O"
            raise InputError(message) from error
        journal = self.folder / f".journal{self._tag}.jsonl"
        parts = sorted(self.folder.glob(f"part{self._tag}-[0-9]*.parquet"))
        if not resume and (parts or (journal.exists() and journal.stat().st_size)):
            message = f"there are results in {self.folder} already; --resume goes on there, or choose another -O"
            raise InputError(message)
        with self._writing():
            for part in parts:
                self._read(part)
            self._journal = self._hold(journal.open("a+", encoding="utf-8"))
            # What had no answer is tried again.
            self._errors = self._hold((self.folder / f"errors{self._tag}.jsonl").open("w", encoding="utf-8"))
        self._recover()

    def end(self) -> None:
        """Let go of the folder."""
        for file in reversed(self._open):
            with contextlib.suppress(OSError):  # a line that could not be written has been reported
                file.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            help_ = "make room or choose another -O, then run again with --resume"
            raise InputError(f"cannot write into {self.folder}: {error.strerror or error}; {help_}") from error

    def _forget(self, name: str) -> None:
        if self._identity.pop(name, None) is not None:
            self._waiting.pop(name, None)
            if part := self._part.pop(name, JOURNAL):
                self._stale[part].add(name)
            with self._writing():
                self._plan(name).unlink(missing_ok=True)

    def _wait(self, row: Row) -> None:
        if part := self._part.pop(row.scenario, JOURNAL):
            self._stale[part].add(row.scenario)
        self._waiting[row.scenario] = row
        self._identity[row.scenario] = row.identity

    def _rewrite(self, number: int, names: set[str]) -> None:
        path = self._path(number)
        try:
            table = read_part(path)
        except DamagedPartError as error:
            raise OSError(f"{path.name} has been damaged meanwhile") from error
        kept = [i for i, (name, _) in enumerate(identities(table)) if name not in names]
        if kept:
            write_table(path, table.take(kept))
        else:
            path.unlink()

    def _plan(self, name: str) -> Path:
        return self.plans / f"{name}.plan.json"

    def _put_plan(self, name: str, text: str) -> None:
        """A plan, whole or not at all."""
        path = self._plan(name)
        beside = path.with_name(f".{path.name}.tmp")
        try:
            try:
                beside.write_text(text, encoding="utf-8")
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                beside.write_text(text, encoding="utf-8")
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise

    def _path(self, number: int) -> Path:
        return self.folder / f"part{self._tag}-{number:06d}.parquet"

    def _read(self, path: Path) -> None:
        number = int(path.stem.rsplit("-", 1)[1])
        self._n_parts = max(self._n_parts, number)
        try:
            table = read_part(path)
        except DamagedPartError:
            aside = path.with_suffix(".parquet.damaged")
            path.replace(aside)
            self.damaged.append(aside)
            return
        if axis_columns(table) != tuple(axis.column for axis in self.axes):
            path.unlink()  # answers to a sweep over something else
            return
        for name, identity in identities(table):
            self._identity[name], self._part[name] = identity, number

    def _recover(self) -> None:
        """Rows that a crash left in the journal; its last line may be torn."""
        self._journal.seek(0)
        for line in self._journal:
            with contextlib.suppress(ValueError, TypeError, KeyError):
                row = row_from(json.loads(line))
                if self._identity.get(row.scenario) != row.identity and len(row.values) == len(self.axes):
                    self._wait(row)
        self.flush()

    def _hold(self, file: IO[Any]) -> IO[Any]:
        self._open.append(file)
        return file


@contextlib.contextmanager
def opened(folder: Path, axes: Sequence[Axis], shard: str, *, resume: bool) -> Iterator[Results]:
    """The results in a folder, for one writer at a time.

    Raises:
        InputError: there are results already and `resume` is not asked for; someone else is writing; the folder
            cannot be written. Of the methods too, when the disk is full: what was done stays.
    """
    results = Results(folder, axes, shard)
    try:
        results.begin(resume)
        yield results
    finally:
        results.end()


def read_results(folder: Path) -> list[dict[str, Any]]:
    """Every row of a finished batch, all shards, by name; counts as mappings. InputError where there are none."""
    parts = sorted(folder.glob("part*.parquet"))
    if not parts:
        raise InputError(f"no results in {folder}; expected the folder that `gpuplan batch -O` wrote")
    rows: list[dict[str, Any]] = []
    for part in parts:
        try:
            rows += read_part(part).to_pylist(maps_as_pydicts="strict")
        except DamagedPartError as error:
            raise InputError(
                f"{part} is damaged ({error}); `gpuplan batch --resume` solves its scenarios again"
            ) from None
    return sorted(rows, key=lambda row: str(row["scenario"]))
