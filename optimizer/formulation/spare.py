"""The constraint families of `spare`: replicas stand on sites, and no single loss is felt."""

from __future__ import annotations

import numpy as np

from optimizer.formulation.instance import Instance
from optimizer.formulation.rows import Rows
from optimizer.formulation.survival import Entries
from optimizer.formulation.variables import Variables
from optimizer.serving_config import IntArray


def server_places(inst: Instance, var: Variables) -> Rows:
    """Every replica on an offer with sites stands on one of them, or each of the parts that it takes of the offer.

    Σ_j n_on_server[c,j]  =  Σ_{k of c} groups[k,s] · n_replicas[k]    ∀ cell c of offer s
    """
    sites, taken = inst.sites, inst.footprint
    counted = np.flatnonzero(sites.cell_of_entry >= 0)
    names = [f"{inst.offer_names[s]},{c}" for s, c in zip(sites.cell_offer, sites.cell_names, strict=True)]
    return (
        Rows("server_places", names)
        .add(row=sites.stand_cell, column=var.n_on_server, coefficient=1.0)
        .add(
            row=sites.cell_of_entry[counted],
            column=var.n_replicas[taken.candidate[counted]],
            coefficient=-taken.groups[counted],
        )
        .equal_to(0.0)
    )


def server_room(inst: Instance, var: Variables) -> Rows:
    """What stands on a server fits into it, and it is there.

    Σ_c gpus_per_replica[c] · n_on_server[c,j]  ≤  gpus_per_server[s] · in_use[j]    ∀ site j of s
    """
    sites = inst.sites
    return (
        Rows("server_room", site_names(inst))
        .add(row=sites.stand_site, column=var.n_on_server, coefficient=sites.cell_gpus[sites.stand_cell])
        .add(row=np.arange(len(sites.offer)), column=var.in_use, coefficient=-inst.gpus_per_server[sites.offer])
        .at_most(0.0)
    )


def servers_in_use(inst: Instance, var: Variables) -> Rows:
    """Sites in use are servers, and a replica larger than a server fills whole ones.

    Σ_j in_use[j] + Σ_k units_per_replica[k] · n_replicas[k]  ≤  Σ_h n_servers[s,h] − Σ_c stand_by[s,c]
                                                                                        ∀ s with sites, k larger
    """
    by_site = inst.packing.by_site
    row_of_offer = np.cumsum(by_site) - 1
    taken = inst.footprint
    larger = np.flatnonzero(by_site[taken.offer] & (inst.sites.cell_of_entry < 0))
    of_term, of_spare = by_site[inst.offer_of_term], by_site[inst.stand_by.offer]
    return (
        Rows("servers_in_use", [inst.offer_names[s] for s in np.flatnonzero(by_site)])
        .add(row=row_of_offer[inst.sites.offer], column=var.in_use, coefficient=1.0)
        .add(
            row=row_of_offer[taken.offer[larger]],
            column=var.n_replicas[taken.candidate[larger]],
            coefficient=inst.packing.units_per_replica[larger],
        )
        .add(row=row_of_offer[inst.offer_of_term[of_term]], column=var.n_servers[of_term], coefficient=-1.0)
        .add(row=row_of_offer[inst.stand_by.offer[of_spare]], column=var.stand_by[of_spare], coefficient=1.0)
        .at_most(0.0)
    )


def servers_in_order(inst: Instance, var: Variables) -> Rows:
    """Sites of an offer, or of its rack, are alike; used in order, the solver sees one of many equal plans.

    in_use[j]  ≤  in_use[j−1]    ∀ j > 0 of the same offer and rack
    """
    sites = inst.sites
    rack = np.array(sites.rack)
    later = 1 + np.flatnonzero((sites.offer[1:] == sites.offer[:-1]) & (rack[1:] == rack[:-1]))
    names = site_names(inst)
    return (
        Rows("servers_in_order", [names[j] for j in later])
        .add(row=np.arange(len(later)), column=var.in_use[later], coefficient=1.0)
        .add(row=np.arange(len(later)), column=var.in_use[later - 1], coefficient=-1.0)
        .at_most(0.0)
    )


