"""Continuous batching in closed form: how prefills and decoding share a replica with so many requests in flight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from catalog.units import MS_PER_S
from optimizer.performance.chunks import chunks_of, most_decoding
from optimizer.performance.constants import RowConstants
from optimizer.performance.step import CALIBRATED, PerformanceModel, StepParts, column
from optimizer.performance.work import Work
from optimizer.serving_config import BoolArray, FloatArray, IntArray

ROUNDS = 3
"""Of the fixed point between batch and step time; a further one moves the step by less than one in a thousand."""


@dataclass(frozen=True, slots=True)
class Served:
    """Replicas under a constant number of requests; milliseconds, arrays [n] or [n, R]."""

    running: FloatArray
    """Requests in flight, as far as the replica holds them."""
    step: StepParts
    """A decode step without prefills, by the tokens that it gives a sequence."""
    interleaved_ms: FloatArray
    """By which prefills of others lengthen that on average."""
    preempted_ms: FloatArray
    """Of a token: waiting for KV blocks after admission."""
    tpot_ms: FloatArray
    request_ms: FloatArray
    """Of a request, once."""
    steps_ms: FloatArray
    """Decode steps around the prefill, and those that carry its further chunks."""
    prefill_ms: FloatArray  # [n, R]
    waiting_ms: FloatArray
    """For prefills of others, and for a place in the batch."""
    ttft_ms: FloatArray  # [n, R]
    rate_rps: FloatArray  # [n, R]
    """Requests of one class alone that the places of the batch pass through at these step times."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many requests a replica holds at once."""

    requests: FloatArray  # [n]
    by_kv_cache: BoolArray  # [n] the KV cache sets it, not max_num_seqs
    step_tokens: FloatArray  # [n] the most that one step computes, over all attention ranks

    def take(self, rows: IntArray) -> Capacity:
        """The chosen rows, in that order."""
        return Capacity(self.requests[rows], self.by_kv_cache[rows], self.step_tokens[rows])


def closed_loop(
    work: Work,
    constants: RowConstants,
    concurrency: FloatArray,
    capacity: Capacity,
    output_tokens: FloatArray,
    model: PerformanceModel = CALIBRATED,
) -> Served:
    """`concurrency` [n] requests always in flight, `output_tokens` [R] or [n, R] of each class.

    Of N admitted requests, one that decodes meets the other N − 1 as they are at any moment (arrival theorem): its
    steps have D = 1 + (N − 1) · (part of its time that a request decodes) sequences, and carry (D − 1) / (output − 1)
    prefills of others each. TTFT is the own prefill, some steps, and the prefills waited for: a few as soon as there
    are others, and more with N, because requests arrive in bunches. Prompts beyond a step's room take further steps,
    and where steps lack room for all prompts that could come, requests wait in line for it. Those beyond capacity wait
    for a place by Little's law, N_waiting / rate: before admission by the part of the KV cache that a prompt needs,
    after it (preemption) by the rest.
    """
    c = constants
    running = np.minimum(concurrency, capacity.requests)
    others = running - 1.0
    launch, own_tokens, _ = model.prefill(work, c)
    mean_tokens = own_tokens @ work.share
    delay = mean_tokens * c.prefill_interference * share_of_ranks(work, c)
    waited = mean_tokens / work.pp * (c.waited_prefills * others / running + c.waited_prefills_per_sequence * others)
    per_step, most = work.tokens_per_step, most_decoding(work, capacity.step_tokens)
    sharing = np.minimum(others, most - 1.0)
    for _ in range(ROUNDS):
        step = model.decode(work, c, 1.0 + sharing)
        step_ms = step.total
        prefills = sharing / work.decode_steps
        chunks = chunks_of(work, capacity.step_tokens, sharing)
        interleaved = prefills * delay + chunks.mixed_fraction(prefills) * launch
        further = (chunks.steps - 1.0) * (step_ms + launch)
        before = c.request_ms + c.ttft_steps * step_ms + waited + launch + further
        decoding = work.decode_steps * (step_ms + interleaved)
        cycle = np.maximum(decoding + before + mean_tokens, running * decoding / most)
        sharing = np.minimum(others * decoding / cycle, most - 1.0)
    in_line = cycle - (decoding + before + mean_tokens)
    step, interleaved = StepParts(*(part / per_step for part in step)), interleaved / per_step
    after_first = np.maximum(output_tokens - 1.0, 0.0)
    residence = column(step.total + interleaved) * after_first + (column(before) + own_tokens)
    residence = residence * column(1.0 + in_line / (residence @ work.share))
    outside = (concurrency - running) * (residence @ work.share) / running
    admission = np.where(capacity.by_kv_cache, work.admission_fraction, 1.0) * outside
    preempted = (outside - admission) / (work.decode_steps * per_step)
    waiting = waited + in_line + admission
    return Served(
        running=running,
        step=step,
        interleaved_ms=interleaved,
        preempted_ms=preempted,
        tpot_ms=step.total + interleaved + preempted,
        request_ms=c.request_ms + 0.0 * running,
        steps_ms=c.ttft_steps * step_ms + further,
        prefill_ms=column(launch) + own_tokens,
        waiting_ms=waiting,
        ttft_ms=column(before + in_line + admission) + own_tokens,
        rate_rps=MS_PER_S * column(running) / residence,
    )


def share_of_ranks(work: Work, constants: RowConstants) -> FloatArray:
    """Part of the replica that one prefill occupies: a stage, and an attention rank that the others then wait for."""
    uneven = np.where(work.dp > 1.0, 1.0 + constants.data_parallel_imbalance, 1.0)
    share: FloatArray = uneven / (work.dp * work.pp)
    return share
