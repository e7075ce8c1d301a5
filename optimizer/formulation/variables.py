"""The decisions, laid out as consecutive columns of the matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optimizer.formulation.instance import Instance
from optimizer.serving_config import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Variables:
    """Column numbers of each family of variables, in this order."""

    n_replicas: IntArray  # [K] integer: replicas of a candidate
    load_share: IntArray  # [split L] 0 to 1: share of a class's demand that a candidate carries
    n_servers: IntArray  # [H] integer: servers of an offer on a term
    uses_format: IntArray  # [Q] binary: the model and format a workload uses
    n_patterns: IntArray  # [P] integer: servers filled by a pattern
    unserved: IntArray  # [droppable W] 0 to 1: share of a workload's demand that is left out, alike for all its classes
    upper: FloatArray  # of all columns; every lower bound is 0
    is_integer: BoolArray

    def unserved_of(self, inst: Instance, workloads: IntArray) -> IntArray:
        """Columns of `unserved` of droppable workloads, given by their positions."""
        columns: IntArray = self.unserved[np.cumsum(inst.is_droppable)[workloads] - 1]
        return columns

    @property
    def n_columns(self) -> int:
        return len(self.upper)


def lay_out(inst: Instance) -> Variables:
    """One column a decision. Upper bounds come from the data: more is never of use."""
    pattern_bound = np.bincount(inst.offer_of_term, weights=inst.most_servers, minlength=len(inst.offer_names))
    bounds_and_kinds = (
        (inst.most_replicas.astype(float), True),
        (np.ones(int(inst.is_split.sum())), False),
        (inst.most_servers, True),
        (np.ones(len(inst.choice_names)), True),
        (pattern_bound[inst.packing.offer_of_pattern], True),
        (np.ones(int(inst.is_droppable.sum())), False),
    )
    sizes = [len(bounds) for bounds, _ in bounds_and_kinds]
    ends = np.cumsum(sizes)
    columns = np.split(np.arange(ends[-1]), ends[:-1])
    n_replicas, load_share, n_servers, uses_format, n_patterns, unserved = columns
    return Variables(
        n_replicas=n_replicas,
        load_share=load_share,
        n_servers=n_servers,
        uses_format=uses_format,
        n_patterns=n_patterns,
        unserved=unserved,
        upper=np.concatenate([bounds for bounds, _ in bounds_and_kinds]),
        is_integer=np.repeat([kind for _, kind in bounds_and_kinds], sizes),
    )


def column_names(inst: Instance) -> list[str]:
    """`family[index,index]` of every column."""
    offers = inst.offer_names
    split = inst.is_split
    loads = zip(inst.candidate_of_load[split], inst.demand_of_load[split], strict=True)
    return [
        *(f"n_replicas[{w},{s},{label}]" for w, s, label in inst.candidate_names),
        *(f"load_share[{','.join(inst.candidate_names[k])},{inst.demand_names[d][1]}]" for k, d in loads),
        *(f"n_servers[{term.offer},{term.term}]" for term in inst.terms),
        *(f"uses_format[{w},{q}]" for w, q in inst.choice_names),
        *(f"n_patterns[{offers[s]},{pattern}]" for s, pattern in inst.packing.pattern_names),
        *(f"unserved[{w}]" for w, droppable in zip(inst.workload_names, inst.is_droppable, strict=True) if droppable),
    ]
