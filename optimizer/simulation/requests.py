"""Requests as arrays: when they arrive, of which class they are, and how many tokens they bring and want."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optimizer.serving_config import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class TokenSizes:
    """Sizes of the requests of one class: log-normal around the median, or always the same when sigma is 0."""

    input_p50_tokens: float
    input_sigma: float
    """Standard deviation of the logarithm."""
    output_p50_tokens: float
    output_sigma: float

    def draw(self, count: int, longest_tokens: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
        """Input and output tokens of `count` requests, at least one each and `longest_tokens` together at most.

        Of a request that would be longer, first the prompt is cut (down to half), then the answer.
        """
        inputs = _lognormal(self.input_p50_tokens, self.input_sigma, count, rng)
        outputs = _lognormal(self.output_p50_tokens, self.output_sigma, count, rng)
        inputs = np.minimum(inputs, np.maximum(longest_tokens - outputs, longest_tokens // 2))
        return inputs, np.minimum(outputs, longest_tokens - inputs)


@dataclass(frozen=True, slots=True)
class Requests:
    """m requests in the order of arrival."""

    arrived_ms: FloatArray  # [m] ascending
    of_class: IntArray  # [m] index of the request class
    input_tokens: IntArray  # [m] at least 1
    output_tokens: IntArray  # [m] at least 1

    def __len__(self) -> int:
        return len(self.arrived_ms)

    def take(self, rows: IntArray) -> Requests:
        """The chosen requests, in that order."""
        return Requests(self.arrived_ms[rows], self.of_class[rows], self.input_tokens[rows], self.output_tokens[rows])

    @classmethod
    def drawn(
        cls,
        arrived_ms: FloatArray,
        share: FloatArray,
        sizes: Sequence[TokenSizes],
        longest_tokens: int,
        rng: np.random.Generator,
    ) -> Requests:
        """Requests at given times, of R classes in shares [R] with their sizes."""
        of_class = rng.choice(len(share), size=len(arrived_ms), p=share / share.sum())
        inputs, outputs = np.ones(len(of_class), np.int64), np.ones(len(of_class), np.int64)
        for index, one in enumerate(sizes):
            mine = np.flatnonzero(of_class == index)
            inputs[mine], outputs[mine] = one.draw(len(mine), longest_tokens, rng)
        return cls(arrived_ms, of_class, inputs, outputs)


def _lognormal(p50: float, sigma: float, count: int, rng: np.random.Generator) -> IntArray:
    drawn = p50 * np.exp(sigma * rng.standard_normal(count)) if sigma > 0.0 else np.full(count, p50)
    return np.maximum(np.rint(drawn), 1.0).astype(np.int64)
