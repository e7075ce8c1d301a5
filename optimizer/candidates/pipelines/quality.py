"""How good formats are, and how many layers must be in the better of two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Quality:
    """Of weights and caches by themselves, relative to bf16, and what they must come to together."""

    weights: Sequence[float]
    """Of each weight format, the best first."""
    caches: Sequence[float]
    by_layer: Sequence[int]
    """The weight formats of which each layer may have its own."""
    least: float

    def enough(self, weights: int, cache: int) -> bool:
        """Whether a replica may be in that format."""
        return self.weights[weights] * self.caches[cache] >= self.least - ROUNDING

    def layers_in(self, better: int, other: int, cache: int, n_layers: int) -> int:
        """Least layers in the better format where the rest are in the other; the mean over layers counts."""
        if self.enough(other, cache):
            return 1
        lacking = self.least / self.caches[cache] - self.weights[other]
        return max(1, ceil(n_layers * lacking / (self.weights[better] - self.weights[other]) - ROUNDING))
