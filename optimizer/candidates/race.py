"""Which configurations are worth rating: those whose best conceivable rate others do not reach already.

With places without end and a crowd that delays nobody, a replica sustains no less. That bound takes a fraction of the
time of a rating; then the most promising go first, and what they beat even at its bound is never rated.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizer.candidates.field import Field
from optimizer.candidates.prune import Rows, beaten_by, by_choice
from optimizer.performance.capacity import lateness
from optimizer.performance.chunks import most_decoding
from optimizer.serving_config import FloatArray, IntArray

LOOKS = 5
"""At loads, for a bound: a further one tightens it by less than it costs."""
SLACK = 1.02
"""On the bound, for latencies that do not grow with places or tokens of a step in some corner."""
PROMISING = 1.2
"""Bound over demand, from which on a replica is expected to carry it."""


@dataclass(frozen=True, slots=True)
class Entrant:
    """One of those asked, as it competes for the demand of its workload."""

    contest: int
    """The workload, on offers equally far away."""
    demand_rps: float
    """That replicas must carry at full use."""
    mix: bool
    """Several weight formats may serve it."""


class Race:
    """Among the rows of those asked, one entrant each, whose workloads have one request class."""

    def __init__(self, entrants: Sequence[Entrant], field: Field, at_most: FloatArray) -> None:
        """`at_most` [n] is no less than the requests that each replica can hold at once."""
        self.demand_rps = np.array([one.demand_rps for one in entrants])[field.of]
        self.bound_rps = SLACK * most_rps(field, at_most)
        self.rows = _rows(entrants, field, self.bound_rps, self.demand_rps / self.bound_rps)

    def likely(self) -> IntArray:
        """[m] of each choice on each card the smallest that may carry the demand, else the fastest for its size."""
        carries = self.bound_rps >= PROMISING * self.demand_rps
        size = np.where(carries, self.rows.gpus, -self.bound_rps / self.rows.gpus)
        return _first((self.rows.card, self.rows.choice), (~carries, size))

    def not_beaten_by(self, rated: IntArray, rate_rps: FloatArray) -> IntArray:
        """All other rows that may be better than those rated [m], given their rates [m]."""
        rows, others = self.rows, np.setdiff1d(np.arange(len(self.bound_rps)), rated, assume_unique=True)
        rows.rate_rps[rated, 0] = rate_rps
        rows.alone[rated] = _alone(self.demand_rps[rated], rate_rps)
        return others[~beaten_by(rows, by_choice(rows), others, rated)]


def most_rps(field: Field, at_most: FloatArray) -> FloatArray:
    """[n] no less than what each row sustains, of at most `at_most` [n] requests at once.

    With as many tokens a step as any start has, nobody waits for a place, and TPOT stays what it is on average while
    prefills come and go. The load is raised until even so a target is missed.
    """
    station, tokens = field.station, (field.starts.tokens[0] * field.dp).astype(np.float64)
    everybody = np.ones(station.prompt_tokens.shape, bool)
    high = np.minimum(np.minimum(at_most, float(field.sizes[-1])), most_decoding(station, tokens))
    at = station.uncrowded(high, np.maximum(high, 1.0), tokens)
    rate_rps, late = at.rate_rps, lateness(at, field.targets, everybody)
    open_ = np.flatnonzero(late > 0.0)
    if not open_.size:
        return rate_rps
    some, tokens, everybody = field.take(open_), tokens[open_], everybody[open_]
    station, targets = some.station, some.targets
    low, high, early, late = np.zeros(len(open_)), high[open_], np.full(len(open_), -0.5), late[open_]
    for look in range(LOOKS):
        part = np.full(len(open_), 0.2) if look == 0 else np.clip(-early / (late - early), 0.05, 0.95)
        probe = low + part * (high - low)
        at = station.uncrowded(probe, np.maximum(probe, 1.0), tokens)
        found = lateness(at, targets, everybody)
        held = found <= 0.0
        low, high = np.where(held, probe, low), np.where(held, high, probe)
        early, late = np.where(held, found, early / 2), np.where(held, late / 2, found)
        rate_rps[open_] = np.where(held, rate_rps[open_], at.rate_rps)
    return rate_rps


def _rows(entrants: Sequence[Entrant], field: Field, rate_rps: FloatArray, alone: FloatArray) -> Rows:
    """The rows, were they as fast as that [n]."""
    numbers: dict[Hashable, int] = {}
    card, choice, gpus = (np.zeros(len(field), np.int64) for _ in range(3))
    holds = np.zeros((len(field), max(one.holds.shape[1] for one in field.asked)), np.int64)
    for which, (entrant, asked) in enumerate(zip(entrants, field.asked, strict=True)):
        here = np.flatnonzero(field.of == which)
        c = asked.physics.configurations.take(field.row[here])
        cards = [numbers.setdefault((entrant.contest, gpu.id), len(numbers)) for gpu in c.gpus]
        formats = [0 if entrant.mix else numbers.setdefault((c.model.id, f.id), len(numbers)) for f in c.weight_formats]
        card[here], choice[here] = np.array(cards)[c.gpu], np.array(formats)[c.weight_format]
        gpus[here] = c.gpus_per_replica
        holds[here, : asked.holds.shape[1]] = asked.holds[field.row[here]]
    return Rows(card, choice, gpus, holds, rate_rps[:, None].copy(), alone)


def _alone(demand_rps: FloatArray, rate_rps: FloatArray) -> FloatArray:
    """[m] replicas that carry the demand by themselves; infinite where they carry none."""
    return np.divide(demand_rps, rate_rps, out=np.full_like(rate_rps, np.inf), where=rate_rps > 0)


def _first(group: Sequence[IntArray], order: Sequence[NDArray[Any]]) -> IntArray:
    """The first row of each group, in that order; of equals the one that comes first."""
    by = np.lexsort([*reversed(order), *reversed(group)])
    chosen = np.stack([column[by] for column in group])
    starts = np.append(True, (chosen[:, 1:] != chosen[:, :-1]).any(axis=0))
    return np.sort(by[starts[: len(by)]])
