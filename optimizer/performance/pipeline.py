"""Pipelines of unequal stages: each stage rated as if all were like it, and the slowest speaks for the replica.

The P stages of a replica work on P micro-batches in turn, and hand on when the slowest is done: a step lasts P times
the slowest stage, its hand-over included. That is the step of an ordinary pipeline whose stages are all like that one,
so that is what each stage is rated as. A prompt passes the stages at the same pace.
"""

from __future__ import annotations

import numpy as np

from catalog.errors import InputError
from catalog.schema import Calibration
from optimizer.performance.chunks import step_tokens
from optimizer.performance.constants import row_constants
from optimizer.performance.mix import TokenMix
from optimizer.performance.station import OpenReplicas, Station
from optimizer.performance.tables import span_tables
from optimizer.performance.traits import trait_rows
from optimizer.performance.work import Bench
from optimizer.serving_config import Configurations, FloatArray, IntArray


def stage_replicas(
    configurations: Configurations,
    spans: IntArray,
    budget: IntArray,
    mix: TokenMix,
    batch: FloatArray,
    calibration: Calibration,
) -> OpenReplicas:
    """n pipelines of `pp` stages, all like the one of a span of layers [n, 2], both included, under random arrivals.

    `budget` [n] is the tokens of a step, `batch` [n] the sequences of the replica at once.
    """
    c = configurations
    if calibration.performance != "calibrated":
        raise InputError("silicon tables do not hold pipelines of unlike stages; leave heterogeneous_pipelines out")
    tables = span_tables(c.model, c.weight_formats, c.weight_format, spans, c.pp)
    constants = row_constants(trait_rows(c, calibration), calibration)
    station = Station.of(Bench.of(c, calibration, tables).work(mix), constants, mix)
    return OpenReplicas.of(station, batch, step_tokens(c, budget))


def slowest_stages(rate_rps: FloatArray, share: FloatArray, replica: IntArray) -> IntArray:
    """[replicas] the row among stages [n] at whose rates [n, R] each replica runs: the one that carries least.

    `replica` [n] numbers the replicas from 0, `share` [R] or [n, R] is that of the classes; of equals the first.
    """
    busy = np.where(rate_rps > 0, share / np.where(rate_rps > 0, rate_rps, 1.0), np.inf).sum(axis=1)
    order = np.lexsort((-busy, replica))
    slowest: IntArray = order[np.searchsorted(replica[order], np.arange(replica.max(initial=-1) + 1))]
    return slowest
