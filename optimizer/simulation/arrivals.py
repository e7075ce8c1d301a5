"""When requests arrive: at random, in bursts, or as recorded."""

from __future__ import annotations

import numpy as np

from catalog.units import MS_PER_S
from optimizer.serving_config import FloatArray


def arrival_times_ms(rate_rps: float, duration_s: float, rng: np.random.Generator, *, cv: float = 1.0) -> FloatArray:
    """Ascending times within the duration; gamma distributed gaps with a coefficient of variation, 1 = Poisson."""
    shape = 1.0 / cv**2
    mean_ms = MS_PER_S / rate_rps
    times: list[FloatArray] = []
    now_ms, end_ms = 0.0, duration_s * MS_PER_S
    while now_ms < end_ms:
        expected = (end_ms - now_ms) / mean_ms
        gaps = rng.gamma(shape, mean_ms / shape, int(expected + 4.0 * cv * np.sqrt(expected)) + 16)
        times.append(now_ms + np.cumsum(gaps))
        now_ms = float(times[-1][-1])
    arrived = np.concatenate(times)
    return arrived[arrived < end_ms]


def scaled_to(rate_rps: float, arrived_ms: FloatArray) -> FloatArray:
    """Recorded times from zero, stretched or squeezed to a mean rate."""
    from_zero = arrived_ms - arrived_ms[0]
    recorded_rps = (len(arrived_ms) - 1) / from_zero[-1] * MS_PER_S
    scaled: FloatArray = from_zero * (recorded_rps / rate_rps)
    return scaled
