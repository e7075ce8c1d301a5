"""Configurations of one model, prepared to be rated for many workloads."""

from __future__ import annotations

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
from optimizer.performance.chunks import step_tokens
from optimizer.performance.constants import RowConstants, row_constants
from optimizer.performance.open_loop import OpenReplicas
from optimizer.performance.traits import trait_rows
from optimizer.performance.work import Bench
from optimizer.serving_config import BoolArray, Configurations, IntArray, sequences_per_rank


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
    row: IntArray  # [n] in the table
    defaults: FlagDefaults
    basis: Basis

    @classmethod
    def of(cls, configurations: Configurations, sizes: IntArray, calibration: Calibration) -> Physics:
        constants = row_constants(trait_rows(configurations, calibration), calibration)
        bench = Bench.of(configurations, calibration)
        rows, most = np.arange(len(configurations)), np.full(len(configurations), int(sizes[-1]))
        sequences = sequences_per_rank(most, configurations.dp)
        defaults = flag_defaults(configurations, max_num_seqs=sequences)
        basis = memory_basis(configurations)
        model = performance_model(configurations, calibration)
        return cls(configurations, sizes, bench, constants, model, calibration, None, rows, defaults, basis)

    def tabulated(self, max_model_len: int) -> Physics:
        """The same with memory tabulated, at about that length of requests."""
        table = MemoryTable(self.configurations, self.sizes, max_model_len, self.defaults.most_fraction, self.basis)
        return replace(self, table=table, row=np.arange(len(self.configurations)))

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

    def tabulates(self, flags: Flags) -> BoolArray:
        """[n] whether the memory is looked up, and not worked out."""
        return np.zeros(len(self.row), bool) if self.table is None else flags.usual(self.defaults)

    def memory(self, size: IntArray, max_model_len: int, flags: Flags) -> HeldMemory | ReplicaMemory:
        """At the batch sizes of these positions [n]."""
        if self.table is not None and self.tabulates(flags).all():
            return self.table.at(self.row, size, max_model_len)
        return replica_memory(
            self.configurations,
            max_model_len=max_model_len,
            max_num_seqs=sequences_per_rank(self.sizes[size], self.configurations.dp),
            max_num_batched_tokens=flags.tokens,
            gpu_memory_utilization=flags.fraction,
            with_margin=True,
            basis=self.basis,
        )

    def replicas(self, budget: IntArray, mix: TokenMix, places: IntArray) -> OpenReplicas:
        """With `places` [n] in the batch and steps of at most `budget` [n] tokens a rank, under random arrivals."""
        tokens = step_tokens(self.configurations, budget)
        return OpenReplicas(self.bench.work(mix), self.constants, mix, places.astype(np.float64), tokens, self.model)
