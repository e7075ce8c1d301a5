"""What must still hold after each loss of a server, as arrays: one test for each loss and class (or format)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from optimizer.formulation.sites import Sites
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


def build_survival(sites: Sites, loads: Loads, offer_names: Sequence[str]) -> Survival:
    """The rows of every loss: of a workload of one class directly, of one of several by the shares it reroutes."""
    writer = _Writer(sites, loads)
    for w, site, spanning in zip(sites.loss_workload, sites.loss_site, sites.loss_spanning, strict=True):
        rows = np.flatnonzero(loads.workload_of_candidate[loads.candidate] == w)
        lost = writer.lost(site, spanning)
        on_site = f"{offer_names[sites.offer[site]]},{sites.number[site]}"
        name = on_site if site >= 0 else loads.candidate_labels[sites.spanning[spanning]]
        if loads.is_split[rows].any():
            writer.reroute(rows.tolist(), lost, name)
        else:
            writer.carry(rows.tolist(), lost, name)
    return writer.done()


class _Writer:
    """Gathers the rows loss by loss. `lost` maps a candidate to the stand or spanning position that is lost of it."""

    def __init__(self, sites: Sites, loads: Loads) -> None:
        self.sites, self.loads = sites, loads
        self.stand = {
            (int(c), int(j)): x for x, (c, j) in enumerate(zip(sites.stand_cell, sites.stand_site, strict=True))
        }
        self.of_candidate: dict[int, list[int]] = {}
        self.test_names: list[str] = []
        self.test_need: list[float] = []
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

    def lost(self, site: int, spanning: int) -> dict[int, tuple[bool, int]]:
        """Candidate -> (it stands on the site, index of the stand or position in `spanning`)."""
        if site < 0:
            return {int(self.sites.spanning[spanning]): (False, int(spanning))}
        found = {}
        for k, cell in enumerate(self.sites.cell_of_candidate.tolist()):
            if cell >= 0 and (cell, int(site)) in self.stand:
                found[k] = (True, self.stand[cell, int(site)])
        return found

    def carry(self, rows: list[int], lost: dict[int, tuple[bool, int]], name: str) -> None:
        """One class: what is left carries at least all of it, in the chosen format where one is chosen."""
        loads = self.loads
        for q in sorted({int(loads.choice[row]) for row in rows if int(loads.candidate[row]) in lost}):
            of_choice = [row for row in rows if int(loads.choice[row]) == q]
            test = len(self.test_names)
            workload = loads.candidate_labels[loads.candidate[of_choice[0]]].split(",")[0]
            self.test_names.append(f"{loads.choice_labels[q] if q >= 0 else workload},{name}")
            self.test_need.append(1.0 if q < 0 else 0.0)
            if q >= 0:
                self.chosen.add(test, q, -1.0)
            for row in of_choice:
                k, carried = int(loads.candidate[row]), min(1.0, 1.0 / float(loads.busy_replicas[row]))
                self.kept.add(test, k, carried)
                if k in lost:
                    stands, index = lost[k]
                    (self.lost_of if stands else self.broken).add(test, index, -carried)

    def reroute(self, rows: list[int], lost: dict[int, tuple[bool, int]], name: str) -> None:
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
            if k not in capacities:
                capacities[k] = len(self.capacity_names)
                self.capacity_names.append(f"{loads.candidate_labels[k]},{name}")
                self.capacity_candidate.append(k)
                if k in lost:
                    stands, index = lost[k]
                    (self.capacity_lost if stands else self.capacity_broken).add(capacities[k], index)
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
