"""The configurations that several workloads may be served by, in one row after the other: rated all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from catalog.units import GIB
from optimizer.candidates.asked import Asked, token_mix
from optimizer.candidates.starts import Flags, Starts
from optimizer.memory import REASONS
from optimizer.performance import RowTarget
from optimizer.performance.station import OpenReplicas, Station
from optimizer.serving_config import BoolArray, FloatArray, IntArray

LACKS_MEMORY = tuple(REASONS.index(key) for key in ("", "memory", "context", "margin"))
"""Reasons, or none, for which fewer tokens a step may help."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Configurations at given batches; arrays [n]."""

    fits: BoolArray
    reason: NDArray[np.int8]
    """Index into REASONS, 0 where it fits."""
    held: FloatArray
    """Requests that the KV cache holds at once, as far as the batch goes."""
    at_most: FloatArray
    """Requests that it would hold if steps took no memory, however many the batch takes."""
    places: IntArray
    """Of the batch."""

    @property
    def runs(self) -> BoolArray:
        """[n] the replica starts and its batch fills."""
        return self.fits & (self.held >= self.places)

    @property
    def may_be_leaner(self) -> BoolArray:
        """[n] it lacks memory, and not more than steps take."""
        lean: BoolArray = ~self.runs & np.isin(self.reason, LACKS_MEMORY) & (self.at_most > 0)
        return lean

    def take(self, rows: IntArray | BoolArray) -> Evaluation:
        """The chosen rows, in that order."""
        return Evaluation(*(getattr(self, f.name)[rows] for f in fields(self)))

    def put(self, rows: IntArray, other: Evaluation) -> None:
        """Some rows written over."""
        for f in fields(self):
            getattr(self, f.name)[rows] = getattr(other, f.name)


@dataclass(frozen=True, slots=True)
class Field:
    """n rows, each a configuration of one of those asked; all are of one kind."""

    asked: tuple[Asked, ...]
    of: IntArray  # [n] index into `asked`
    row: IntArray  # [n] of its configurations
    station: Station
    limits_ms: FloatArray  # [n, T]
    starts: Starts
    max_model_len: IntArray  # [n]
    resident_tokens: FloatArray  # [n] that a running request holds on average
    dp: IntArray  # [n]

    @classmethod
    def whole(cls, asked: Sequence[Asked]) -> Field:
        """Every configuration of each, in their order."""
        mixes = [token_mix(one.workload) for one in asked]
        of = np.repeat(np.arange(len(asked)), [len(one.rows) for one in asked])
        pairs = list(zip(mixes, asked, strict=True))
        held = [mix.resident_tokens(one.physics.bench.output_held_fraction) for mix, one in pairs]
        limits = [[target.limit_ms for target in one.workload.planned_targets] for one in asked]
        return cls(
            asked=tuple(asked),
            of=of,
            row=np.concatenate([one.rows for one in asked]),
            station=Station.together([one.physics.station(mix).take(one.rows) for mix, one in pairs]),
            limits_ms=np.array(limits, np.float64).reshape(len(asked), -1)[of],
            starts=Starts.together([Starts.of(one.workload, one.physics.defaults.take(one.rows)) for one in asked]),
            max_model_len=np.array([one.max_model_len for one in asked], np.int64)[of],
            resident_tokens=np.array(held)[of],
            dp=np.concatenate([one.physics.configurations.dp[one.rows] for one in asked]),
        )

    def __len__(self) -> int:
        return len(self.of)

    def take(self, rows: IntArray) -> Field:
        """The chosen rows, in that order."""
        return Field(
            self.asked,
            self.of[rows],
            self.row[rows],
            self.station.take(rows),
            self.limits_ms[rows],
            self.starts.take(rows),
            self.max_model_len[rows],
            self.resident_tokens[rows],
            self.dp[rows],
        )

    @property
    def sizes(self) -> IntArray:
        """[B] batch sizes, ascending."""
        return self.asked[0].physics.sizes

    @property
    def targets(self) -> list[RowTarget]:
        """Each with the limits of all rows."""
        named = self.asked[0].workload.planned_targets
        return [RowTarget(t.metric, t.statistic, self.limits_ms[:, [i]]) for i, t in enumerate(named)]

    def replicas(self, tokens: IntArray, places: IntArray) -> OpenReplicas:
        """With `places` [n] in the batch and steps of at most `tokens` [n] a rank, under their requests."""
        return OpenReplicas.of(self.station, places.astype(np.float64), (tokens * self.dp).astype(np.float64))

    def evaluate(self, rows: IntArray, size: IntArray, flags: Flags) -> Evaluation:
        """Some rows at the batch sizes of these positions; rows of one model are looked at together."""
        n = len(rows)
        found = Evaluation(np.zeros(n, bool), np.zeros(n, np.int8), np.zeros(n), np.zeros(n), self.sizes[size])
        number = {id(one.physics): i for i, one in enumerate(self.asked)}
        of_physics = np.array([number[id(one.physics)] for one in self.asked])[self.of[rows]]
        for which in np.unique(of_physics).tolist():
            here = np.flatnonzero(of_physics == which)
            some = rows[here]
            parts = self.asked[which].physics.memory(
                self.row[some], size[here], self.max_model_len[some], flags.take(here)
            )
            for part, memory in parts:
                tokens, most = self.resident_tokens[some[part]], memory.max_num_seqs * memory.dp
                layout, used = memory.layout, memory.layout.used_bytes(tokens)
                held = layout.holding(memory.kv_cache_gib * GIB, used) * memory.dp
                growing = np.where(np.isinf(layout.cap_tokens), used, 0.0)  # windows take less where steps do
                at_most = layout.holding((memory.kv_cache_gib + memory.activation_gib) * GIB, growing) * memory.dp
                held = np.maximum(np.minimum(held, most), 1.0)
                places = found.places[here[part]]
                found.put(here[part], Evaluation(memory.fits, memory.reason, held, at_most, places))
        return found
