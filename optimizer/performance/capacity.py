"""The largest rate that replicas sustain within their latency targets, and how late requests are at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from catalog.schema import Calibration
from optimizer.memory import ReplicaMemory
from optimizer.performance.bands import Bands, bands_of
from optimizer.performance.chunks import step_tokens
from optimizer.performance.constants import row_constants
from optimizer.performance.mix import TokenMix
from optimizer.performance.models import performance_model
from optimizer.performance.open_loop import OpenLoop
from optimizer.performance.station import OpenReplicas, Station
from optimizer.performance.traits import trait_rows
from optimizer.performance.words import Latency, Statistic
from optimizer.performance.work import work_of
from optimizer.scenario import Target
from optimizer.serving_config import BoolArray, Configurations, FloatArray, IntArray

LOAD_STEPS = 4096
"""Loads that are told apart, in parts of the most that can decode at once."""
NEARLY_FULL = 0.9
"""Part of the rate of a full batch from which on queues grow so fast that a looser target gains little."""
LOOKS_AT_ONCE = 2048
"""At loads: fewer take about as long."""


class RowTarget(NamedTuple):
    """A latency target whose limit each replica has for itself."""

    metric: Latency
    statistic: Statistic
    limit_ms: FloatArray  # [n, 1]


def row_targets(targets: Sequence[Sequence[Target]], row: IntArray) -> list[RowTarget]:
    """For each of n replicas the targets of that position; all are of the same metrics and statistics."""
    limits_ms = np.array([[target.limit_ms for target in each] for each in targets], np.float64)[row]
    return [RowTarget(t.metric, t.statistic, limits_ms[:, [i]]) for i, t in enumerate(targets[0])]


Targets = Sequence[Target] | Sequence[RowTarget]


@dataclass(frozen=True, slots=True)
class RatedReplicas:
    """n replicas, R classes, requests arriving at random at a rate that is all they can carry; milliseconds."""

    open_loop: OpenLoop

    @classmethod
    def at(cls, replicas: OpenReplicas, load: IntArray) -> RatedReplicas:
        """At loads [n] in parts of the most that can decode at once."""
        return cls(replicas.at(decoding_of(load, replicas.most)))

    @property
    def part_of_full(self) -> FloatArray:
        """[n] of the rate while every place is taken; 1 at most."""
        return np.minimum(self.open_loop.rate_rps / self.open_loop.full_rate_rps, 1.0)

    @property
    def nearly_full(self) -> BoolArray:
        """[n] the batch is what limits the rate: a larger one would help more than a looser TTFT target."""
        return self.part_of_full >= NEARLY_FULL

    @property
    def rate_rps(self) -> FloatArray:
        """[n, R] of one class alone, at the step times of the mix: Σ_r share_r / rate_r = 1 / capacity."""
        most = np.minimum(self.open_loop.full_rate_rps / self.open_loop.rate_rps, 1.0)
        rates: FloatArray = self.open_loop.rate_of_class_rps * most[:, None]
        return rates

    def statistic(self, metric: Latency, statistic: Statistic) -> FloatArray:
        """[n, R] ms"""
        return self.open_loop.statistic(metric, statistic)


def open_replicas(
    configurations: Configurations, memory: ReplicaMemory, mix: TokenMix, batch: FloatArray, calibration: Calibration
) -> OpenReplicas:
    """n replicas of at most `batch` [n] sequences at once, under random arrivals."""
    constants = row_constants(trait_rows(configurations, calibration), calibration)
    work, tokens = work_of(configurations, mix, calibration), step_tokens(configurations, memory.max_num_batched_tokens)
    station = Station.of(work, constants, mix, performance_model(configurations, calibration))
    return OpenReplicas.of(station, batch, tokens)


def bands_at(configurations: Configurations, batch: FloatArray, calibration: Calibration) -> Bands:
    """80 % intervals of n replicas of at most `batch` [n] sequences, as multiples of the means."""
    return bands_of(trait_rows(configurations, calibration), batch, calibration)


def rated_replicas(
    configurations: Configurations,
    memory: ReplicaMemory,
    mix: TokenMix,
    batch: FloatArray,
    targets: Targets,
    served: BoolArray,
    calibration: Calibration,
) -> RatedReplicas:
    """n replicas with `batch` [n] places, at the largest rate at which each class `served` [n, R] holds each target."""
    replicas = open_replicas(configurations, memory, mix, batch, calibration)
    return RatedReplicas.at(replicas, largest_load(replicas, targets, served))


def decoding_of(load: IntArray, most: FloatArray) -> FloatArray:
    """[n] sequences; of no load, what an almost idle replica sees."""
    return np.maximum(load, 1) / LOAD_STEPS * most


def largest_load(replicas: OpenReplicas, targets: Targets, served: BoolArray) -> IntArray:
    """[n] in parts of the most that can decode at once: every latency grows with the load, so that one is the largest.

    By bisection. Where replicas are few, several halvings are looked at together, which changes nothing in the answer.
    """
    load = np.where(_held(replicas, replicas.most, targets, served), LOAD_STEPS, 0)
    open_, step = np.flatnonzero(load == 0), LOAD_STEPS
    while open_.size and step > 1:
        halvings = int(np.clip(np.log2(LOOKS_AT_ONCE / open_.size + 1), 1, np.log2(step)))
        parts = 2**halvings
        step //= parts
        looks = (load[open_, None] + step * np.arange(1, parts)).ravel()
        some = _taken(replicas, targets, served, np.repeat(open_, parts - 1))
        held = _held(some[0], decoding_of(looks, some[0].most), *some[1:]).reshape(-1, parts - 1)
        load[open_] += step * _halved(held)
    return load


def _halved(held: BoolArray) -> IntArray:
    """[n] where halvings end between looks that are held or not [n, looks]."""
    found, rows = np.zeros(len(held), np.int64), np.arange(len(held))
    width = (held.shape[1] + 1) // 2
    while width:
        found += np.where(held[rows, found + width - 1], width, 0)
        width //= 2
    return found


def _held(replicas: OpenReplicas, decoding: FloatArray, targets: Targets, served: BoolArray) -> BoolArray:
    """[n] whether every class served holds every target while so many decode."""
    held: BoolArray = lateness(replicas.at(decoding), targets, served) <= 0.0
    return held


def _taken(
    replicas: OpenReplicas, targets: Targets, served: BoolArray, rows: IntArray
) -> tuple[OpenReplicas, Targets, BoolArray]:
    """All three, of the chosen replicas."""
    limits = [RowTarget(t.metric, t.statistic, np.broadcast_to(t.limit_ms, (len(served), 1))[rows]) for t in targets]
    return replicas.take(rows), limits, served[rows]


def lateness(at: OpenLoop, targets: Targets, served: BoolArray) -> FloatArray:
    """[n] between −1 and 1: how far the class served that fares worst is from its target; above 0 it misses it."""
    worst = np.full(len(at.rate_rps), -1.0)
    for target in targets:
        over = at.statistic(target.metric, target.statistic) / target.limit_ms
        worst = np.maximum(worst, np.where(served, (over - 1.0) / (over + 1.0), -1.0).max(axis=1))
    return worst
