"""Latencies of replicas under random or bursty arrivals, as they vary over requests (`station.py` finds them)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optimizer.performance.chunks import steps_taken
from optimizer.performance.mix import TokenMix
from optimizer.performance.step import column
from optimizer.performance.words import Latency, Statistic
from optimizer.serving_config import FloatArray

QUANTILE = {"p50": 0.0, "p90": 1.2815515655446004, "p95": 1.6448536269514722, "p99": 2.3263478740408408}
"""Of the standard normal distribution."""
BEYOND = {"p50": 0.5, "p90": 0.1, "p95": 0.05, "p99": 0.01}
"""Part of the requests that may be later than the percentile."""


@dataclass(frozen=True, slots=True)
class OwnPrompt:
    """Computing a request's own prompt, by its size over the mean of its class; milliseconds."""

    linear_ms: FloatArray  # [n, R]
    attention_ms: FloatArray  # [n, R] grows with the square of the size
    chunks: FloatArray  # [n, R] steps that the tokens of a mean prompt fill
    chunk_ms: FloatArray  # [n, 1] of each step beyond the first
    sigma: FloatArray  # [R] or [1]

    def of_size(self, size: FloatArray) -> FloatArray:
        """[n, R]"""
        further = steps_taken(self.chunks * size) - 1.0
        return self.linear_ms * size + self.attention_ms * size**2 + further * self.chunk_ms

    @property
    def mean_ms(self) -> FloatArray:
        """[n, R]"""
        mean: FloatArray = self.of_size(np.ones(1)) + self.attention_ms * np.expm1(self.sigma**2)
        return mean

    def away(self, z: float) -> FloatArray:
        """[n, R] distance of a percentile from the mean."""
        return self.of_size(np.exp(z * self.sigma - self.sigma**2 / 2.0)) - self.mean_ms


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """n replicas, R classes, requests arriving at random at their mix; milliseconds."""

    rate_rps: FloatArray
    """[n] of all classes together."""
    full_rate_rps: FloatArray
    """[n] while every place in the batch is taken."""
    certain_ms: FloatArray
    """[n] of the TTFT: what every request meets, without its own prompt."""
    own: OwnPrompt
    queued_ms: FloatArray
    """[n] rest of the running step and prefills of others."""
    queued_spread_ms: FloatArray  # [n] its standard deviation
    tpot_ms: FloatArray  # [n]
    crowd_spread_ms: FloatArray  # [n, R] standard deviation of TPOT over requests: how many decode beside it
    met_spread_ms: FloatArray  # [n, R] the same: how many prefills of others it happens to meet
    full_tpot_ms: FloatArray
    """[n] while every place is taken; a crowd cannot make it longer."""
    admitted: FloatArray
    """[n] requests in the batch."""
    no_place_fraction: FloatArray
    """[n] of the requests that find no place in the batch."""
    place_wait_ms: FloatArray
    """[n] mean wait of those; exponential."""
    mix: TokenMix

    @property
    def rate_of_class_rps(self) -> FloatArray:
        """[n, R] of one class alone, at the step times of the mix: Σ_r share_r / rate_r = 1 / rate."""
        residence = self.tpot_ms[:, None] * self.mix.further_tokens + self.certain_ms[:, None] + self.own.mean_ms
        rates: FloatArray = self.rate_rps[:, None] * column(self.mix.mean(residence)) / residence
        return rates

    def statistic(self, metric: Latency, statistic: Statistic) -> FloatArray:
        """[n, R] ms; a mean, or a percentile over the requests of a class.

        What varies independently adds up: distances of percentiles from means as the root of the sum of their squares,
        the wait for a place among them (from none, which is what most requests wait).
        """
        tpot, steps = self.tpot_ms[:, None], self.mix.further_tokens
        decoding = np.zeros_like(tpot) if metric == "ttft" else tpot if metric == "tpot" else tpot * steps
        mean = (
            decoding if metric == "tpot" else decoding + (self.certain_ms + self.queued_ms)[:, None] + self.own.mean_ms
        )
        if statistic == "mean":
            waiting = 0.0 if metric == "tpot" else (self.no_place_fraction * self.place_wait_ms)[:, None]
            return np.broadcast_to(mean + waiting, self.met_spread_ms.shape)
        z = QUANTILE[statistic]
        if metric == "tpot":
            return mean + self._tpot_away(z)
        away = [self.own.away(z), column(_away(self.queued_ms, self.queued_spread_ms, z))]
        if metric == "e2e":
            away += [
                steps * self._tpot_away(z),
                decoding * _lognormal_away(self.mix.output_sigma, z),
            ]
        away.append(column(self.place_wait_ms * np.log(np.maximum(self.no_place_fraction / BEYOND[statistic], 1.0))))
        squares: FloatArray = sum((one * np.abs(one) for one in away), np.zeros_like(mean))
        percentile: FloatArray = mean + np.sign(squares) * np.sqrt(np.abs(squares))
        return percentile

    def _tpot_away(self, z: float) -> FloatArray:
        """[n, R] distance of a percentile of TPOT from its mean."""
        room = np.maximum(self.full_tpot_ms - self.tpot_ms, 0.0)[:, None]
        distance: FloatArray = np.sqrt(np.minimum(z * self.crowd_spread_ms, room) ** 2 + (z * self.met_spread_ms) ** 2)
        return distance


def _away(mean: FloatArray, spread: FloatArray, z: float) -> FloatArray:
    """Distance of a percentile from the mean of a log-normal with that mean and spread."""
    square = np.log1p((spread / np.maximum(mean, 1e-12)) ** 2)
    distance: FloatArray = mean * np.expm1(z * np.sqrt(square) - square / 2.0)
    return distance


def _lognormal_away(sigma: FloatArray, z: float) -> FloatArray:
    """The same over the mean, from the standard deviation of the logarithm."""
    distance: FloatArray = np.expm1(z * sigma - sigma**2 / 2.0)
    return distance
