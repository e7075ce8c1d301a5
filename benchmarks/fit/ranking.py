"""Are configurations of one model on one card and engine put in the right order of throughput per GPU?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from itertools import combinations
from math import log

import numpy as np

from benchmarks.fit.held_out import Ratios
from optimizer.calibration.measurement import Measurement
from optimizer.calibration.observations import Observations
from optimizer.serving_config import FloatArray

LEAST_DIFFERENCE = 1.1
"""Throughputs nearer than this are a draw: repeat measurements differ by 3 to 7 %."""
COPY = 1.01
"""Runs nearer than this are taken for one run that was published twice."""


def ranked(
    observed: Observations, ratios: Ratios, counts: Callable[[Measurement, Measurement], bool]
) -> tuple[float, int]:
    """Part of the pairs that are ordered rightly, and how many there are.

    Of different configurations at the same sizes and requests in flight whose measured throughput per GPU differs.
    """
    runs = observed.measurements
    measured, predicted = measured_throughput(observed), predicted_throughput(observed, ratios)
    right = [
        bool(np.sign(measured[i] - measured[j]) == np.sign(predicted[i] - predicted[j]))
        for i, j in _pairs(observed, measured)
        if counts(runs[i], runs[j])
    ]
    return float(np.mean(right)), len(right)


@dataclass(frozen=True, slots=True)
class Repeats:
    """What measuring again tells about the order: no prediction can know it better."""

    runs: int
    """Pairs of runs of one configuration at the same sizes and requests in flight."""
    copies: float
    """Part of them whose throughput differs by less than 1 %: mostly one run, published twice."""
    apart: float
    """Median difference of the others, over one of both."""
    pairs: int
    """Pairs of configurations of which at least one was measured again."""
    by_repeat: float
    """Part of them that the other measurements put into the same order."""
    by_model: float
    """… that the prediction does."""


def repeats(observed: Observations, ratios: Ratios, run_of: Callable[[Measurement], Hashable]) -> Repeats:
    """Every pair of `ranked`, ordered by the other runs of the same configuration; `run_of` says which are the same."""
    runs = observed.measurements
    measured, predicted = measured_throughput(observed), predicted_throughput(observed, ratios)
    same = defaultdict(list)
    for i, m in enumerate(runs):
        same[_cell(m), configuration(m), run_of(m)].append(i)
    differences = np.array(
        [abs(log(measured[i] / measured[j])) for of in same.values() for i, j in combinations(of, 2)]
    )
    again = measured.copy()
    for of in same.values():
        for i in of:
            if others := [j for j in of if j != i]:
                again[i] = np.exp(np.log(measured[others]).mean())
    repeated = {i for of in same.values() if len(of) > 1 for i in of}
    pairs = np.array([(i, j) for i, j in _pairs(observed, measured) if i in repeated or j in repeated]).T
    truth, told, model = (np.sign(of[pairs[0]] - of[pairs[1]]) for of in (measured, again, predicted))
    return Repeats(
        runs=len(differences),
        copies=float(np.mean(differences < log(COPY))),
        apart=float(np.expm1(np.median(differences[differences >= log(COPY)]))),
        pairs=pairs.shape[1],
        by_repeat=float(np.mean(told == truth)),
        by_model=float(np.mean(model == truth)),
    )


def configuration(m: Measurement) -> tuple[object, ...]:
    """What a plan chooses; the engine's release is not part of it."""
    return m.tp, m.pp, m.dp, m.ep, m.weight_dtype


def measured_throughput(observed: Observations) -> FloatArray:
    """[m] output tokens/s per GPU."""
    return _throughput_per_gpu(observed, observed.ttft_ms, observed.tpot_ms)


def predicted_throughput(observed: Observations, ratios: Ratios) -> FloatArray:
    """[m] output tokens/s per GPU."""
    return _throughput_per_gpu(observed, observed.ttft_ms * ratios.ttft_ms, observed.tpot_ms * ratios.tpot_ms)


def _pairs(observed: Observations, measured: FloatArray) -> Iterator[tuple[int, int]]:
    runs = observed.measurements
    cells = defaultdict(list)
    for i, m in enumerate(runs):
        cells[_cell(m)].append(i)
    for rows in cells.values():
        for i, j in combinations(rows, 2):
            different = configuration(runs[i]) != configuration(runs[j])
            if different and abs(log(measured[i] / measured[j])) > log(LEAST_DIFFERENCE):
                yield i, j


def _cell(m: Measurement) -> tuple[object, ...]:
    return m.group, m.input_tokens, m.output_tokens, m.concurrency


def _throughput_per_gpu(observed: Observations, ttft_ms: FloatArray, tpot_ms: FloatArray) -> FloatArray:
    gpus = np.array([m.tp * m.pp * m.dp for m in observed.measurements])
    requests_ms = ttft_ms + tpot_ms * (observed.output_tokens - 1.0)
    rate: FloatArray = observed.concurrency * observed.output_tokens / requests_ms / gpus
    return rate
