"""A disk that fills up, a folder that turns read-only, a part that rots: said and resumed, whoever does the work."""

from __future__ import annotations

import gc
import os
import resource
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from command_line_batches import figures
from sweeps import MANY, write

from catalog import Catalog
from optimizer.batch import Items, Settings, State, find_items, read_results, results, run_batch
from optimizer.errors import InputError
from optimizer.workers import Engine, EngineName, Processes, open_engine

N_BEFORE = 20
"""Scenarios done before the fault, of the 90 of MANY."""
NOBODY = 65534
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")


@pytest.fixture(scope="module", params=["local", pytest.param("ray", marks=needs_ray)])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    name: EngineName = request.param
    with open_engine(name, n_workers=1) as there:
        yield there
    gc.collect()


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory, catalog: Catalog) -> Items:
    return find_items([str(write(tmp_path_factory.mktemp("sweep"), MANY))], catalog)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, items: Items, catalog: Catalog) -> list[tuple[Any, ...]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    run_batch(items, catalog, folder, Settings(), engine=Processes(1))
    return figures(folder)


@pytest.fixture
def out() -> Iterator[Path]:
    """A folder for results that another user could reach."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name) / "out"


def once_some_are_done(fault: Callable[[], None]) -> Callable[[State], None]:
    due = [fault]

    def progress(state: State) -> None:
        if due and state.n_done >= N_BEFORE:
            due.pop()()

    return progress


@contextmanager
def full_disk(journal: Path) -> Iterator[Callable[[], None]]:
    """What fills the disk: from then on the journal may grow by two rows or three, and no further."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (journal.stat().st_size + 1500, before[1]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def read_only(folder: Path) -> Iterator[Callable[[], None]]:
    """What takes the right to write there, of which the superuser cannot be deprived: it becomes nobody."""
    user = os.geteuid()

    def take() -> None:
        for one in (folder, folder / "plans"):
            one.chmod(0o555)
        if user == 0:
            os.seteuid(NOBODY)

    try:
        yield take
    finally:
        os.seteuid(user)
        for one in (folder, folder / "plans"):
            one.chmod(0o755)


def test_a_disk_that_fills_up_is_said_and_what_was_done_stays(
    engine: Engine, items: Items, catalog: Catalog, out: Path, undisturbed: list[tuple[Any, ...]]
) -> None:
    with (
        full_disk(out / ".journal.jsonl") as fill,
        pytest.raises(InputError, match=r"^cannot write into .*: File too large; make room .* with --resume$"),
    ):
        run_batch(items, catalog, out, Settings(), engine=engine, progress=once_some_are_done(fill))
    state = run_batch(items, catalog, out, Settings(), engine=engine, resume=True)
    assert N_BEFORE <= state.counts["unchanged"] < 90
    assert figures(out) == undisturbed


def test_a_folder_that_turns_read_only_is_said_and_what_was_done_stays(
    engine: Engine, items: Items, catalog: Catalog, out: Path, undisturbed: list[tuple[Any, ...]]
) -> None:
    with (
        read_only(out) as take,
        pytest.raises(InputError, match=r"^cannot write into .*: Permission denied; make room or choose another -O"),
    ):
        run_batch(items, catalog, out, Settings(), engine=engine, progress=once_some_are_done(take))
    state = run_batch(items, catalog, out, Settings(), engine=engine, resume=True)
    assert N_BEFORE <= state.counts["unchanged"] < 90
    assert figures(out) == undisturbed


def test_a_part_that_rots_is_said_and_only_its_scenarios_are_solved_again(
    engine: Engine,
    items: Items,
    catalog: Catalog,
    out: Path,
    undisturbed: list[tuple[Any, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(results, "PART_ROWS", 30)  # three parts
    run_batch(items, catalog, out, Settings(), engine=engine)
    part = out / "part-000002.parquet"
    content = bytearray(part.read_bytes())
    content[40] ^= 0xFF  # one bit pattern inside the first page
    part.write_bytes(content)
    with pytest.raises(InputError, match=r"part-000002.parquet is damaged .*--resume"):
        read_results(out)
    state = run_batch(items, catalog, out, Settings(), engine=engine, resume=True)
    assert [path.name for path in state.damaged] == ["part-000002.parquet.damaged"]
    assert state.counts == {"unchanged": 60, "optimal": 30}
    assert figures(out) == undisturbed
