"""What a batch solves: scenarios counted from 0, each with a name of its own, from files or from a sweep."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from catalog import Catalog
from optimizer.batch.axes import Axis
from optimizer.batch.sweep import is_sweep, read_sweep
from optimizer.errors import Fault, InputError, Location
from optimizer.scenario import Scenario, load_scenario

SUFFIXES = (".yaml", ".yml", ".json")


class Items(Protocol):
    """Scenarios that are made when asked for, so that a million of them take no room; travels to the workers."""

    @property
    def axes(self) -> tuple[Axis, ...]:
        """What a sweep varies; nothing where scenarios come from files."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """Unique, and usable as a file's name."""

    def values(self, index: int) -> tuple[str, ...]:
        """The value of every axis, as the sweep file writes it."""

    def scenario(self, index: int, catalog: Catalog) -> Scenario:
        """The scenario; InputError with every fault in it."""


@dataclass(frozen=True)
class Files:
    """A scenario a file; names are paths below the folder that holds them all, without suffix."""

    paths: tuple[str, ...]
    names: tuple[str, ...]
    axes: tuple[Axis, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        return self.names[index]

    def values(self, index: int) -> tuple[str, ...]:  # noqa: ARG002
        return ()

    def scenario(self, index: int, catalog: Catalog) -> Scenario:
        return load_scenario(self.paths[index], catalog)


def find_items(sources: Sequence[str], catalog: Catalog) -> Items:
    """The items of folders (with what is below them), glob patterns and files; or of one sweep file."""
    paths = [path for source in sources for path in _paths(source)]
    if len(paths) == 1 and is_sweep(paths[0]):
        return read_sweep(paths[0], catalog)
    unique = sorted(dict.fromkeys(paths))
    folder = Path(os.path.commonpath([path.absolute().parent for path in unique]))
    names = tuple(path.absolute().relative_to(folder).with_suffix("").as_posix() for path in unique)
    if twice := [name for name, n in Counter(names).items() if n > 1]:
        faults = [f"two files are called {name!r} but for their suffix; rename one" for name in twice]
        raise InputError([Fault(fault, Location(str(folder))) for fault in faults])
    return Files(tuple(map(str, unique)), names)


def _paths(source: str) -> list[Path]:
    path = Path(source)
    if path.is_dir():
        found = [one for one in path.rglob("*") if one.suffix in SUFFIXES and one.is_file()]
        visible = [one for one in found if not any(part.startswith(".") for part in one.relative_to(path).parts)]
        return _some(visible, source, f"no scenario here; expected files ending in {', '.join(SUFFIXES)}")
    if path.exists():
        return [path]
    if not glob.has_magic(source):
        raise InputError([Fault("no such file or folder", Location(source))])
    return _some([Path(one) for one in glob.glob(source, recursive=True)], source, "no file matches this pattern")


def _some(paths: list[Path], source: str, otherwise: str) -> list[Path]:
    if not paths:
        raise InputError([Fault(otherwise, Location(source))])
    return paths
