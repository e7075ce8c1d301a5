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
    failure_spares,
    gpu_slots,
    monthly_budget,
    offer_limits,
    pattern_slots,
    power_cap,
    replica_capacity,
    serve_demand,
    server_patterns,
    single_format,
    spare_order,
    spot_spares,
    stand_by_order,
)
from optimizer.formulation.fleet import FLEET_FAMILIES
from optimizer.serving_config import FloatArray, IntArray

OF_WORKLOADS: tuple[Family, ...] = (serve_demand, replica_capacity, single_format, choose_format)
"""Families whose rows hold variables of one workload each."""
OF_SLOTS: tuple[Family, ...] = (gpu_slots, pattern_slots)
"""Families in which replicas take what servers give."""
OF_SUPPLY: tuple[Family, ...] = (
    server_patterns,
    offer_limits,
    spot_spares,
    spare_order,
    failure_spares,
    stand_by_order,
    capex_budget,
    monthly_budget,
    power_cap,
    *FLEET_FAMILIES,
)
"""Families of servers and orders alone; all hold when there are none."""


@dataclass(frozen=True, slots=True)
class Supply:
    """minimise cost · y  subject to  slots taken + matrix · y ≤ bound,  lower ≤ y ≤ upper,  y integer."""

    cost: FloatArray  # [Y]
    lower: FloatArray  # [Y]
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

    def most(self) -> FloatArray:
        """[rows] slots that are there with as many servers, and as little else, as the limits allow."""
        of_entry = -self.coefficient * np.where(self.coefficient < 0, self.upper[self.column], self.lower[self.column])
        most: FloatArray = self.bound + np.bincount(self.row, weights=of_entry, minlength=len(self.bound))
        return most

    def least(self, price: FloatArray) -> float:
        """The least of Σ reduced cost · y − price · bound over lower ≤ y ≤ upper: the supply's part of the bound."""
        reduced = self.reduced_cost(price)
        return float(np.where(reduced < 0, reduced * self.upper, reduced * self.lower).sum() - price @ self.bound)


@dataclass(frozen=True, slots=True)
class Taken:
    """What one replica of every candidate takes of which slots: of one row, or of one for each offer it stands on."""

    first: IntArray  # [K + 1] entry of each candidate; the last is beyond all
    slot: IntArray  # [E] row of the supply
    amount: FloatArray  # [E]

    @classmethod
    def of_entries(cls, n_candidates: int, candidate: IntArray, slot: IntArray, amount: FloatArray) -> Taken:
        """From entries in any order."""
        order = np.lexsort((slot, candidate))
        first = np.searchsorted(candidate[order], np.arange(n_candidates + 1))
        return cls(first, slot[order], amount[order])

    def unit(self, price: FloatArray) -> FloatArray:
        """[K] what a replica of each candidate costs at prices [rows of the supply]."""
        cost = self.amount * price[self.slot]
        if len(cost) == len(self.first) - 1:  # one entry each
            return cost
        unit: FloatArray = np.add.reduceat(cost, self.first[:-1])
        return unit

    def by(self, candidates: IntArray) -> tuple[IntArray, IntArray, FloatArray]:
        """(which of these candidates, row of the supply, slots) of one replica of each [n]."""
        if len(self.slot) == len(self.first) - 1:
            return np.arange(len(candidates)), self.slot[candidates], self.amount[candidates]
        n_entries = self.first[candidates + 1] - self.first[candidates]
        which = np.repeat(np.arange(len(candidates)), n_entries)
        within = np.arange(len(which)) - np.repeat(np.cumsum(n_entries) - n_entries, n_entries)
        entry = self.first[candidates][which] + within
        return which, self.slot[entry], self.amount[entry]


@dataclass(frozen=True, slots=True)
class Blocks:
    """An instance as its supply and what replicas take of it."""

    inst: Instance
    var: Variables
    supply: Supply
    taken: Taken

    @property
    def servers(self) -> slice:
        """Of the columns of the supply: `n_servers` [H]."""
        return slice(0, len(self.inst.terms))

    @property
    def orders(self) -> slice:
        """Of the columns of the supply: `n_ordered` [O], the last."""
        return slice(len(self.supply.cost) - len(self.var.n_ordered), len(self.supply.cost))

    @property
    def n_workloads(self) -> int:
        return len(self.inst.workload_names)

    def unit(self, price: FloatArray) -> FloatArray:
        """[K] what a replica of each candidate costs at prices [rows of the supply]."""
        return self.taken.unit(price)


def unreached(inst: Instance) -> str:
    """Why columns cannot solve an instance: what they do not know, or a family of rows. Empty when they can."""
    if inst.has_spare.any():
        return "columns do not know spare: n+1"
    known = {*OF_WORKLOADS, *OF_SLOTS, *OF_SUPPLY}
    var = lay_out(inst)
    strange = [family.__name__ for family in FAMILIES if family not in known and family(inst, var).index]
    return f"columns do not know {', '.join(strange)}" if strange else ""


def cut_into_blocks(inst: Instance) -> Blocks:
    """The blocks of an instance that columns reach."""
    var = lay_out(inst)
    program = build_program(inst, var, (*OF_SLOTS, *OF_SUPPLY))
    is_supply = np.zeros(var.n_columns, bool)
    for columns in (var.n_servers, var.n_patterns, var.has_spare, var.stand_by, var.n_ordered):
        is_supply[columns] = True
    number = np.cumsum(is_supply) - 1
    of_supply = is_supply[program.column]
    n_candidates, slot, amount = len(var.n_replicas), program.row[~of_supply], program.coefficient[~of_supply]
    candidate = program.column[~of_supply] - var.n_replicas[0] if n_candidates else np.zeros(0, np.int64)
    assert len(np.unique(candidate)) == n_candidates, "every candidate takes slots"
    assert np.isneginf(program.row_lower).all(), "supply rows are upper limits"
    upper, bound = program.upper[is_supply], program.row_upper
    row, column, coefficient = program.row[of_supply], number[program.column[of_supply]], program.coefficient[of_supply]
    # A row of one count and nothing else bounds that count, such as the limit of an offer without spares.
    is_bound = np.bincount(program.row, minlength=len(bound)) == 1
    is_bound[slot] = False
    alone = is_bound[row]
    np.minimum.at(upper, column[alone], bound[row[alone]] / coefficient[alone])
    new_row = np.cumsum(~is_bound) - 1
    supply = Supply(
        cost=program.objective[is_supply],
        lower=np.zeros(len(upper)),
        upper=upper,
        row=new_row[row[~alone]],
        column=column[~alone],
        coefficient=coefficient[~alone],
        bound=bound[~is_bound],
    )
    return Blocks(inst, var, supply, Taken.of_entries(n_candidates, candidate, new_row[slot], amount))
