"""Rows beyond the families that keep a program from coming to a plan it has already come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

import numpy as np

from optimizer.formulation.program import Program
from optimizer.serving_config import IntArray


def giving_up(program: Program, plans: Sequence[Set[str]], columns_of: Mapping[str, IntArray]) -> Program:
    """The program whose solutions do without at least one kind of replica of every plan.

    `plans` are the kinds of replicas g that each of them uses, `columns_of[g]` the columns k of a kind.

    n_replicas[k]  ≤  upper[k] · keeps[g]    ∀ g of some plan, k of g
    Σ_{g ∈ plan} keeps[g]  ≤  |plan| − 1     ∀ plan

    A plan that adds something to an earlier one is no other plan: what is added may be of no use.
    """
    kinds = sorted(set().union(*plans))
    first_column, first_row = len(program.upper), len(program.row_lower)
    keeps = {kind: first_column + i for i, kind in enumerate(kinds)}
    columns = np.concatenate([columns_of[kind] for kind in kinds]).astype(np.int64)
    of_kind = np.concatenate([np.full(len(columns_of[kind]), keeps[kind]) for kind in kinds])
    linked = first_row + np.arange(len(columns))
    sums = [(first_row + len(columns) + i, sorted(keeps[kind] for kind in plan)) for i, plan in enumerate(plans)]
    entries = (
        np.concatenate([program.row, linked, linked, *(np.full(len(mine), row) for row, mine in sums)]),
        np.concatenate([program.column, columns, of_kind, *(np.array(mine, np.int64) for _, mine in sums)]),
        np.concatenate(
            [
                program.coefficient,
                np.ones(len(columns)),
                -program.upper[columns],
                *(np.ones(len(mine)) for _, mine in sums),
            ]
        ),
    )
    upper = np.concatenate([program.row_upper, np.zeros(len(columns)), [len(mine) - 1.0 for _, mine in sums]])
    return Program.from_entries(
        objective=np.append(program.objective, np.zeros(len(kinds))),
        upper=np.append(program.upper, np.ones(len(kinds))),
        is_integer=np.append(program.is_integer, np.ones(len(kinds), bool)),
        row_bounds=(np.append(program.row_lower, np.full(len(upper) - first_row, -np.inf)), upper),
        entries=entries,
    )
