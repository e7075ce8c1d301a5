"""The program cut into blocks: one a workload, held together by the servers that they share.

A workload's block is everything that only its own variables appear in: its demand, its routing, its choice of format.
What remains is the *supply*: server counts, what limits and prices them, and the rows of slots that replicas take.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optimizer.formulation import FAMILIES, Family, Instance, Variables, build_program, lay_out
from optimizer.formulation.constraints import (
    capex_budget,
    choose_format,
    gpu_slots,
    monthly_budget,
    offer_limits,
    pattern_slots,
    power_cap,
    replica_capacity,
    serve_demand,
    server_patterns,
    single_format,
)
from optimizer.serving_config import FloatArray, IntArray

OF_WORKLOADS: tuple[Family, ...] = (serve_demand, replica_capacity, single_format, choose_format)
"""Families whose rows hold variables of one workload each."""
OF_SLOTS: tuple[Family, ...] = (gpu_slots, pattern_slots)
"""Families in which replicas take what servers give."""
OF_SUPPLY: tuple[Family, ...] = (server_patterns, capex_budget, monthly_budget, power_cap)
"""Families of servers alone, apart from `offer_limits`, which become bounds of the counts."""


@dataclass(frozen=True, slots=True)
class Supply:
    """minimise cost · y  subject to  slots taken + matrix · y ≤ bound,  0 ≤ y ≤ upper,  y integer."""

    cost: FloatArray  # [Y]
    upper: FloatArray  # [Y]
    row: IntArray  # entries of the matrix [rows, Y]
    column: IntArray
    coefficient: FloatArray
    bound: FloatArray  # [rows]

    def reduced_cost(self, price: FloatArray) -> FloatArray:
        """[Y] cost of a server, less what its slots and limits are worth at the prices [rows] ≥ 0."""
        worth = np.bincount(self.column, weights=self.coefficient * price[self.row], minlength=len(self.cost))
        reduced: FloatArray = self.cost + worth
        return reduced

    def least(self, price: FloatArray) -> float:
        """The least of Σ reduced cost · y − price · bound over 0 ≤ y ≤ upper: the supply's part of the bound."""
        return float(np.minimum(0.0, self.reduced_cost(price)) @ self.upper - price @ self.bound)


@dataclass(frozen=True, slots=True)
class Blocks:
    """An instance as its supply and, of every candidate, what one replica takes of which slots."""

    inst: Instance
    var: Variables
    supply: Supply
    slot_of_candidate: IntArray  # [K] row of the supply
    slots_per_replica: FloatArray  # [K]

    @property
    def n_workloads(self) -> int:
        return len(self.inst.workload_names)

    def unit(self, price: FloatArray) -> FloatArray:
        """[K] what a replica of each candidate costs at prices [rows of the supply]."""
        unit: FloatArray = self.slots_per_replica * price[self.slot_of_candidate]
        return unit


def unreached(inst: Instance) -> str:
    """Why columns cannot solve an instance: what they do not know, or a family of rows. Empty when they can."""
    if inst.horizon.has_orders:
        return "columns do not know several periods or futures"
    if inst.has_spare.any():
        return "columns do not know spare: n+1"
    known = {*OF_WORKLOADS, *OF_SLOTS, *OF_SUPPLY, offer_limits}
    var = lay_out(inst)
    strange = [family.__name__ for family in FAMILIES if family not in known and family(inst, var).index]
    return f"columns do not know {', '.join(strange)}" if strange else ""


def cut_into_blocks(inst: Instance) -> Blocks:
    """The blocks of an instance that columns reach."""
    var = lay_out(inst)
    program = build_program(inst, var, (*OF_SLOTS, *OF_SUPPLY))
    is_supply = np.zeros(var.n_columns, bool)
    is_supply[var.n_servers] = is_supply[var.n_patterns] = True
    number = np.cumsum(is_supply) - 1
    of_supply = is_supply[program.column]
    slot, amount = np.full(len(var.n_replicas), -1), np.zeros(len(var.n_replicas))
    candidate = program.column[~of_supply] - var.n_replicas[0] if len(var.n_replicas) else np.zeros(0, np.int64)
    slot[candidate], amount[candidate] = program.row[~of_supply], program.coefficient[~of_supply]
    assert (slot >= 0).all(), "every candidate takes slots of one row"
    assert np.isneginf(program.row_lower).all(), "supply rows are upper limits"
    upper = program.upper.copy()
    upper[var.n_servers] = np.minimum(upper[var.n_servers], inst.max_servers)
    supply = Supply(
        cost=program.objective[is_supply],
        upper=upper[is_supply],
        row=program.row[of_supply],
        column=number[program.column[of_supply]],
        coefficient=program.coefficient[of_supply],
        bound=program.row_upper,
    )
    return Blocks(inst, var, supply, slot, amount)
