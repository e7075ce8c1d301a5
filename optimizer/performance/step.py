"""How long a decode step and a prefill take: work at rated speed, made real by the constants."""

from __future__ import annotations

from typing import NamedTuple, Protocol, Self

import numpy as np

from optimizer.performance.constants import RowConstants
from optimizer.performance.work import Work
from optimizer.serving_config import FloatArray, IntArray


class StepParts(NamedTuple):
    """One decode step; milliseconds [n] that sum to its time."""

    weights: FloatArray
    """Reading the weights, of experts those that the batch touches."""
    kv: FloatArray
    """Reading KV cache and states, or attention's arithmetic where that takes longer."""
    compute: FloatArray
    """Matrix products, as far as reading the weights does not hide them."""
    all_reduce: FloatArray
    all_to_all: FloatArray
    pipeline: FloatArray
    launch: FloatArray
    """Kernels, norms and scheduling, whatever the batch."""
    per_sequence: FloatArray

    @property
    def total(self) -> FloatArray:
        """[n]"""
        total: FloatArray = sum(self[1:], start=self[0])
        return total


class PerformanceModel(Protocol):
    """How long steps and prefills of n configurations take, whoever knows it; all else follows from that."""

    def decode(self, work: Work, constants: RowConstants, batch: FloatArray) -> StepParts:
        """One step of `batch` [n] sequences."""

    def sequence_ms(self, work: Work, constants: RowConstants) -> FloatArray:
        """[n] by which what a sequence of an attention rank has in its KV cache lengthens a step."""

    def prefill(self, work: Work, constants: RowConstants) -> Prefill:
        """The prefill of one prompt of each class."""

    def take(self, rows: IntArray) -> Self:
        """The chosen configurations, in that order."""

    def columns(self) -> list[FloatArray]:
        """Arrays [n] beside work and constants: a configuration with none of them larger is as fast."""


def decode_step(work: Work, constants: RowConstants, batch: FloatArray) -> StepParts:
    """One step of `batch` [n] sequences, spread evenly over attention ranks and pipeline stages.

    The stages work on micro-batches in turn, so that a token passes every layer once a step; reading and arithmetic of
    the same tensors overlap, which is the root of the sum of their squares.
    """
    c = constants
    microbatch = np.maximum(batch / work.pp, 1.0)
    sequences = np.maximum(microbatch / work.dp, 1.0)
    weights = work.dense_read_ms / c.weight_read_efficiency + _expert_read_ms(work, c, microbatch)
    products = (
        sequences * work.dense_compute_ms / c.compute_efficiency
        + microbatch * work.expert_compute_ms / c.expert_compute_efficiency
    )
    return StepParts(
        weights=weights,
        kv=sequences * attention_step(work, c),
        compute=_either(weights, products) - weights,
        all_reduce=work.all_reduce_hops * c.all_reduce_ms + sequences * work.all_reduce_link_ms / c.link_efficiency,
        all_to_all=work.all_to_alls * c.all_to_all_ms + microbatch * work.all_to_all_link_ms / c.link_efficiency,
        pipeline=work.hand_overs * c.pipeline_ms + microbatch * work.hand_over_link_ms / c.link_efficiency,
        launch=c.step_ms
        + work.layers * c.layer_ms
        + work.moe_layers * c.moe_layer_ms
        + work.latent_layers * c.latent_layer_ms
        + work.recurrent_layers * c.recurrent_layer_ms,
        per_sequence=batch / work.dp * c.sequence_ms,
    )


def attention_step(work: Work, constants: RowConstants) -> FloatArray:
    """[n] ms by which a sequence of an attention rank lengthens a step: its KV cache and states, or arithmetic."""
    return _either(
        work.kv_read_ms / constants.kv_read_efficiency, work.attention_compute_ms / constants.attention_efficiency
    )


class Prefill(NamedTuple):
    """One prompt of each class, alone on the replica; milliseconds."""

    launch: FloatArray
    """[n] Kernels launched one by one; prompts prefilled in the same step share it."""
    tokens: FloatArray
    """[n, R] What grows with the prompt."""
    attention: FloatArray
    """[n, R] Of that, what grows with its square."""


def prefill(work: Work, constants: RowConstants) -> Prefill:
    """The prefill of one prompt of each class."""
    c = constants
    launch: FloatArray = (
        work.prefill_layers * c.prefill_layer_ms
        + work.moe_layers * c.prefill_moe_layer_ms
        + work.latent_layers * c.prefill_latent_layer_ms
        + work.recurrent_layers * c.prefill_recurrent_layer_ms
    )
    attention = work.prefill_attention_ms / column(c.attention_efficiency)
    tokens: FloatArray = (
        work.prefill_dense_ms / column(c.prefill_efficiency)
        + work.prefill_expert_ms / column(c.expert_prefill_efficiency)
        + attention
        + work.prefill_link_ms / column(c.link_efficiency)
    )
    return Prefill(launch, tokens, attention)


def column(values: FloatArray) -> FloatArray:
    """An array [n], or one number for all rows, against [n, R]."""
    return values[:, None] if np.ndim(values) else values


def _expert_read_ms(work: Work, constants: RowConstants, microbatch: FloatArray) -> FloatArray:
    """Experts touched: E·(1 − (1 − k/E)^B); with few touched, ranks holding whole experts are loaded unevenly."""
    untouched = work.untouched_fraction**microbatch
    uneven = 1.0 + work.expert_parallel * constants.expert_imbalance * untouched
    ms: FloatArray = work.expert_read_ms * (1.0 - untouched) * uneven / constants.expert_read_efficiency
    return ms


def _either(first: FloatArray, second: FloatArray) -> FloatArray:
    """Two things that overlap: a smooth maximum."""
    return np.hypot(first, second)


class Calibrated:
    """Work at rated speed, made real by the constants: the default."""

    def decode(self, work: Work, constants: RowConstants, batch: FloatArray) -> StepParts:
        return decode_step(work, constants, batch)

    def sequence_ms(self, work: Work, constants: RowConstants) -> FloatArray:
        return attention_step(work, constants)

    def prefill(self, work: Work, constants: RowConstants) -> Prefill:
        return prefill(work, constants)

    def take(self, rows: IntArray) -> Calibrated:  # noqa: ARG002
        return self

    def columns(self) -> list[FloatArray]:
        return []


CALIBRATED = Calibrated()
