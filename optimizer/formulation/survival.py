"""What must still hold after each loss, as arrays: one test for each loss and class (or format)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from optimizer.formulation.needs import Footprint
from optimizer.formulation.sites import Loss, Sites
from optimizer.serving_config import BoolArray, FloatArray, IntArray

Entries = tuple[IntArray, IntArray, FloatArray]
"""Coordinates of a matrix: row, what stands there, how much."""


@dataclass(frozen=True, slots=True)
class Survival:
    """Rows of `spare_server`, `spare_capacity` and `spare_format` with what enters them.

    Each entry triple is (row, index, coefficient); indices are of candidates, of stands (a cell on a site), of
    positions in `spanning`, of choices, or of shares.
    """

    test_names: tuple[str, ...]
    test_need: FloatArray
    test_workload: IntArray
    kept: Entries  # by candidate: the share of the demand that a replica carries
    lost: Entries  # by stand: …that it no longer carries
    broken: Entries  # by position in `spanning`
    chosen: Entries  # by choice
    share: Entries  # by share

    share_load: IntArray  # [A] index of the load of each share_after
    share_names: tuple[str, ...]
    capacity_names: tuple[str, ...]
    capacity_of_share: IntArray  # [A] row
    capacity_candidate: IntArray  # [rows]
    capacity_lost: Entries  # by stand
    capacity_broken: Entries  # by position in `spanning`

    format_names: tuple[str, ...]
    format_choice: IntArray  # [rows]
    format_of_share: IntArray  # [A] row, −1 where formats may mix


@dataclass(frozen=True, slots=True)
class Loads:
    """The loads of the instance, and of whom they are."""

    candidate: IntArray  # [L]
    demand: IntArray  # [L]
    choice: IntArray  # [L]
    busy_replicas: FloatArray  # [L]
    is_split: BoolArray  # [L]
    workload_of_candidate: IntArray  # [K]
    footprint: Footprint
    candidate_labels: Sequence[str]  # [K] workload, offer and configuration
    demand_classes: Sequence[str]  # [D] name of the class
    choice_labels: Sequence[str]  # [Q] workload, model and format


@dataclass(slots=True)
class _Coordinates:
    row: list[int] = field(default_factory=list)
    index: list[int] = field(default_factory=list)
    coefficient: list[float] = field(default_factory=list)

    def add(self, row: int, index: int, coefficient: float = 1.0) -> None:
        self.row.append(row)
        self.index.append(index)
        self.coefficient.append(coefficient)

    def entries(self) -> Entries:
        return (
            np.array(self.row, np.int64),
            np.array(self.index, np.int64),
            np.array(self.coefficient, float),
        )


@dataclass(frozen=True, slots=True)
class _Lost:
    """What a loss takes of which candidate: what is on stands, one replica of a position in `spanning`, or all."""

    stands: Mapping[int, Sequence[int]]
    spanning: Mapping[int, int]
    gone: frozenset[int]

    def touches(self, k: int) -> bool:
        return k in self.stands or k in self.spanning or k in self.gone


def build_survival(sites: Sites, loads: Loads) -> Survival:
    """The rows of every loss: of a workload of one class directly, of one of several by the shares it reroutes."""
    writer = _Writer(sites, loads)
    for loss in sites.losses:
        rows = np.flatnonzero(loads.workload_of_candidate[loads.candidate] == loss.workload)
        lost = writer.lost(loss)
        if loads.is_split[rows].any():
            writer.reroute(rows.tolist(), lost, loss.name)
        else:
            writer.carry(rows.tolist(), lost, loss.name)
    return writer.done()


class _Writer:
    """Gathers the rows loss by loss."""

    def __init__(self, sites: Sites, loads: Loads) -> None:
        self.sites, self.loads = sites, loads
        self.stand = {
            (int(c), int(j)): x for x, (c, j) in enumerate(zip(sites.stand_cell, sites.stand_site, strict=True))
        }
        self.of_candidate: dict[int, list[int]] = {}
        self.test_names: list[str] = []
        self.test_need: list[float] = []
        self.test_workload: list[int] = []
        self.kept, self.lost_of, self.broken = _Coordinates(), _Coordinates(), _Coordinates()
        self.chosen, self.share = _Coordinates(), _Coordinates()
        self.share_load: list[int] = []
        self.share_names: list[str] = []
        self.capacity_names: list[str] = []
        self.capacity_of_share: list[int] = []
        self.capacity_candidate: list[int] = []
        self.capacity_lost, self.capacity_broken = _Coordinates(), _Coordinates()
        self.format_names: list[str] = []
        self.format_choice: list[int] = []
        self.format_of_share: list[int] = []

    def lost(self, loss: Loss) -> _Lost:
        """What a loss takes of the candidates of its workload."""
        sites, taken = self.sites, self.loads.footprint
        own = np.flatnonzero(self.loads.workload_of_candidate[taken.candidate] == loss.workload)
        stands: dict[int, list[int]] = {}
        for k, cell in zip(taken.candidate[own].tolist(), sites.cell_of_entry[own].tolist(), strict=True):
            if found := [self.stand[cell, j] for j in sorted(loss.sites) if (cell, j) in self.stand]:
                stands.setdefault(k, []).extend(found)
        spanning = {} if loss.spanning < 0 else {int(sites.spanning[loss.spanning]): loss.spanning}
        gone = frozenset(taken.candidate[own[np.isin(taken.offer[own], list(loss.offers))]].tolist())
        return _Lost(stands, spanning, gone)

    def carry(self, rows: list[int], lost: _Lost, name: str) -> None:
        """One class: what is left carries at least all of it, in the chosen format where one is chosen."""
        loads = self.loads
        for q in sorted({int(loads.choice[row]) for row in rows if lost.touches(int(loads.candidate[row]))}):
            of_choice = [row for row in rows if int(loads.choice[row]) == q]
            test = len(self.test_names)
            workload = loads.candidate_labels[loads.candidate[of_choice[0]]].split(",")[0]
            self.test_names.append(f"{loads.choice_labels[q] if q >= 0 else workload},{name}")
            self.test_need.append(1.0 if q < 0 else 0.0)
            self.test_workload.append(int(loads.workload_of_candidate[loads.candidate[of_choice[0]]]))
            if q >= 0:
                self.chosen.add(test, q, -1.0)
            for row in of_choice:
                k, carried = int(loads.candidate[row]), min(1.0, 1.0 / float(loads.busy_replicas[row]))
                self.kept.add(test, k, 0.0 if k in lost.gone else carried)
                for stand in lost.stands.get(k, ()):
                    self.lost_of.add(test, stand, -carried)
                if k in lost.spanning:
                    self.broken.add(test, lost.spanning[k], -carried)

    def reroute(self, rows: list[int], lost: _Lost, name: str) -> None:
        """Several classes: shares for each load that add up to one and keep no replica that is left too busy."""
        loads = self.loads
        tests: dict[int, int] = {}
        capacities: dict[int, int] = {}
        formats: dict[tuple[int, int], int] = {}
        for row in rows:
            k, d, q = int(loads.candidate[row]), int(loads.demand[row]), int(loads.choice[row])
            if d not in tests:
                tests[d] = len(self.test_names)
                workload = loads.candidate_labels[k].split(",")[0]
                self.test_names.append(f"{workload},{loads.demand_classes[d]},{name}")
                self.test_need.append(1.0)
                self.test_workload.append(int(loads.workload_of_candidate[k]))
            if k in lost.gone:
                self.kept.add(tests[d], k, 0.0)
                continue
            if k not in capacities:
                capacities[k] = len(self.capacity_names)
                self.capacity_names.append(f"{loads.candidate_labels[k]},{name}")
                self.capacity_candidate.append(k)
                for stand in lost.stands.get(k, ()):
                    self.capacity_lost.add(capacities[k], stand)
                if k in lost.spanning:
                    self.capacity_broken.add(capacities[k], lost.spanning[k])
            if q >= 0 and (q, d) not in formats:
                formats[q, d] = len(self.format_names)
                self.format_names.append(f"{loads.choice_labels[q]},{loads.demand_classes[d]},{name}")
                self.format_choice.append(q)
            self.share.add(tests[d], len(self.share_load))
            self.share_load.append(row)
            self.share_names.append(f"{loads.candidate_labels[k]},{loads.demand_classes[d]},{name}")
            self.capacity_of_share.append(capacities[k])
            self.format_of_share.append(formats[q, d] if q >= 0 else -1)

    def done(self) -> Survival:
        return Survival(
            test_names=tuple(self.test_names),
            test_need=np.array(self.test_need, float),
            test_workload=np.array(self.test_workload, np.int64),
            kept=self.kept.entries(),
            lost=self.lost_of.entries(),
            broken=self.broken.entries(),
            chosen=self.chosen.entries(),
            share=self.share.entries(),
            share_load=np.array(self.share_load, np.int64),
            share_names=tuple(self.share_names),
            capacity_names=tuple(self.capacity_names),
            capacity_of_share=np.array(self.capacity_of_share, np.int64),
            capacity_candidate=np.array(self.capacity_candidate, np.int64),
            capacity_lost=self.capacity_lost.entries(),
            capacity_broken=self.capacity_broken.entries(),
            format_names=tuple(self.format_names),
            format_choice=np.array(self.format_choice, np.int64),
            format_of_share=np.array(self.format_of_share, np.int64),
        )
