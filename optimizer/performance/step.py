"""How long a decode step and a prefill take: work at rated speed, made real by the constants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
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


class Curve(Protocol):
    """The time of a decode step of n configurations over its batch."""

    def ms(self, batch: FloatArray) -> FloatArray:
        """[n] of steps of `batch` [n] sequences."""

    def take(self, rows: IntArray) -> Self:
        """The chosen rows, in that order."""

    @classmethod
    def together(cls, parts: Sequence[Self]) -> Self:
        """All rows, one part after the other."""


class PerformanceModel(Protocol):
    """How long steps and prefills of n configurations take, whoever knows it; all else follows from that."""

    def decode(self, work: Work, constants: RowConstants, batch: FloatArray) -> StepParts:
        """One step of `batch` [n] sequences."""

    def curve(self, work: Work, constants: RowConstants) -> Curve:
        """The sum of its parts at any batch."""

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


@dataclass(frozen=True, slots=True)
class StepCurve:
    """The time of a decode step over its batch: `decode_step`, with the terms that grow alike added up; arrays [n]."""

    pp: FloatArray
    dp: FloatArray
    fixed_ms: FloatArray
    dense_read_ms: FloatArray
    expert_read_ms: FloatArray
    untouched_fraction: FloatArray
    expert_imbalance: FloatArray
    products_ms: FloatArray
    """Matrix products of a sequence of an attention rank."""
    expert_products_ms: FloatArray
    """Likewise, of the replica."""
    sequence_ms: FloatArray
    """All else that a sequence of an attention rank adds: attention, links."""
    link_ms: FloatArray
    """Likewise, of the replica."""
    scheduling_ms: FloatArray
    """Of a sequence, whatever the stages share."""

    @classmethod
    def of(cls, work: Work, constants: RowConstants) -> StepCurve:
        c, n = constants, len(work.pp)
        launch = (
            c.step_ms
            + work.layers * c.layer_ms
            + work.moe_layers * c.moe_layer_ms
            + work.latent_layers * c.latent_layer_ms
            + work.recurrent_layers * c.recurrent_layer_ms
        )
        hops = (
            work.all_reduce_hops * c.all_reduce_ms
            + work.all_to_alls * c.all_to_all_ms
            + work.hand_overs * c.pipeline_ms
        )
        columns = (
            work.pp,
            work.dp,
            launch + hops,
            work.dense_read_ms / c.weight_read_efficiency,
            work.expert_read_ms / c.expert_read_efficiency,
            work.untouched_fraction,
            work.expert_parallel * c.expert_imbalance,
            work.dense_compute_ms / c.compute_efficiency,
            work.expert_compute_ms / c.expert_compute_efficiency,
            attention_step(work, c) + work.all_reduce_link_ms / c.link_efficiency,
            (work.all_to_all_link_ms + work.hand_over_link_ms) / c.link_efficiency,
            c.sequence_ms / work.dp,
        )
        return cls(*(np.broadcast_to(value, n) for value in columns))

    def ms(self, batch: FloatArray) -> FloatArray:
        """[n] of steps of `batch` [n] sequences."""
        microbatch = np.maximum(batch / self.pp, 1.0)
        sequences = np.maximum(microbatch / self.dp, 1.0)
        weights = self.dense_read_ms
        if self.expert_read_ms.any():
            untouched = self.untouched_fraction**microbatch
            weights = weights + self.expert_read_ms * (1.0 - untouched) * (1.0 + self.expert_imbalance * untouched)
        products = sequences * self.products_ms + microbatch * self.expert_products_ms
        grown = sequences * self.sequence_ms + microbatch * self.link_ms + batch * self.scheduling_ms
        ms: FloatArray = np.sqrt(weights * weights + products * products) + grown + self.fixed_ms
        return ms

    def take(self, rows: IntArray) -> StepCurve:
        """The chosen rows, in that order."""
        return StepCurve(*(getattr(self, f.name)[rows] for f in fields(self)))

    @classmethod
    def together(cls, parts: Sequence[StepCurve]) -> StepCurve:
        """All rows, one part after the other."""
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))


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

    def curve(self, work: Work, constants: RowConstants) -> StepCurve:
        return StepCurve.of(work, constants)

    def sequence_ms(self, work: Work, constants: RowConstants) -> FloatArray:
        return attention_step(work, constants)

    def prefill(self, work: Work, constants: RowConstants) -> Prefill:
        return prefill(work, constants)

    def take(self, rows: IntArray) -> Calibrated:  # noqa: ARG002
        return self

    def columns(self) -> list[FloatArray]:
        return []


CALIBRATED = Calibrated()
