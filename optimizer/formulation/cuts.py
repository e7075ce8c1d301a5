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
    columns = np.concatenate([columns_of[kind] for kind in kinds])
    program, keeps = program.with_use(columns, [kind for kind in kinds for _ in columns_of[kind]])
    for plan in plans:
        mine = keeps[[kinds.index(kind) for kind in sorted(plan)]]
        program = program.with_row(mine, np.ones(len(mine)), len(mine) - 1.0)
    return program
