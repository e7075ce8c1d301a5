"""The requests a replica serves: classes with their shares and token sizes, and how evenly they arrive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from optimizer.serving_config import FloatArray, IntArray

OF_CLASSES = ("share", "input_tokens", "output_tokens", "prefix_hit_fraction", "input_sigma", "output_sigma")
"""What each replica may have for itself."""


@dataclass(frozen=True, slots=True)
class TokenMix:
    """R request classes; means, as fractions of the requests. Arrays are [n, R] where each replica has its own mix."""

    names: tuple[str, ...]  # empty where each replica has its own
    share: FloatArray  # [R] sums to 1
    input_tokens: FloatArray  # [R]
    output_tokens: FloatArray  # [R]
    prefix_hit_fraction: FloatArray | float  # [n, R] where each replica has its own
    """Of the input, found in the prefix cache and not computed again."""
    input_sigma: FloatArray = field(default_factory=lambda: np.zeros(1))
    """[R] or [1] standard deviation of the logarithm of the input within a class; 0 = all alike."""
    output_sigma: FloatArray = field(default_factory=lambda: np.zeros(1))
    """[R] or [1] of the output."""
    arrival_cv: float = 1.0
    """Coefficient of variation of the gaps between arrivals, gamma distributed; 1 = Poisson."""

    @classmethod
    def of_rows(cls, mixes: Sequence[TokenMix], row: IntArray) -> TokenMix:
        """For each of n replicas the mix of that position; all have as many classes and arrive alike."""
        n_classes = len(mixes[0].names)
        columns: dict[str, Any] = {
            name: np.stack([np.broadcast_to(getattr(mix, name), n_classes) for mix in mixes])[row]
            for name in OF_CLASSES
        }
        return replace(mixes[0], names=(), **columns)

    def take(self, rows: IntArray) -> TokenMix:
        """Of the chosen replicas."""
        if np.ndim(self.share) == 1:
            return self
        columns: dict[str, Any] = {name: getattr(self, name)[rows] for name in OF_CLASSES}
        return replace(self, **columns)

    def mean(self, of_class: FloatArray) -> FloatArray:
        """[…] over the requests, of what is known of each class […, R]."""
        return mean_of(of_class, self.share)

    @property
    def resident_share(self) -> FloatArray:
        """[R] part of the sequences decoding at any moment: long outputs stay longer."""
        weight = self.share * self.output_tokens
        resident: FloatArray = weight / weight.sum(axis=-1, keepdims=True)
        return resident

    @property
    def resident_output_tokens(self) -> FloatArray:
        """[R] mean output of the sequences decoding at any moment: by length, so that long ones count more."""
        weighted: FloatArray = self.output_tokens * np.exp(self.output_sigma**2)
        return weighted

    @property
    def further_tokens(self) -> FloatArray:
        """[…, R] of the output, after the first."""
        return np.maximum(self.output_tokens - 1.0, 0.0)

    @property
    def mean_tokens(self) -> FloatArray:
        """[…] of a request, input and output."""
        return self.mean(self.input_tokens + self.output_tokens)

    @property
    def decode_steps(self) -> FloatArray:
        """[…] steps after the first token, of the mean request; at least one."""
        steps: FloatArray = np.maximum(self.mean(self.output_tokens - 1.0), 1.0)
        return steps

    def resident_tokens(self, output_held_fraction: float) -> FloatArray:
        """[…] tokens that a running sequence holds on average, when that part of its output counts."""
        held = self.input_tokens + output_held_fraction * self.resident_output_tokens
        tokens: FloatArray = (self.resident_share * held).sum(axis=-1)
        return tokens

    def attended_tokens(self, limit: float) -> FloatArray:
        """[…] context tokens that a decoding sequence attends to on average, at most `limit` of them."""
        first, last = self.input_tokens, self.input_tokens + self.resident_output_tokens
        grown = _sum_of_minimum(last, limit) - _sum_of_minimum(first, limit)
        tokens: FloatArray = (self.resident_share * grown / self.resident_output_tokens).sum(axis=-1)
        return tokens

    @property
    def computed_tokens(self) -> FloatArray:
        """[R] prompt tokens that a prefill computes: what the prefix cache lacks, at least one."""
        computed: FloatArray = np.maximum(self.input_tokens * (1.0 - self.prefix_hit_fraction), 1.0)
        return computed

    def prefill_attended_tokens(self, limit: float) -> FloatArray:
        """[R] context tokens attended to, summed over the prompt tokens that a prefill computes."""
        attended: FloatArray = _sum_of_minimum(self.input_tokens, limit) - _sum_of_minimum(
            self.input_tokens - self.computed_tokens, limit
        )
        return attended


def mean_of(of_class: FloatArray, share: FloatArray) -> FloatArray:
    """[…] over the requests, of what is known of each class […, R]; their shares are [R] or [n, R]."""
    mean: FloatArray = np.einsum("...r,...r->...", of_class, share)
    return mean


def _sum_of_minimum(tokens: FloatArray, limit: float) -> FloatArray:
    """∫ min(position, limit) from 0 to `tokens`."""
    below = np.minimum(tokens, limit)
    total: FloatArray = below * below / 2.0 + np.where(tokens > limit, (tokens - below) * below, 0.0)
    return total
