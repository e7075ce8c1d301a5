"""Continuous batching under random or bursty arrivals in closed form: latency percentiles at an operating point.

The operating point is D, the mean number of sequences that decode, from which all else follows without iteration. One
who decodes meets D others on average (who arrives at random sees what is there on average), and D / S prefills come
along in a step (S steps a request), so that its steps take

    τ(D) = step(1 + D) + (D / S) · δ + (1 − exp(−D / S)) · launch,    and by Little's law    λ = D / (S · τ(D)).

As τ grows about linearly in D, the replica is a delay station (τ₀ = τ(0) a step) and a shared processor in one. The
number in it is then negative binomial, whatever the lengths: variance D · τ / τ₀, forgotten over S · τ · τ / τ₀. TTFT
is the rest of the step that runs, one with the prefills of all who arrived in it, and at times the wait for a place.
Where requests come in bursts, others come with each: it meets more of them, and the crowd varies more (`bursts.py`).
`docs/simulation.md` derives this and shows the gap to the simulated scheduler.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from catalog.units import MS_PER_S
from optimizer.performance.bursts import excess, overlap
from optimizer.performance.chunks import Chunks, chunks_of, most_decoding, steps_taken
from optimizer.performance.constants import RowConstants
from optimizer.performance.mix import TokenMix
from optimizer.performance.serving import share_of_ranks
from optimizer.performance.step import CALIBRATED, PerformanceModel, column
from optimizer.performance.words import Latency, Statistic
from optimizer.performance.work import Work
from optimizer.serving_config import FloatArray

QUANTILE = {"p50": 0.0, "p90": 1.2815515655446004, "p95": 1.6448536269514722, "p99": 2.3263478740408408}
"""Of the standard normal distribution."""
BEYOND = {"p50": 0.5, "p90": 0.1, "p95": 0.05, "p99": 0.01}
"""Part of the requests that may be later than the percentile."""
MOST_LOAD = 0.98
"""Beyond it a queue counts as endless: its formulas hold below 1 only."""
LONGEST_MS = 1e12
QUEUE_SPREAD = 1.6
"""Spread of the wait around the own step over what independent arrivals would give: long steps follow on each other.
Fitted to the simulator (benchmarks/simulation.py, every second case, loads of 0.2 and 0.4): with it p90, p95 and p99 of
TTFT are off by 4 %, 4 % and 8 % in the median, without it by 5 %, 7 % and 8 %, and too early in most cases."""
BURST_PREFILLS = 2.5
"""Prefills of the same burst that a first token waits for, over those that come within one step: a burst of prompts
makes a long step, into which more of it fall. Fitted to the simulator (every second case of benchmarks/simulation.py,
gaps with cv 1.5, 2 and 4): p50 and p95 of TTFT are off by 14 % and 22 %, with 1 by 19 % and 25 %."""


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
    no_place_fraction: FloatArray
    """[n] of the requests that find no place in the batch."""
    place_wait_ms: FloatArray
    """[n] mean wait of those; exponential."""
    mix: TokenMix

    @property
    def rate_of_class_rps(self) -> FloatArray:
        """[n, R] of one class alone, at the step times of the mix: Σ_r share_r / rate_r = 1 / rate."""
        residence = self.tpot_ms[:, None] * _further_tokens(self.mix) + self.certain_ms[:, None] + self.own.mean_ms
        rates: FloatArray = self.rate_rps[:, None] * column(self.mix.mean(residence)) / residence
        return rates

    def statistic(self, metric: Latency, statistic: Statistic) -> FloatArray:
        """[n, R] ms; a mean, or a percentile over the requests of a class.

        What varies independently adds up: distances of percentiles from means as the root of the sum of their squares,
        the wait for a place among them (from none, which is what most requests wait).
        """
        tpot = np.broadcast_to(self.tpot_ms[:, None], self.met_spread_ms.shape)
        steps = _further_tokens(self.mix)
        decoding = np.zeros_like(tpot) if metric == "ttft" else tpot if metric == "tpot" else tpot * steps
        mean = (
            decoding if metric == "tpot" else decoding + (self.certain_ms + self.queued_ms)[:, None] + self.own.mean_ms
        )
        if statistic == "mean":
            return mean if metric == "tpot" else mean + (self.no_place_fraction * self.place_wait_ms)[:, None]
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
        distance: FloatArray = np.hypot(np.minimum(z * self.crowd_spread_ms, room), z * self.met_spread_ms)
        return distance


class OpenReplicas:
    """n replicas with what does not depend on the operating point."""

    def __init__(
        self,
        work: Work,
        constants: RowConstants,
        mix: TokenMix,
        places: FloatArray,
        batched_tokens: FloatArray,
        model: PerformanceModel = CALIBRATED,
    ) -> None:
        """`places` [n] in the batch, `batched_tokens` [n] the most that one step computes."""
        self.work, self.constants, self.mix, self.model = work, constants, mix, model
        self.places, self.batched_tokens = places, batched_tokens
        self.launch, own_ms, self.attention_ms = model.prefill(work, constants)
        self.linear_ms = own_ms - self.attention_ms
        delay = (own_ms + self.attention_ms * np.expm1(mix.input_sigma**2)) * column(
            share_of_ranks(work, constants) * constants.prefill_interference
        )
        self.delay_ms = mix.mean(delay)
        self.delay_square = mix.mean(delay**2 * np.exp(mix.input_sigma**2))
        self.most = np.minimum(places, most_decoding(work, batched_tokens))
        nobody = np.zeros_like(places)
        _, self.first_ms = self._step(nobody, self._chunks(nobody))
        beside_all = self._chunks(self.most)
        _, self.full_ms = self._step(self.most, beside_all)
        prompt_ms = beside_all.steps * (self.first_ms + self.launch) + self.delay_ms
        in_place_ms = work.decode_steps * self.full_ms + prompt_ms
        self.full_rate = np.minimum(places / in_place_ms, self.most / (work.decode_steps * self.full_ms))

    def _chunks(self, decoding: FloatArray) -> Chunks:
        """The mix's prompts beside `decoding` [n] sequences."""
        return chunks_of(self.work, self.batched_tokens, decoding)

    def _step(self, decoding: FloatArray, chunks: Chunks) -> tuple[FloatArray, FloatArray]:
        """[n] as one who decodes sees it beside `decoding` others: without and with the prefills that come along."""
        sequences = np.minimum(1.0 + decoding, self.places)
        alone = self.model.decode(self.work, self.constants, sequences).total
        prefills = (sequences - 1.0) / self.work.decode_steps
        return alone, alone + prefills * self.delay_ms + chunks.mixed_fraction(prefills) * self.launch

    def at(self, decoding: FloatArray) -> OpenLoop:
        """With `decoding` [n] sequences decoding on average, more than none."""
        work, mix = self.work, self.mix
        chunks, bursts = self._chunks(decoding), self._crowding(decoding)
        alone, step_ms = self._step(decoding + bursts, chunks)
        rate = decoding / (work.decode_steps * step_ms)  # per ms
        queued, spread, around = self._queue(rate, alone, step_ms, -np.expm1(-decoding), chunks)
        admitted = decoding + rate * (alone + self.launch + self.delay_ms + queued)
        stretch = step_ms / self.first_ms
        crowd, met = self._tpot_spread(decoding, rate, step_ms, stretch, bursts)
        left = np.maximum(self.full_rate - rate, 1.0 / LONGEST_MS)
        return OpenLoop(
            rate_rps=rate * MS_PER_S,
            full_rate_rps=self.full_rate * MS_PER_S,
            certain_ms=around + alone + self.launch,
            own=OwnPrompt(
                self.linear_ms, self.attention_ms, chunks.of_class, column(alone + self.launch), mix.input_sigma
            ),
            queued_ms=queued,
            queued_spread_ms=spread,
            tpot_ms=step_ms / work.tokens_per_step,
            crowd_spread_ms=crowd,
            met_spread_ms=met,
            full_tpot_ms=self.full_ms / work.tokens_per_step,
            no_place_fraction=no_place(admitted, self.places, stretch * (1.0 + bursts)),
            place_wait_ms=(mix.arrival_cv**2 + _variability(mix)) / 2.0 / left,
            mix=mix,
        )

    def _crowding(self, decoding: FloatArray) -> FloatArray:
        """[n] sequences beyond the mean that one who decodes meets beside it, before it and behind it in a burst.

        The number in a station of infinitely many servers has 1 + this as its variance over its mean.
        """
        sigma = np.sqrt(np.log1p(np.maximum(_variability(self.mix), 0.0)))
        return 2.0 * overlap(sigma) * excess(decoding, self.mix.arrival_cv)

    def _queue(
        self, rate: FloatArray, alone: FloatArray, step_ms: FloatArray, busy: FloatArray, chunks: Chunks
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """[n] mean and spread of the wait before and within the own step; what passes around it.

        The prefills of a step are those who arrived in the one before, so that long steps breed long ones. Prompts
        beyond the tokens of a step queue like customers of one server (Pollaczek–Khinchine).
        """
        c = self.constants
        arrivals, none = rate * step_ms, np.exp(-rate * step_ms)
        bred = np.minimum(rate * (self.delay_ms + self.launch * none), MOST_LOAD)
        variance = (arrivals * self.delay_square + self.launch**2 * none * (1.0 - none)) / (1.0 - bred**2)
        seen = step_ms + variance / step_ms  # the step that an arrival falls into is longer than the mean one
        filled = (alone + self.launch) * chunks.mean
        load = np.minimum(rate * (self.delay_ms + filled), MOST_LOAD)
        square = self.delay_square + 2.0 * self.delay_ms * filled + filled**2
        in_line = np.minimum(chunks.mean, 1.0)
        line = rate * square / (2.0 * (1.0 - load)) * in_line
        others = rate * seen + BURST_PREFILLS * excess(arrivals / (1.0 - bred), self.mix.arrival_cv)
        queued = busy * seen / 2.0 + others * self.delay_ms * (1.0 - in_line) + line
        spread = QUEUE_SPREAD * np.sqrt(busy * seen**2 / 12.0 + others * self.delay_square + variance / 4.0 + line**2)
        around = c.request_ms + np.maximum(c.ttft_steps - 1.0 - 0.5 * busy, 0.0) * alone
        return queued, spread, around

    def _tpot_spread(
        self, decoding: FloatArray, rate: FloatArray, step_ms: FloatArray, stretch: FloatArray, bursts: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """[n, R] standard deviations of a request's TPOT: by the crowd while it decodes, by the prefills it meets.

        The crowd counts as its mean over the request's life; short requests vary most (harmonic mean of the lengths).
        """
        per_step = self.work.tokens_per_step
        steps = np.maximum(_further_tokens(self.mix) / per_step * np.exp(-(self.mix.output_sigma**2)), 1.0)
        slope = (step_ms - self.first_ms) / np.maximum(decoding, 1.0)
        lives = column(1.0 / (self.work.decode_steps * stretch)) * steps  # life over the time of forgetting
        averaged = 2.0 / lives * (1.0 + np.expm1(-lives) / lives)
        crowd: FloatArray = np.sqrt(column(slope**2 * decoding * stretch * (1.0 + bursts)) * averaged)
        met: FloatArray = np.sqrt(column(step_ms * rate * self.delay_square) / steps)
        return crowd / per_step, met / per_step


def _further_tokens(mix: TokenMix) -> FloatArray:
    """[…, R] after the first."""
    return np.maximum(mix.output_tokens - 1.0, 0.0)


def _variability(mix: TokenMix) -> FloatArray:
    """[…] squared coefficient of variation of the output, over all classes: waits for a place grow with it (M/G/s)."""
    mean = mix.mean(mix.output_tokens)
    return mix.mean(np.exp(mix.output_sigma**2) * mix.output_tokens**2) / mean**2 - 1.0


def no_place(admitted: FloatArray, places: FloatArray, stretch: FloatArray) -> FloatArray:
    """[n] part of the requests that find every place taken, where `admitted` are in the batch on average.

    Halfin and Whitt (1981): 1 / (1 + β · Φ(β) / φ(β)), with β the places to spare in standard deviations. Their limit
    of many places leaves open whether the variance is that of the load or of the places; the geometric mean of both
    gives Erlang's formula within a tenth from 4 places on.
    """
    deviation = np.sqrt(np.sqrt(admitted * places) * stretch)
    beta = np.clip((places - admitted) / deviation, 0.0, 30.0)
    density = np.exp(-(beta**2) / 2.0) / np.sqrt(2.0 * np.pi)
    below = 0.5 * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (beta + 0.044715 * beta**3)))  # Φ to within 0.0003
    fraction: FloatArray = density / (density + beta * below)
    return fraction


def _away(mean: FloatArray, spread: FloatArray, z: float) -> FloatArray:
    """Distance of a percentile from the mean of a log-normal with that mean and spread."""
    square = np.log1p((spread / np.maximum(mean, 1e-12)) ** 2)
    distance: FloatArray = mean * np.expm1(z * np.sqrt(square) - square / 2.0)
    return distance


def _lognormal_away(sigma: FloatArray, z: float) -> FloatArray:
    """The same over the mean, from the standard deviation of the logarithm."""
    distance: FloatArray = np.expm1(z * sigma - sigma**2 / 2.0)
    return distance
