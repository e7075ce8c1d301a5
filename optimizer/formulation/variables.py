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
    has_spare: IntArray  # [Z] binary: a spare of a spot term is there
    stand_by: IntArray  # [Z] binary: a server of an offer stands by for those that fail
    n_on_server: IntArray  # [X] integer: replicas of a cell on a site
    in_use: IntArray  # [J] binary: a site is used
    is_used: IntArray  # [spanning K] binary: a candidate that fills several servers has replicas
    share_after: IntArray  # [A] 0 to 1: share of a class's demand that a candidate carries after a loss
    n_ordered: IntArray  # [O] integer: servers bought or reserved by an order
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
    sites = inst.sites
    bounds_and_kinds = (
        (inst.most_replicas.astype(float), True),
        (np.ones(int(inst.is_split.sum())), False),
        (inst.most_servers, True),
        (np.ones(len(inst.choice_names)), True),
        (pattern_bound[inst.packing.offer_of_pattern], True),
        (np.ones(int(inst.is_droppable.sum())), False),
        (np.ones(len(inst.spot.term)), True),
        (np.ones(len(inst.stand_by.offer)), True),
        ((inst.gpus_per_server[sites.cell_offer] // sites.cell_gpus).astype(float)[sites.stand_cell], True),
        (np.ones(len(sites.offer)), True),
        (np.ones(len(sites.spanning)), True),
        (np.ones(len(inst.survival.share_load)), False),
        (_most_ordered(inst), True),
    )
    sizes = [len(bounds) for bounds, _ in bounds_and_kinds]
    ends = np.cumsum(sizes)
    columns = np.split(np.arange(ends[-1]), ends[:-1])
    n_replicas, load_share, n_servers, uses_format, n_patterns, unserved, has_spare, stand_by, *of_sites = columns
    n_on_server, in_use, is_used, share_after, n_ordered = of_sites
    return Variables(
        n_replicas=n_replicas,
        load_share=load_share,
        n_servers=n_servers,
        uses_format=uses_format,
        n_patterns=n_patterns,
        unserved=unserved,
        has_spare=has_spare,
        stand_by=stand_by,
        n_on_server=n_on_server,
        in_use=in_use,
        is_used=is_used,
        share_after=share_after,
        n_ordered=n_ordered,
        upper=np.concatenate([bounds for bounds, _ in bounds_and_kinds]),
        is_integer=np.repeat([kind for _, kind in bounds_and_kinds], sizes),
    )


def _most_ordered(inst: Instance) -> FloatArray:
    """[O] more than are of use in some period are never ordered."""
    n_offers = len(inst.offer_names) // inst.horizon.n_states
    most = np.zeros(n_offers)
    np.maximum.at(most, inst.offer_of_term % n_offers, inst.most_servers)
    bound: FloatArray = most[inst.orders.offer]
    return bound


def column_names(inst: Instance) -> list[str]:
    """`family[index,index]` of every column."""
    offers, sites = inst.offer_names, inst.sites
    of_spare = inst.offer_of_term[inst.spot.term]
    site_names = [f"{offers[s]},{j}" for s, j in zip(sites.offer, sites.number, strict=True)]
    stands = zip(sites.stand_cell, sites.stand_site, strict=True)
    split = inst.is_split
    loads = zip(inst.candidate_of_load[split], inst.demand_of_load[split], strict=True)
    return [
        *(f"n_replicas[{w},{s},{label}]" for w, s, label in inst.candidate_names),
        *(f"load_share[{','.join(inst.candidate_names[k])},{inst.demand_names[d][1]}]" for k, d in loads),
        *(f"n_servers[{inst.term_name(h)}]" for h in range(len(inst.terms))),
        *(f"uses_format[{w},{q}]" for w, q in inst.choice_names),
        *(f"n_patterns[{offers[s]},{pattern}]" for s, pattern in inst.packing.pattern_names),
        *(f"unserved[{w}]" for w, droppable in zip(inst.workload_names, inst.is_droppable, strict=True) if droppable),
        *(f"has_spare[{offers[s]},{c}]" for s, c in zip(of_spare, inst.spot.number, strict=True)),
        *(f"stand_by[{offers[s]},{c}]" for s, c in zip(inst.stand_by.offer, inst.stand_by.number, strict=True)),
        *(f"n_on_server[{site_names[j]},{sites.cell_names[c]}]" for c, j in stands),
        *(f"in_use[{name}]" for name in site_names),
        *(f"is_used[{','.join(inst.candidate_names[k])}]" for k in sites.spanning),
        *(f"share_after[{name}]" for name in inst.survival.share_names),
        *(f"n_ordered[{name}]" for name in inst.orders.names(offers)),
    ]
