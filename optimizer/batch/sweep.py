"""A sweep file: a base scenario, the keys that vary with their values, and how these are combined.

base: purchase.yaml                  # beside this file; or the scenario itself
set:
  workloads.assistant.peak: [1x, 2x, 3x]
  inventory.h100-node.rent.price: {from: $1.50/gpu/h, to: $3/gpu/h, steps: 16}
combine: grid                        # or zip, or {sample: 500, seed: 7}
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalog import Catalog
from optimizer.batch.axes import Axis, between, with_value
from optimizer.errors import Fault, InputError
from optimizer.scenario import Scenario, load_scenario
from optimizer.scenario.document import Document, Positions, decode, read_document
from optimizer.scenario.load import read_bytes
from optimizer.scenario.words import did_you_mean, listed, meant, shown

KEYS = ("name", "base", "set", "combine")
COMBINATIONS = ("grid", "zip")
MOST_ITEMS = 10_000_000
MOST_CHECKED = 2_000
"""Values tried before a batch starts; a fault in one beyond is recorded when its turn comes."""
NAMED = {"workloads": "workload", "inventory": "offer", "models": "model"}
"""Mappings by name, and what they hold."""


@dataclass(frozen=True)
class Sweep:
    """The scenarios of a sweep; the last axis varies fastest."""

    sweep_name: str
    base: Mapping[str, Any]
    folder: Path
    """Where relative paths of the base start."""
    axes: tuple[Axis, ...]
    combine: str
    """`grid`, `zip` or `sample`."""
    chosen: tuple[int, ...] = ()
    """Of a sample: positions in the grid."""
    positions: Positions = field(default_factory=Positions)
    base_positions: Positions = field(default_factory=Positions)

    def __len__(self) -> int:
        if self.combine == "sample":
            return len(self.chosen)
        return len(self.axes[0].values) if self.combine == "zip" else self._n_grid

    @property
    def _n_grid(self) -> int:
        return math.prod(len(axis.values) for axis in self.axes)

    def name(self, index: int) -> str:
        return f"{self.sweep_name}-{index:0{len(str(len(self) - 1))}d}"

    def values(self, index: int) -> tuple[str, ...]:
        return tuple(axis.texts[i] for axis, i in zip(self.axes, self.places(index), strict=True))

    def places(self, index: int) -> tuple[int, ...]:
        """Which value of each axis."""
        if self.combine == "zip":
            return (index,) * len(self.axes)
        rest = self.chosen[index] if self.combine == "sample" else index
        places = []
        for axis in reversed(self.axes):
            rest, place = divmod(rest, len(axis.values))
            places.append(place)
        return tuple(reversed(places))

    def scenario(self, index: int, catalog: Catalog) -> Scenario:
        return self.at(self.places(index), self.name(index), catalog)

    def at(self, places: tuple[int, ...], name: str, catalog: Catalog) -> Scenario:
        """The scenario with these values; faults are located where the value stands, or in the base."""
        data: Any = self.base
        for axis, place in zip(self.axes, places, strict=True):
            data = with_value(data, axis.keys, axis.values[place])
        try:
            return load_scenario({**data, "name": name}, catalog, folder=self.folder)
        except InputError as error:
            raise InputError([self._located(fault, places) for fault in error.faults]) from None

    def _located(self, fault: Fault, places: tuple[int, ...]) -> Fault:
        key = fault.key or ""
        for axis, place in zip(self.axes, places, strict=True):
            if key == axis.path or key.startswith(f"{axis.path}.") or axis.path.startswith(f"{key}."):
                return Fault(fault.message, self.positions.location(("set", axis.path, place)), fault.key)
        return Fault(fault.message, self.base_positions.location(split_path(self.base, key)), fault.key)


def is_sweep(path: Path) -> bool:
    """Whether a file has the keys of a sweep rather than those of a scenario."""
    try:
        root = _document(path).root
    except InputError:
        return False  # what is wrong with it is reported where it is read
    return isinstance(root, Mapping) and "set" in root and "inventory" not in root


def read_sweep(path: Path, catalog: Catalog) -> Sweep:
    """The sweep of a file, every value tried; InputError with file:line:column of each fault."""
    sweep = _Reader(path, _document(path)).sweep()
    faults: dict[tuple[str | None, str], Fault] = {}  # a key that is wrong is so with every value
    for places in _to_try(sweep):
        try:
            sweep.at(places, sweep.sweep_name, catalog)
        except InputError as error:
            faults = {(fault.key, fault.message): fault for fault in error.faults} | faults
    if faults:
        raise InputError(faults.values())
    return sweep


def split_path(root: object, path: str) -> tuple[str | int, ...]:
    """The keys of a dotted path; a name that holds dots is recognised where it is there."""
    parts, here, keys = path.split("."), root, list[str | int]()
    while parts:
        if isinstance(here, list) and parts[0].isdecimal():
            keys.append(int(parts[0]))
            here, parts = (here[keys[-1]] if int(parts[0]) < len(here) else None), parts[1:]  # type: ignore[index]
            continue
        known = here if isinstance(here, Mapping) else {}
        n = max((n for n in range(1, len(parts) + 1) if ".".join(parts[:n]) in known), default=1)
        keys.append(".".join(parts[:n]))
        here, parts = known.get(keys[-1]), parts[n:]
    return tuple(keys)


def _document(path: Path) -> Document:
    document = read_document(decode(read_bytes(path), str(path)), str(path))
    if document.faults:
        raise InputError(document.faults)
    return document


def _to_try(sweep: Sweep) -> list[tuple[int, ...]]:
    """Places that show every value once: of a zip rows, else one value at a time beside the others' first."""
    if sweep.combine == "zip":
        return [sweep.places(i) for i in range(min(len(sweep), MOST_CHECKED))]
    first = (0,) * len(sweep.axes)
    others = [
        (*first[:a], place, *first[a + 1 :])
        for a, axis in enumerate(sweep.axes)
        for place in range(1, len(axis.values))
    ]
    return [first, *others][:MOST_CHECKED]


