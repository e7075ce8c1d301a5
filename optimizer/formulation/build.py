"""The program of an instance: objective and constraint families put together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from optimizer.errors import SolverError
from optimizer.formulation.constraints import FAMILIES, Family
from optimizer.formulation.instance import Instance
from optimizer.formulation.program import Program
from optimizer.formulation.variables import Variables


def build_program(inst: Instance, var: Variables, families: Sequence[Family] = FAMILIES) -> Program:
    """Minimise Σ usd_per_hour[h] · (n_servers[h] + its spares), and what orders cost, subject to the families.

    Raises:
        SolverError: a row without terms cannot hold; such an instance must have been refused before.
    """
    gathered = [family(inst, var) for family in families]
    first_row = np.cumsum([0, *(len(rows.index) for rows in gathered)])
    parts = [rows.entries() for rows in gathered]
    row = np.concatenate([part[0] + first for part, first in zip(parts, first_row, strict=False)])
    lower = np.concatenate([rows.lower for rows in gathered])
    upper = np.concatenate([rows.upper for rows in gathered])
    empty = np.bincount(row, minlength=first_row[-1]) == 0
    if impossible := np.flatnonzero(empty & ((lower > 0) | (upper < 0))).tolist():
        names = [name for rows in gathered for name in rows.names()]
        raise SolverError(f"rows without terms cannot hold: {', '.join(names[i] for i in impossible[:5])}")
    objective = np.zeros(var.n_columns)
    objective[var.n_servers] = inst.usd_per_hour
    objective[var.n_ordered] = inst.orders.usd_per_hour
    objective[var.has_spare] = inst.usd_per_hour[inst.spot.term]
    return Program.from_entries(
        objective=objective,
        upper=var.upper,
        is_integer=var.is_integer,
        row_bounds=(lower, upper),
        entries=(row, np.concatenate([part[1] for part in parts]), np.concatenate([part[2] for part in parts])),
    )


def row_names(inst: Instance, var: Variables, families: Sequence[Family] = FAMILIES) -> list[str]:
    """`family[index,index]` of every row, in the program's order."""
    return [name for family in families for name in family(inst, var).names()]
