"""Continuous batching under random or bursty arrivals in closed form: latencies at an operating point.

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

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from catalog.units import MS_PER_S
from optimizer.performance.bursts import excess, found_ahead, overlap
from optimizer.performance.chunks import Chunks, chunks_of, most_decoding
from optimizer.performance.constants import RowConstants
from optimizer.performance.mix import TokenMix
from optimizer.performance.open_loop import QUANTILE, OpenLoop, OwnPrompt
from optimizer.performance.serving import share_of_ranks
from optimizer.performance.step import CALIBRATED, Curve, PerformanceModel, column
from optimizer.performance.words import Statistic
from optimizer.performance.work import Work
from optimizer.scenario.traffic import POISSON_CV
from optimizer.serving_config import FloatArray, IntArray

MOST_LOAD = 0.98
"""Beyond it a queue counts as endless: its formulas hold below 1 only."""
LONGEST_MS = 1e12
QUEUE_SPREAD = 1.6
"""Spread of the wait around the own step over what independent arrivals would give: long steps follow on each other.
Fitted to the simulator (benchmarks/simulation.py, every second case, loads of 0.2 and 0.4): with it p90, p95 and p99 of
TTFT are off by 4 %, 4 % and 8 % in the median, without it by 5 %, 7 % and 8 %, and too early in most cases."""


@dataclass(frozen=True, slots=True)
class Station:
    """n replicas and their R classes of requests, with all that depends neither on places nor on how many decode."""

    step: Curve
    mix: TokenMix
    prompt_tokens: FloatArray  # [n, R] that a prefill computes
    linear_ms: FloatArray  # [n, R] of a prompt
    attention_ms: FloatArray  # [n, R] of a prompt; grows with the square of its size
    first_ms: FloatArray
    """[n] a step of a sequence that is alone."""
    launch_ms: FloatArray
    """[n] of the prefills of a step."""
    delay_ms: FloatArray
    """[n] by which the mean prompt lengthens the step that it is prefilled in."""
    delay_square: FloatArray  # [n] mean of its square
    request_ms: FloatArray  # [n] of a request, once
    ttft_steps: FloatArray  # [n] around the prefill
    decode_steps: FloatArray  # [n]
    checked_tokens: FloatArray  # [n] of a sequence that a step computes
    tokens_per_step: FloatArray  # [n] that a step gives a sequence
    variability: FloatArray
    """[n] squared coefficient of variation of the output, over all classes: waits for a place grow with it (M/G/s)."""

    @classmethod
    def of(cls, work: Work, constants: RowConstants, mix: TokenMix, model: PerformanceModel = CALIBRATED) -> Station:
        """`work` at that mix."""
        launch_ms, own_ms, attention_ms = model.prefill(work, constants)
        delay_ms = (own_ms + attention_ms * np.expm1(mix.input_sigma**2)) * column(
            share_of_ranks(work, constants) * constants.prefill_interference
        )
        step, n = model.curve(work, constants), len(work.pp)
        of_rows = (
            step.ms(np.ones(n)),
            launch_ms,
            mix.mean(delay_ms),
            mix.mean(delay_ms**2 * np.exp(mix.input_sigma**2)),
            constants.request_ms,
            constants.ttft_steps,
            work.decode_steps,
            work.checked_tokens,
            work.tokens_per_step,
            _variability(mix),
        )
        columns = (np.broadcast_to(value, n) for value in of_rows)
        return cls(step, mix, work.prompt_tokens, own_ms - attention_ms, attention_ms, *columns)

    @property
    def share(self) -> FloatArray:
        """[R] or [n, R] of the classes."""
        return self.mix.share

    def take(self, rows: IntArray) -> Station:
        """The chosen rows, in that order."""
        return Station(self.step.take(rows), self.mix.take(rows), *(column[rows] for column in self._columns))

    @classmethod
    def together(cls, parts: Sequence[Station]) -> Station:
        """All rows, one part after the other; each part has one mix of as many classes that arrive alike."""
        row = np.repeat(np.arange(len(parts)), [len(part.first_ms) for part in parts])
        columns = map(np.concatenate, zip(*(part._columns for part in parts), strict=True))
        step = parts[0].step.together([part.step for part in parts])
        return cls(step, TokenMix.of_rows([part.mix for part in parts], row), *columns)

    @property
    def _columns(self) -> tuple[FloatArray, ...]:
        """All arrays, in their order."""
        of_classes = (self.prompt_tokens, self.linear_ms, self.attention_ms)
        times = (self.first_ms, self.launch_ms, self.delay_ms, self.delay_square, self.request_ms, self.ttft_steps)
        return (*of_classes, *times, self.decode_steps, self.checked_tokens, self.tokens_per_step, self.variability)

    def step_ms(self, decoding: FloatArray, places: FloatArray, chunks: Chunks) -> tuple[FloatArray, FloatArray]:
        """[n] as one who decodes sees it beside `decoding` others: without and with the prefills that come along."""
        sequences = np.minimum(1.0 + decoding, places)
        alone = self.step.ms(sequences)
        prefills = (sequences - 1.0) / self.decode_steps
        return alone, alone + prefills * self.delay_ms + chunks.mixed_fraction(prefills) * self.launch_ms

    def uncrowded(self, decoding: FloatArray, places: FloatArray, step_tokens: FloatArray) -> OpenLoop:
        """With `decoding` [n] sequences decoding on average: in steps of at most `places` sequences, none ever waits.

        Nor does TPOT vary with how many others decode: what `OpenReplicas` adds makes requests later, never earlier.
        """
        chunks, bursts = chunks_of(self, step_tokens, decoding), self.crowding(decoding)
        alone, step_ms = self.step_ms(decoding + bursts, places, chunks)
        rate = decoding / (self.decode_steps * step_ms)  # per ms
        queued, spread, around = self._queue(rate, alone, step_ms, -np.expm1(-decoding), chunks)
        started = alone + self.launch_ms
        nothing, tpot_ms = np.zeros_like(rate), step_ms / self.tokens_per_step
        return OpenLoop(
            rate_rps=rate * MS_PER_S,
            full_rate_rps=np.full_like(rate, np.inf),
            certain_ms=around + started,
            own=OwnPrompt(self.linear_ms, self.attention_ms, chunks.of_class, column(started), self.mix.input_sigma),
            queued_ms=queued,
            queued_spread_ms=spread,
            tpot_ms=tpot_ms,
            crowd_spread_ms=column(nothing),
            met_spread_ms=self.met_spread(decoding / self.decode_steps),
            full_tpot_ms=tpot_ms,
            admitted=decoding + rate * (started + self.delay_ms + queued),
            no_place_fraction=nothing,
            place_wait_ms=nothing,
            mix=self.mix,
        )

    def crowding(self, decoding: FloatArray) -> FloatArray:
        """[n] sequences beyond the mean that one who decodes meets beside it, before it and behind it in a burst.

        The number in a station of infinitely many servers has 1 + this as its variance over its mean.
        """
        if self.mix.arrival_cv == POISSON_CV:
            return np.zeros_like(decoding)
        sigma = np.sqrt(np.log1p(np.maximum(self.variability, 0.0)))
        return 2.0 * overlap(sigma) * excess(decoding, self.mix.arrival_cv)

    def _queue(
        self, rate: FloatArray, alone: FloatArray, step_ms: FloatArray, busy: FloatArray, chunks: Chunks
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """[n] mean and spread of the wait before and within the own step; what passes around it.

        The prefills of a step are those who arrived in the one before, so that long steps breed long ones. Prompts
        beyond the tokens of a step queue like customers of one server (Pollaczek–Khinchine).
        """
        arrivals = rate * step_ms
        none = np.exp(-arrivals)
        bred = np.minimum(rate * (self.delay_ms + self.launch_ms * none), MOST_LOAD)
        variance = (arrivals * self.delay_square + self.launch_ms**2 * none * (1.0 - none)) / (1.0 - bred**2)
        seen = step_ms + variance / step_ms  # the step that an arrival falls into is longer than the mean one
        filled_steps = chunks.mean
        filled = (alone + self.launch_ms) * filled_steps
        load = np.minimum(rate * (self.delay_ms + filled), MOST_LOAD)
        square = self.delay_square + 2.0 * self.delay_ms * filled + filled**2
        in_line = np.minimum(filled_steps, 1.0)
        line = rate * square / (2.0 * (1.0 - load)) * in_line
        others = rate * seen
        if self.mix.arrival_cv != POISSON_CV:
            behind = excess(arrivals / (1.0 - bred), self.mix.arrival_cv)  # into the same step
            others = others + behind + found_ahead(bred, self.mix.arrival_cv)
            line = line + (self.delay_ms + filled) * found_ahead(load, self.mix.arrival_cv) * in_line
        queued = busy * seen / 2.0 + others * self.delay_ms * (1.0 - in_line) + line
        spread = QUEUE_SPREAD * np.sqrt(busy * seen**2 / 12.0 + others * self.delay_square + variance / 4.0 + line**2)
        around = self.request_ms + np.maximum(self.ttft_steps - 1.0 - 0.5 * busy, 0.0) * alone
        return queued, spread, around

    @property
    def _varying_steps(self) -> FloatArray:
        """[n, R] of a request, as they count where those of short ones vary most: harmonic mean of the lengths."""
        steps = self.mix.further_tokens / column(self.tokens_per_step) * np.exp(-(self.mix.output_sigma**2))
        return np.maximum(steps, 1.0)

    def met_spread(self, arrivals: FloatArray) -> FloatArray:
        """[n, R] standard deviation of TPOT by the prefills that a request meets, `arrivals` [n] of them in a step."""
        met: FloatArray = np.sqrt(column(arrivals * self.delay_square) / self._varying_steps)
        return met / column(self.tokens_per_step)

    def crowd_spread(
        self, decoding: FloatArray, step_ms: FloatArray, stretch: FloatArray, bursts: FloatArray
    ) -> FloatArray:
        """[n, R] standard deviation of TPOT by the crowd while a request decodes, which counts as its mean then."""
        slope = (step_ms - self.first_ms) / np.maximum(decoding, 1.0)
        lives = column(1.0 / (self.decode_steps * stretch)) * self._varying_steps  # life over the time of forgetting
        averaged = 2.0 / lives * (1.0 + np.expm1(-lives) / lives)
        crowd: FloatArray = np.sqrt(column(slope**2 * decoding * stretch * (1.0 + bursts)) * averaged)
        return crowd / column(self.tokens_per_step)


@dataclass(frozen=True, slots=True)
class OpenReplicas:
    """n replicas with their places in the batch and tokens of a step; arrays [n]."""

    station: Station
    places: FloatArray
    """In the batch."""
    step_tokens: FloatArray
    """The most that one step computes."""
    most: FloatArray
    """Sequences that can decode at once."""
    full_ms: FloatArray
    """A step while so many do."""
    full_rate: FloatArray
    """Requests per ms while every place is taken."""

    @classmethod
    def of(cls, station: Station, places: FloatArray, step_tokens: FloatArray) -> OpenReplicas:
        """With `places` and `step_tokens` [n]."""
        most = np.minimum(places, most_decoding(station, step_tokens))
        beside_all = chunks_of(station, step_tokens, most)
        _, full_ms = station.step_ms(most, places, beside_all)
        prompt_ms = beside_all.steps * (station.first_ms + station.launch_ms) + station.delay_ms
        in_place_ms = station.decode_steps * full_ms + prompt_ms
        full_rate = np.minimum(places / in_place_ms, most / (station.decode_steps * full_ms))
        return cls(station, places, step_tokens, most, full_ms, full_rate)

    def take(self, rows: IntArray) -> OpenReplicas:
        """The chosen rows, in that order."""
        columns = (self.places, self.step_tokens, self.most, self.full_ms, self.full_rate)
        return OpenReplicas(self.station.take(rows), *(column[rows] for column in columns))

    def full_tpot_ms(self, statistic: Statistic) -> FloatArray:
        """[n, R] of TPOT while as many decode as can at once."""
        station = self.station
        chunks = chunks_of(station, self.step_tokens, self.most)
        _, step_ms = station.step_ms(self.most + station.crowding(self.most), self.places, chunks)
        z = 0.0 if statistic == "mean" else QUANTILE[statistic]
        tpot: FloatArray = column(step_ms / station.tokens_per_step) + z * station.met_spread(
            self.most / station.decode_steps
        )
        return tpot

    def at(self, decoding: FloatArray) -> OpenLoop:
        """With `decoding` [n] sequences decoding on average, more than none."""
        station = self.station
        free = station.uncrowded(decoding, self.places, self.step_tokens)
        bursts, step_ms = station.crowding(decoding), free.tpot_ms * station.tokens_per_step
        stretch = step_ms / station.first_ms
        left = np.maximum(self.full_rate - free.rate_rps / MS_PER_S, 1.0 / LONGEST_MS)
        return replace(
            free,
            full_rate_rps=self.full_rate * MS_PER_S,
            crowd_spread_ms=station.crowd_spread(decoding, step_ms, stretch, bursts),
            full_tpot_ms=self.full_ms / station.tokens_per_step,
            no_place_fraction=no_place(free.admitted, self.places, stretch * (1.0 + bursts)),
            place_wait_ms=(1.0 + station.variability) / 2.0 / left + self._burst_wait_ms(free.rate_rps / MS_PER_S),
        )

    def _burst_wait_ms(self, rate: FloatArray) -> FloatArray:
        """[n] for a place, beyond what is waited for it where arrivals are random; `rate` per ms."""
        busy = np.minimum(rate / self.full_rate, MOST_LOAD)
        wait: FloatArray = found_ahead(busy, self.station.mix.arrival_cv) / self.full_rate
        return wait


def _variability(mix: TokenMix) -> FloatArray:
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
