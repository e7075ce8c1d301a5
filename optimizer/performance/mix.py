"""The requests a replica serves: classes with their shares and token sizes, and how evenly they arrive."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from optimizer.serving_config import FloatArray


@dataclass(frozen=True, slots=True)
class TokenMix:
    """R request classes; means, as fractions of the requests."""

    names: tuple[str, ...]
    share: FloatArray  # [R] sums to 1
    input_tokens: FloatArray  # [R]
    output_tokens: FloatArray  # [R]
    prefix_hit_fraction: float
    """Of the input, found in the prefix cache and not computed again."""
    input_sigma: FloatArray = field(default_factory=lambda: np.zeros(1))
    """[R] or [1] standard deviation of the logarithm of the input within a class; 0 = all alike."""
    output_sigma: FloatArray = field(default_factory=lambda: np.zeros(1))
    """[R] or [1] of the output."""
    arrival_cv: float = 1.0
    """Coefficient of variation of the gaps between arrivals, gamma distributed; 1 = Poisson."""

    @property
    def resident_share(self) -> FloatArray:
        """[R] part of the sequences decoding at any moment: long outputs stay longer."""
        weight = self.share * self.output_tokens
        resident: FloatArray = weight / weight.sum()
        return resident

    @property
    def resident_output_tokens(self) -> FloatArray:
        """[R] mean output of the sequences decoding at any moment: by length, so that long ones count more."""
        weighted: FloatArray = self.output_tokens * np.exp(self.output_sigma**2)
        return weighted

    @property
    def decode_steps(self) -> float:
        """Steps after the first token, of the mean request; at least one."""
        return max(float(self.share @ (self.output_tokens - 1.0)), 1.0)

    def resident_tokens(self, output_held_fraction: float) -> float:
        """Tokens that a running sequence holds on average, when that part of its output counts."""
        return float(self.resident_share @ (self.input_tokens + output_held_fraction * self.resident_output_tokens))

    def attended_tokens(self, limit: float) -> float:
        """Context tokens that a decoding sequence attends to on average, at most `limit` of them."""
        first, last = self.input_tokens, self.input_tokens + self.resident_output_tokens
        grown = _sum_of_minimum(last, limit) - _sum_of_minimum(first, limit)
        return float(self.resident_share @ (grown / self.resident_output_tokens))

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


def _sum_of_minimum(tokens: FloatArray, limit: float) -> FloatArray:
    """∫ min(position, limit) from 0 to `tokens`."""
    below = np.minimum(tokens, limit)
    total: FloatArray = below * below / 2.0 + np.where(tokens > limit, (tokens - below) * below, 0.0)
    return total
