"""Rows of a constraint family, gathered as whole arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from optimizer.serving_config import FloatArray, IntArray


class Rows:
    """lower ≤ A x ≤ upper for one family; A in coordinate form, filled by `add`, closed by its bounds."""

    def __init__(self, family: str, index: Sequence[str]) -> None:
        self.family = family
        self.index = tuple(index)
        n = len(self.index)
        self.lower: FloatArray = np.full(n, -np.inf)
        self.upper: FloatArray = np.full(n, np.inf)
        self._entries: list[tuple[IntArray, IntArray, FloatArray]] = []

    def add(self, *, row: ArrayLike, column: IntArray, coefficient: ArrayLike) -> Rows:
        """One entry per column; `row` and `coefficient` are spread over the columns when they are single numbers."""
        rows, coefficients = np.empty(column.shape, np.int64), np.empty(column.shape)
        rows[:], coefficients[:] = row, coefficient  # spreads; a tenth of the time of broadcasting where there are few
        self._entries.append((rows, column, coefficients))
        return self

    def at_most(self, bound: ArrayLike) -> Rows:
        self.upper = np.broadcast_to(bound, self.upper.shape).astype(float)
        return self

    def at_least(self, bound: ArrayLike) -> Rows:
        self.lower = np.broadcast_to(bound, self.lower.shape).astype(float)
        return self

    def equal_to(self, value: ArrayLike) -> Rows:
        self.lower = self.upper = np.broadcast_to(value, self.upper.shape).astype(float)
        return self

    def entries(self) -> tuple[IntArray, IntArray, FloatArray]:
        """(row, column, coefficient) of all entries."""
        empty = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
        rows, columns, coefficients = zip(*(self._entries or [empty]), strict=True)
        return np.concatenate(rows), np.concatenate(columns), np.concatenate(coefficients)

    def names(self) -> list[str]:
        return [f"{self.family}[{i}]" for i in self.index]
