"""A mixed-integer program as sparse arrays: what a solver sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from optimizer.serving_config import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Program:
    """minimise objective · x  subject to  row_lower ≤ A x ≤ row_upper,  0 ≤ x ≤ upper, some x integer."""

    objective: FloatArray  # [N]
    upper: FloatArray  # [N]
    is_integer: BoolArray  # [N]
    row_lower: FloatArray  # [M]
    row_upper: FloatArray  # [M]
    row: IntArray  # entries of A, sorted by row, then column
    column: IntArray
    coefficient: FloatArray

    @classmethod
    def from_entries(
        cls,
        *,
        objective: FloatArray,
        upper: FloatArray,
        is_integer: BoolArray,
        row_bounds: tuple[FloatArray, FloatArray],
        entries: tuple[IntArray, IntArray, FloatArray],
    ) -> Program:
        """A program whose matrix entries (row, column, coefficient) come in any order."""
        row, column, coefficient = entries
        order = np.lexsort((column, row))
        return cls(objective, upper, is_integer, *row_bounds, row[order], column[order], coefficient[order])

    def holds(self, values: FloatArray, tolerance: float) -> bool:
        """Whether every row holds, to a tolerance relative to the size of its terms."""
        terms = self.coefficient * values[self.column]
        n_rows = len(self.row_lower)
        total = np.bincount(self.row, weights=terms, minlength=n_rows)
        slack = tolerance * (1 + np.bincount(self.row, weights=np.abs(terms), minlength=n_rows))
        return bool(((total >= self.row_lower - slack) & (total <= self.row_upper + slack)).all())

    def keeping(self, columns: BoolArray) -> Program:
        """The program without all other columns [N]: these are 0."""
        entries, number = columns[self.column], np.cumsum(columns) - 1
        return replace(
            self,
            objective=self.objective[columns],
            upper=self.upper[columns],
            is_integer=self.is_integer[columns],
            row=self.row[entries],
            column=number[self.column[entries]],
            coefficient=self.coefficient[entries],
        )

    def minimising(self, columns: IntArray, amounts: FloatArray) -> Program:
        """The same rows with the objective Σ amounts · x[columns]."""
        objective = np.zeros_like(self.objective)
        objective[columns] = amounts
        return replace(self, objective=objective)

    def with_use(self, columns: IntArray, groups: Sequence[str]) -> tuple[Program, IntArray]:
        """The program with a binary column for each group of columns that is used at all, and these new columns.

        x[k]  ≤  upper[k] · uses[g]    ∀ g, k of g
        """
        names = list(dict.fromkeys(groups))
        uses = len(self.upper) + np.arange(len(names))
        rows = len(self.row_lower) + np.arange(len(columns))
        of_group = uses[[names.index(group) for group in groups]]
        program = Program.from_entries(
            objective=np.append(self.objective, np.zeros(len(names))),
            upper=np.append(self.upper, np.ones(len(names))),
            is_integer=np.append(self.is_integer, np.ones(len(names), bool)),
            row_bounds=(
                np.append(self.row_lower, np.full(len(columns), -np.inf)),
                np.append(self.row_upper, np.zeros(len(columns))),
            ),
            entries=(
                np.concatenate([self.row, rows, rows]),
                np.concatenate([self.column, columns, of_group]),
                np.concatenate([self.coefficient, np.ones(len(columns)), -self.upper[columns]]),
            ),
        )
        return program, uses

    def stretching(self, rows: IntArray) -> Program:
        """Minimise the largest left side of some rows, instead of holding them to their upper bounds.

        The last column of the result is that largest left side, at least 0.
        """
        stretch, mine = len(self.upper), np.isin(self.row, rows)
        most = np.bincount(
            self.row[mine],
            weights=np.maximum(self.coefficient[mine], 0.0) * self.upper[self.column[mine]],
            minlength=len(self.row_lower),
        )
        row_upper = self.row_upper.copy()
        row_upper[rows] = 0.0
        return Program.from_entries(
            objective=np.append(np.zeros(stretch), 1.0),
            upper=np.append(self.upper, most.max(initial=0.0)),
            is_integer=np.append(self.is_integer, False),
            row_bounds=(self.row_lower, row_upper),
            entries=(
                np.append(self.row, rows),
                np.append(self.column, np.full(len(rows), stretch)),
                np.append(self.coefficient, np.full(len(rows), -1.0)),
            ),
        )

    def with_row(self, columns: IntArray, coefficients: FloatArray, at_most: float) -> Program:
        """One more row: Σ coefficients · x[columns] ≤ at_most; no column twice."""
        order = np.argsort(columns)
        return replace(
            self,
            row_lower=np.append(self.row_lower, -np.inf),
            row_upper=np.append(self.row_upper, at_most),
            row=np.append(self.row, np.full(len(columns), len(self.row_lower))),
            column=np.append(self.column, columns[order]),
            coefficient=np.append(self.coefficient, coefficients[order]),
        )
