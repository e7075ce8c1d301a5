"""Configurations of one model, prepared to be rated for many workloads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from catalog.schema import Calibration
from optimizer.candidates.starts import Flags
from optimizer.memory import (
    Basis,
    FlagDefaults,
    HeldMemory,
    MemoryTable,
    ReplicaMemory,
    flag_defaults,
    memory_basis,
    replica_memory,
)
from optimizer.performance import PerformanceModel, TokenMix, performance_model
from optimizer.performance.constants import RowConstants, row_constants
from optimizer.performance.station import Station
from optimizer.performance.traits import trait_rows
from optimizer.performance.work import Bench
from optimizer.serving_config import Configurations, IntArray, sequences_per_rank


@dataclass(frozen=True, slots=True)
class Physics:
    """n configurations and the batch sizes they may have, with all that does not depend on the requests."""

    configurations: Configurations
    sizes: IntArray  # [B] ascending
    bench: Bench
    constants: RowConstants
    model: PerformanceModel
    calibration: Calibration
    table: MemoryTable | None
    """Memory at every batch size, when many workloads ask; else it is worked out when one does."""
    row: IntArray  # [n] in the table; −1 = not there
    defaults: FlagDefaults
    basis: Basis

    @classmethod
    def of(cls, configurations: Configurations, sizes: IntArray, calibration: Calibration) -> Physics:
        constants = row_constants(trait_rows(configurations, calibration), calibration)
        bench = Bench.of(configurations, calibration)
        n = len(configurations)
        nowhere, most = np.full(n, -1), np.full(n, int(sizes[-1]))
        sequences = sequences_per_rank(most, configurations.dp)
        defaults = flag_defaults(configurations, max_num_seqs=sequences)
        basis = memory_basis(configurations)
        model = performance_model(configurations, calibration)
        return cls(configurations, sizes, bench, constants, model, calibration, None, nowhere, defaults, basis)

    def tabulated(self, rows: IntArray, max_model_len: int) -> Physics:
        """The same with the memory of some rows worked out once, at about that length of requests."""
        some, fraction = self.configurations.take(rows), self.defaults.most_fraction[rows]
        table = MemoryTable(some, self.sizes, max_model_len, fraction, self.basis.take(rows))
        row = np.full(len(self.configurations), -1)
        row[rows] = np.arange(len(rows))
        return replace(self, table=table, row=row)

    def take(self, rows: IntArray) -> Physics:
        """The chosen rows, in that order."""
        return replace(
            self,
            configurations=self.configurations.take(rows),
            bench=self.bench.take(rows),
            constants=self.constants.take(rows),
            model=self.model.take(rows),
            row=self.row[rows],
            defaults=self.defaults.take(rows),
            basis=self.basis.take(rows),
        )

    def station(self, mix: TokenMix) -> Station:
        """All of them under requests of a mix."""
        return Station.of(self.bench.work(mix), self.constants, mix, self.model)

    def memory(
        self, rows: IntArray, size: IntArray, max_model_len: IntArray, flags: Flags
    ) -> Iterator[tuple[IntArray, HeldMemory | ReplicaMemory]]:
        """Of some configurations at the batch sizes of these positions: positions in `rows`, and their memory."""
        usual = np.zeros(len(rows), bool)
        if self.table is not None:
            usual = (flags.fraction == self.defaults.most_fraction[rows]) & (self.row[rows] >= 0)
            here = np.flatnonzero(usual)
            if here.size:
                yield here, self.table.at(self.row[rows[here]], size[here], flags.tokens[here], max_model_len[here])
        here = np.flatnonzero(~usual)
        if not here.size:
            return
        some, flags = rows[here], flags.take(here)
        configurations = self.configurations.take(some)
        yield (
            here,
            replica_memory(
                configurations,
                max_model_len=max_model_len[here],
                max_num_seqs=sequences_per_rank(self.sizes[size[here]], configurations.dp),
                max_num_batched_tokens=flags.tokens,
                gpu_memory_utilization=flags.fraction,
                with_margin=True,
                basis=self.basis.take(some),
            ),
        )