def spare_spanning(inst: Instance, var: Variables) -> Rows:
    """A candidate that fills several servers can lose a replica as soon as it has one.

    n_replicas[k]  ≤  most_replicas[k] · is_used[k]    ∀ k larger than a server, of a workload with spare
    """
    spanning = inst.sites.spanning
    here = np.arange(len(spanning))
    return (
        Rows("spare_spanning", [",".join(inst.candidate_names[k]) for k in spanning])
        .add(row=here, column=var.n_replicas[spanning], coefficient=1.0)
        .add(row=here, column=var.is_used, coefficient=-inst.most_replicas[spanning])
        .at_most(0.0)
    )


def spare_server(inst: Instance, var: Variables) -> Rows:
    """Whatever is lost at once, the rest carries the whole demand, fully used if need be. With one class:

    Σ_k min(1, rate_rps[k] / demand_rps) · (n_replicas[k] − lost[k,e])  ≥  1    ∀ loss e of w
    Σ_{k of q} min(1, rate_rps[k] / demand_rps) · (n_replicas[k] − lost[k,e])  ≥  uses_format[q]    ∀ e, q to choose

    where lost[k,e] is Σ_j n_on_server[k,j] over the sites of e, is_used[k] when e is a replica over several servers,
    and n_replicas[k] when all of an offer that it stands on is lost. With several classes, they are rerouted freely:

    Σ_k share_after[k,d,e]  =  1    ∀ loss e of w, class d

    Where a part of the demand may be left out, unserved[w] stands on every left side too.
    """
    s = inst.survival
    rows = Rows("spare_server", s.test_names)
    for entries, columns in (
        (s.kept, var.n_replicas),
        (s.lost, var.n_on_server),
        (s.broken, var.is_used),
        (s.chosen, var.uses_format),
        (s.share, var.share_after),
    ):
        _add(rows, entries, columns)
    dropped = np.flatnonzero(inst.is_droppable[s.test_workload])
    rows.add(row=dropped, column=var.unserved_of(inst, s.test_workload[dropped]), coefficient=1.0)
    return rows.at_least(s.test_need)


def spare_capacity(inst: Instance, var: Variables) -> Rows:
    """… within what the replicas left can do.

    Σ_d demand_rps[d] / rate_rps[k,d] · share_after[k,d,e]  ≤  n_replicas[k] − lost[k,e]    ∀ e of w, k of w
    """
    s = inst.survival
    rows = (
        Rows("spare_capacity", s.capacity_names)
        .add(row=s.capacity_of_share, column=var.share_after, coefficient=inst.busy_replicas[s.share_load])
        .add(row=np.arange(len(s.capacity_names)), column=var.n_replicas[s.capacity_candidate], coefficient=-1.0)
    )
    _add(rows, s.capacity_lost, var.n_on_server)
    _add(rows, s.capacity_broken, var.is_used)
    return rows.at_most(0.0)


def spare_format(inst: Instance, var: Variables) -> Rows:
    """… and in the chosen format.

    Σ_{k of q} share_after[k,d,e]  ≤  uses_format[q]    ∀ e of w, q, d, where one format must be chosen
    """
    s = inst.survival
    limited = np.flatnonzero(s.format_of_share >= 0)
    return (
        Rows("spare_format", s.format_names)
        .add(row=s.format_of_share[limited], column=var.share_after[limited], coefficient=1.0)
        .add(row=np.arange(len(s.format_names)), column=var.uses_format[s.format_choice], coefficient=-1.0)
        .at_most(0.0)
    )


def site_names(inst: Instance) -> list[str]:
    """`node,0` of every site."""
    return [f"{inst.offer_names[s]},{j}" for s, j in zip(inst.sites.offer, inst.sites.number, strict=True)]


def _add(rows: Rows, entries: Entries, columns: IntArray) -> None:
    row, index, coefficient = entries
    rows.add(row=row, column=columns[index], coefficient=coefficient)


SPARE_FAMILIES = (
    server_places,
    server_room,
    servers_in_use,
    servers_in_order,
    spare_spanning,
    spare_server,
    spare_capacity,
    spare_format,
)