class _Reader:
    """Reads one sweep file, collecting what is wrong with it."""

    def __init__(self, path: Path, document: Document) -> None:
        self.path, self.positions, self.root = path, document.positions, document.root
        self.faults: list[Fault] = []

    def sweep(self) -> Sweep:
        root = self.root if isinstance(self.root, Mapping) else {}
        for key in root:
            if key not in KEYS:
                near = did_you_mean(meant(key, KEYS)) or f"; the keys of a sweep are {listed(KEYS, 'and')}"
                self.fault(f"unknown key {shown(key)}{near}", key, at_key=True)
        base, base_positions, folder = self.base(root.get("base"))
        axes = self.axes(root.get("set"), base)
        combine, chosen = self.combination(root.get("combine", "grid"), axes)
        if self.faults:
            raise InputError(self.faults)
        name = root.get("name", self.path.stem.removesuffix(".sweep"))
        sweep = Sweep(str(name), base, folder, axes, combine, chosen, self.positions, base_positions)
        if len(sweep) > MOST_ITEMS:
            self.fault(f"these are {len(sweep):,} scenarios; at most {MOST_ITEMS:,}: take a sample", "set", at_key=True)
            raise InputError(self.faults)
        return sweep

    def fault(self, message: str, *path: str | int, at_key: bool = False) -> None:
        self.faults.append(Fault(message, self.positions.location(path, at_key=at_key), ".".join(map(str, path))))

    def base(self, given: object) -> tuple[Mapping[str, Any], Positions, Path]:
        if isinstance(given, Mapping):
            below = self.positions.marks["base"].below
            return given, Positions(self.positions.file, self.positions.lines, below), self.path.parent
        if not isinstance(given, str):
            self.fault("'base' is expected: the path of a scenario file, or a scenario", "base")
            raise InputError(self.faults)
        path = self.path.parent / given
        if not path.is_file():
            self.fault(f"base {shown(given)}: no such file", "base")
            raise InputError(self.faults)
        document = _document(path)
        if not isinstance(document.root, Mapping):
            self.fault(f"base {shown(given)} is no scenario", "base")
            raise InputError(self.faults)
        return document.root, document.positions, path.parent

    def axes(self, given: object, base: Mapping[str, Any]) -> tuple[Axis, ...]:
        if not isinstance(given, Mapping) or not given:
            self.fault("'set' is expected: keys of the scenario, each with a list of values", "set")
            return ()
        axes = [self.axis(path, values, base) for path, values in given.items()]
        return tuple(axis for axis in axes if axis is not None)

    def axis(self, path: str, given: object, base: Mapping[str, Any]) -> Axis | None:
        keys = split_path(base, path)
        values = self.steps(path, given) if isinstance(given, Mapping) else given
        if not isinstance(values, list | tuple) or not values:
            if not isinstance(given, Mapping):
                self.fault(f"a list of values is expected; this is {shown(values)}", "set", path)
            return None
        kind, there = str(keys[0]), base.get(str(keys[0]))
        if kind in NAMED and len(keys) > 1 and isinstance(there, Mapping) and keys[1] not in there:
            near = did_you_mean(meant(str(keys[1]), there)) or f"; there is {listed(there, 'and')}"
            self.fault(f"the base has no {NAMED[kind]} {shown(keys[1])}{near}", "set", path, at_key=True)
            return None
        try:
            with_value(base, keys, None)
        except ValueError as error:
            self.fault(f"{shown(str(error))} leads through a value that is no mapping", "set", path, at_key=True)
            return None
        return Axis(path, keys, tuple(values))

    def steps(self, path: str, given: Mapping[str, Any]) -> tuple[str, ...]:
        """Values of `{from: …, to: …, steps: n}`."""
        steps = str(given.get("steps", ""))
        if set(given) != {"from", "to", "steps"} or not steps.isdecimal() or not 2 <= int(steps) <= MOST_ITEMS:
            self.fault("a list of values is expected, or {from: $2/gpu/h, to: $3/gpu/h, steps: 11}", "set", path)
            return ()
        try:
            return between(str(given["from"]), str(given["to"]), int(steps))
        except ValueError as error:
            self.fault(str(error), "set", path)
            return ()

    def combination(self, given: object, axes: tuple[Axis, ...]) -> tuple[str, tuple[int, ...]]:
        if given == "zip" and len({len(axis.values) for axis in axes}) > 1:
            lengths = listed((f"{len(axis.values)} of {axis.path}" for axis in axes), "and")
            self.fault(f"zip takes the n-th value of every key; these are {lengths}", "combine")
        if isinstance(given, str) and given in COMBINATIONS:
            return given, ()
        counts = [str(given.get(key, 0)) for key in ("sample", "seed")] if isinstance(given, Mapping) else []
        if not isinstance(given, Mapping) or set(given) - {"sample", "seed"} or not all(map(str.isdecimal, counts)):
            self.fault("grid, zip or {sample: 500, seed: 7} is expected", "combine")
            return "grid", ()
        n_sampled, seed = map(int, counts)
        n_grid = math.prod(len(axis.values) for axis in axes)
        if not 1 <= n_sampled <= n_grid:
            self.fault(f"a sample of 1 to {n_grid:,} scenarios, as the grid has, is expected", "combine")
            return "grid", ()
        # Without putting back: each is solved once. Sorted, so that neighbours share their ratings.
        return "sample", tuple(sorted(random.Random(seed).sample(range(n_grid), n_sampled)))
