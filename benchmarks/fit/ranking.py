"""Are configurations of one model on one card put in the right order of throughput per GPU?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from itertools import combinations
from math import log

import numpy as np

from benchmarks.fit.held_out import Ratios
from optimizer.calibration.measurement import Measurement
from optimizer.calibration.observations import Observations
from optimizer.serving_config import FloatArray

LEAST_DIFFERENCE = 1.1
"""Throughputs nearer than this are a draw: repeat measurements differ by 3 to 7 %."""


def ranked(
    observed: Observations, ratios: Ratios, counts: Callable[[Measurement, Measurement], bool]
) -> tuple[float, int]:
    """Part of the pairs that are ordered rightly, and how many there are.

    Of different configurations at the same sizes and requests in flight whose measured throughput per GPU differs.
    """
    runs = observed.measurements
    measured = _throughput_per_gpu(observed, observed.ttft_ms, observed.tpot_ms)
    predicted = _throughput_per_gpu(observed, observed.ttft_ms * ratios.ttft_ms, observed.tpot_ms * ratios.tpot_ms)
    cells = defaultdict(list)
    for i, m in enumerate(runs):
        cells[m.group, m.input_tokens, m.output_tokens, m.concurrency].append(i)
    right = [
        (measured[i] > measured[j]) == (predicted[i] > predicted[j])
        for rows in cells.values()
        for i, j in combinations(rows, 2)
        if _configuration(runs[i]) != _configuration(runs[j])
        and counts(runs[i], runs[j])
        and abs(log(measured[i] / measured[j])) > log(LEAST_DIFFERENCE)
    ]
    return float(np.mean(right)), len(right)


def _throughput_per_gpu(observed: Observations, ttft_ms: FloatArray, tpot_ms: FloatArray) -> FloatArray:
    gpus = np.array([m.tp * m.pp * m.dp for m in observed.measurements])
    requests_ms = ttft_ms + tpot_ms * (observed.output_tokens - 1.0)
    rate: FloatArray = observed.concurrency * observed.output_tokens / requests_ms / gpus
    return rate


def _configuration(m: Measurement) -> tuple[object, ...]:
    return m.tp, m.pp, m.dp, m.ep, m.weight_dtype, m.engine_version
