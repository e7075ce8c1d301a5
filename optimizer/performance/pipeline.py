"""Pipelines of unequal stages: how fast each stage is, and the replica that they make.

On most engines the P stages of a replica work on P micro-batches at once, and hand on when the slowest is done: a step
lasts P times the slowest stage, its hand-over included. That is the step of an ordinary pipeline whose stages are all
like that one, so that is what each stage is rated as, and the slowest speaks for the replica. A prompt passes the
stages at the same pace. Where stages take turns (`Engine.stages_take_turns`) one batch passes all of them while the
others wait: steps and prompts take the sum of what the stages take.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from catalog.errors import InputError
from catalog.schema import Calibration
from optimizer.performance.chunks import step_tokens
from optimizer.performance.constants import RowConstants, row_constants
from optimizer.performance.mix import TokenMix
from optimizer.performance.station import OpenReplicas, Station
from optimizer.performance.step import Curve
from optimizer.performance.tables import span_tables
from optimizer.performance.traits import trait_rows
from optimizer.performance.work import Bench, Work
from optimizer.serving_config import BoolArray, Configurations, FloatArray, IntArray


def stage_work(
    configurations: Configurations, spans: IntArray, mix: TokenMix, calibration: Calibration
) -> tuple[Work, RowConstants]:
    """Of each of n stages, of the layers of a span [n, 2], both included: of a replica whose stages are all like it, or
    where stages take turns its own part, which adds up over the stages of a replica."""
    c = configurations
    if calibration.performance != "calibrated":
        raise InputError("silicon tables do not hold pipelines of unlike stages; leave heterogeneous_pipelines out")
    in_turn = c.engine.stages_take_turns
    times = np.ones_like(c.pp) if in_turn else c.pp
    tables = span_tables(c.model, c.weight_formats, c.weight_format, spans, times)
    work = Bench.of(c, calibration, tables).work(mix)
    constants = row_constants(trait_rows(c, calibration), calibration)
    if not in_turn:
        return work, constants
    work = replace(work, hand_overs=work.hand_overs / c.pp, hand_over_link_ms=work.hand_over_link_ms / c.pp)
    return work, replace(constants, step_ms=constants.step_ms / c.pp, sequence_ms=constants.sequence_ms / c.pp)


def stage_replicas(
    configurations: Configurations,
    spans: IntArray,
    budget: IntArray,
    mix: TokenMix,
    batch: FloatArray,
    calibration: Calibration,
) -> OpenReplicas:
    """n stages under random arrivals: each as a replica whose stages are all like it, or where they take turns alone.

    `spans` [n, 2] are their first and last layers, `budget` [n] is the tokens of a step, `batch` [n] the sequences of
    the replica at once.
    """
    station = Station.of(*stage_work(configurations, spans, mix, calibration), mix)
    return OpenReplicas.of(station, batch, step_tokens(configurations, budget))


def pipeline_replicas(
    configurations: Configurations,
    spans: IntArray,
    replica: IntArray,
    budget: IntArray,
    mix: TokenMix,
    batch: FloatArray,
    calibration: Calibration,
) -> OpenReplicas:
    """Replicas by the rows [n] of their stages, `replica` [n] numbering them from 0 in order, under random arrivals.

    Where stages take turns every row is the whole replica; else it is one whose stages are all like that row's, and the
    slowest of them (`slowest_stages`) is the replica's. `budget` and `batch` [n] as in `stage_replicas`.
    """
    station = Station.of(*stage_work(configurations, spans, mix, calibration), mix)
    if configurations.engine.stages_take_turns:
        station = _in_turn(station, replica)
    return OpenReplicas.of(station, batch, step_tokens(configurations, budget))


def slowest_stages(rate_rps: FloatArray, share: FloatArray, replica: IntArray) -> IntArray:
    """[replicas] the row among stages [n] at whose rates [n, R] each replica runs: the one that carries least.

    `replica` [n] numbers the replicas from 0, `share` [R] or [n, R] is that of the classes; of equals the first.
    """
    busy = np.where(rate_rps > 0, share / np.where(rate_rps > 0, rate_rps, 1.0), np.inf).sum(axis=1)
    order = np.lexsort((-busy, replica))
    slowest: IntArray = order[np.searchsorted(replica[order], np.arange(replica.max(initial=-1) + 1))]
    return slowest


def _in_turn(stages: Station, replica: IntArray) -> Station:
    """Of every row the whole replica: what its stages take one after the other.

    Prompts delay others in every stage alike, so that the roots of the mean squares of these delays add up too.
    """

    def summed(of_stages: FloatArray) -> FloatArray:
        total = np.zeros((1 + replica.max(initial=-1), *of_stages.shape[1:]))
        np.add.at(total, replica, of_stages)
        whole: FloatArray = total[replica]
        return whole

    n_stages = summed(np.ones(len(replica)))
    return replace(
        stages,
        step=StagesInTurn.of(stages.step, replica),
        linear_ms=summed(stages.linear_ms),
        attention_ms=summed(stages.attention_ms),
        first_ms=summed(stages.first_ms),
        launch_ms=summed(stages.launch_ms),
        delay_ms=summed(stages.delay_ms),
        delay_square=summed(np.sqrt(stages.delay_square)) ** 2,
        request_ms=summed(stages.request_ms) / n_stages,
        ttft_steps=summed(stages.ttft_steps) / n_stages,
    )


@dataclass(frozen=True, slots=True)
class StagesInTurn:
    """The time of a step that passes several stages one after the other; arrays [n]."""

    parts: tuple[Curve, ...]
    """The first stage of each replica, the second …; of those with fewer any."""
    there: tuple[BoolArray, ...]
    """Whether the replica has that stage."""

    @classmethod
    def of(cls, step: Curve, replica: IntArray) -> StagesInTurn:
        """Of every row of the stages [n] that of its whole replica."""
        first = np.searchsorted(replica, replica)  # replicas lie one after the other
        n_stages = np.bincount(replica, minlength=1)[replica]
        positions = range(int(n_stages.max(initial=1)))
        has = tuple(n_stages > position for position in positions)
        rows = (first + np.minimum(position, n_stages - 1) for position in positions)
        return cls(tuple(step.take(row) for row in rows), has)

    def ms(self, batch: FloatArray) -> FloatArray:
        """[n] of steps of `batch` [n] sequences."""
        total = np.zeros(len(batch))
        for part, there in zip(self.parts, self.there, strict=True):
            total += np.where(there, part.ms(batch), 0.0)
        return total

    def take(self, rows: IntArray) -> StagesInTurn:
        """The chosen rows, in that order."""
        return StagesInTurn(tuple(part.take(rows) for part in self.parts), tuple(has[rows] for has in self.there))

    @classmethod
    def together(cls, parts: Sequence[StagesInTurn]) -> StagesInTurn:
        """All rows, one part after the other; each part has replicas of as many stages at most."""
        kinds = zip(*(part.parts for part in parts), strict=True)
        there = zip(*(part.there for part in parts), strict=True)
        joined = tuple(kind[0].together(kind) for kind in kinds)
        return cls(joined, tuple(np.concatenate(has) for has in there))
