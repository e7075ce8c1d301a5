"""The constraint families, in the order and with the names of `docs/formulation.md`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from optimizer.formulation.instance import Instance
from optimizer.formulation.rows import Rows
from optimizer.formulation.variables import Variables

Family = Callable[[Instance, Variables], Rows]


def serve_demand(inst: Instance, var: Variables) -> Rows:
    """Every request class is served in full. Where there are several, they are split freely over candidates:

    Σ_k load_share[k,d] + unserved[w]  =  1    ∀ d of a workload w with several classes

    A single class needs no shares: enough replicas carry it, each of them no more than all of it.

    Σ_k min(1, max_utilization · rate_rps[k] / demand_rps) · n_replicas[k] + unserved[w]  ≥  1    ∀ other d

    `unserved` is there only where the objective is to serve as much as possible.
    """
    dropped = inst.droppable_demands
    split, one = np.flatnonzero(inst.is_split), np.flatnonzero(~inst.is_split)
    is_split = np.isin(np.arange(len(inst.demand_names)), inst.demand_of_load[split])
    return (
        Rows("serve_demand", [f"{w},{r}" for w, r in inst.demand_names])
        .add(row=inst.demand_of_load[split], column=var.load_share, coefficient=1.0)
        .add(
            row=inst.demand_of_load[one],
            column=var.n_replicas[inst.candidate_of_load[one]],
            coefficient=inst.carried[one],
        )
        .add(row=dropped, column=var.unserved_of(inst, inst.workload_of_demand[dropped]), coefficient=1.0)
        .at_least(1.0)
        .at_most(np.where(is_split, 1.0, np.inf))
    )


def replica_capacity(inst: Instance, var: Variables) -> Rows:
    """The classes time-share the replicas, which are busy at most max_utilization of the time.

    Σ_d demand_rps[d] / rate_rps[k,d] · load_share[k,d]  ≤  max_utilization · n_replicas[k]    ∀ k with several classes
    """
    split = inst.is_split
    candidates, row = np.unique(inst.candidate_of_load[split], return_inverse=True)
    return (
        Rows("replica_capacity", [",".join(inst.candidate_names[k]) for k in candidates])
        .add(row=row, column=var.load_share, coefficient=inst.busy_replicas[split])
        .add(row=np.arange(len(candidates)), column=var.n_replicas[candidates], coefficient=-inst.max_utilization)
        .at_most(0.0)
    )


def gpu_slots(inst: Instance, var: Variables) -> Rows:
    """Replicas fit into the servers of their offer, counted in GPUs where group sizes divide the server.

    Σ_{k ∈ K_s} gpus_per_replica[k] · n_replicas[k]  ≤  gpus_per_server[s] · Σ_h n_servers[s,h]    ∀ s packed by volume
    """
    here = np.flatnonzero(inst.packing.by_volume)
    row_of_offer = np.cumsum(inst.packing.by_volume) - 1
    of_candidate = inst.packing.by_volume[inst.offer_of_candidate]
    of_term = inst.packing.by_volume[inst.offer_of_term]
    return (
        Rows("gpu_slots", [inst.offer_names[s] for s in here])
        .add(
            row=row_of_offer[inst.offer_of_candidate[of_candidate]],
            column=var.n_replicas[of_candidate],
            coefficient=inst.gpus_per_replica[of_candidate],
        )
        .add(
            row=row_of_offer[inst.offer_of_term[of_term]],
            column=var.n_servers[of_term],
            coefficient=-inst.gpus_per_server[inst.offer_of_term[of_term]],
        )
        .at_most(0.0)
    )


def pattern_slots(inst: Instance, var: Variables) -> Rows:
    """Elsewhere, groups of each size fit into the patterns that servers are filled by.

    Σ_{k of size a} units_per_replica[k] · n_replicas[k]  ≤  Σ_p groups[p,a] · n_patterns[p]    ∀ s by pattern, size a
    """
    packing = inst.packing
    of_candidate = packing.slot_of_candidate >= 0
    return (
        Rows("pattern_slots", [f"{inst.offer_names[s]},{size}" for s, size in packing.slot_names])
        .add(
            row=packing.slot_of_candidate[of_candidate],
            column=var.n_replicas[of_candidate],
            coefficient=packing.units_per_replica[of_candidate],
        )
        .add(row=packing.entry_slot, column=var.n_patterns[packing.entry_pattern], coefficient=-packing.entry_groups)
        .at_most(0.0)
    )


def server_patterns(inst: Instance, var: Variables) -> Rows:
    """A pattern fills one server.

    Σ_p n_patterns[p]  ≤  Σ_h n_servers[s,h]    ∀ s packed by pattern
    """
    by_pattern = ~inst.packing.by_volume
    row_of_offer = np.cumsum(by_pattern) - 1
    of_term = by_pattern[inst.offer_of_term]
    return (
        Rows("server_patterns", [inst.offer_names[s] for s in np.flatnonzero(by_pattern)])
        .add(row=row_of_offer[inst.packing.offer_of_pattern], column=var.n_patterns, coefficient=1.0)
        .add(row=row_of_offer[inst.offer_of_term[of_term]], column=var.n_servers[of_term], coefficient=-1.0)
        .at_most(0.0)
    )


def offer_limits(inst: Instance, var: Variables) -> Rows:
    """No more servers than are owned, or than a term offers.

    n_servers[s,h]  ≤  max_servers[s,h]    ∀ (s,h) with a limit
    """
    limited = np.flatnonzero(np.isfinite(inst.max_servers))
    return (
        Rows("offer_limits", [f"{inst.terms[h].offer},{inst.terms[h].term}" for h in limited])
        .add(row=np.arange(len(limited)), column=var.n_servers[limited], coefficient=1.0)
        .at_most(inst.max_servers[limited])
    )


def single_format(inst: Instance, var: Variables) -> Rows:
    """A workload's replicas share one model and weight format: load goes only to the chosen one, which carries it all.

    Σ_{k of q} load_share[k,d]  ≤  uses_format[q]    ∀ q, d of its workload, if that has several classes
    uses_format[q]  ≤  Σ_{k of q} min(1, max_utilization · rate_rps[k] / demand_rps) · n_replicas[k] + unserved[w]
                                                                                                      ∀ other q of w
    """
    chosen = inst.choice_of_load >= 0
    pairs, row = np.unique(
        np.stack([inst.choice_of_load[chosen], inst.demand_of_load[chosen]]), axis=1, return_inverse=True
    )
    row_of_load = np.full(len(chosen), -1)
    row_of_load[chosen] = row.ravel()
    split, one = chosen & inst.is_split, chosen & ~inst.is_split
    of_several_classes = np.isin(pairs[1], inst.demand_of_load[split])
    dropped = np.flatnonzero(inst.is_droppable[inst.workload_of_demand[pairs[1]]] & ~of_several_classes)
    return (
        Rows("single_format", [f"{','.join(inst.choice_names[q])},{inst.demand_names[d][1]}" for q, d in pairs.T])
        .add(row=row_of_load[split], column=var.load_share[chosen[inst.is_split]], coefficient=1.0)
        .add(row=row_of_load[one], column=var.n_replicas[inst.candidate_of_load[one]], coefficient=-inst.carried[one])
        .add(
            row=np.arange(pairs.shape[1]),
            column=var.uses_format[pairs[0]],
            coefficient=np.where(of_several_classes, -1.0, 1.0),
        )
        .add(row=dropped, column=var.unserved_of(inst, inst.workload_of_demand[pairs[1][dropped]]), coefficient=-1.0)
        .at_most(0.0)
    )


def choose_format(inst: Instance, var: Variables) -> Rows:
    """… and exactly one is chosen.

    Σ_q uses_format[w,q]  =  1    ∀ w with a choice
    """
    workloads, row = np.unique(inst.workload_of_choice, return_inverse=True)
    return (
        Rows("choose_format", [inst.workload_names[w] for w in workloads])
        .add(row=row, column=var.uses_format, coefficient=1.0)
        .equal_to(1.0)
    )


def capex_budget(inst: Instance, var: Variables) -> Rows:
    """Prices paid for bought servers stay within budget.capex, gross of residual value.

    Σ_{s,h} capex_usd[s,h] · n_servers[s,h]  ≤  capex_budget_usd
    """
    return _limit("capex_budget", var, inst.capex_usd, inst.capex_budget_usd)


def monthly_budget(inst: Instance, var: Variables) -> Rows:
    """Rent and running cost of a month stay within budget.monthly.

    Σ_{s,h} monthly_usd[s,h] · n_servers[s,h]  ≤  monthly_budget_usd
    """
    return _limit("monthly_budget", var, inst.monthly_usd, inst.monthly_budget_usd)


def power_cap(inst: Instance, var: Variables) -> Rows:
    """Owned and bought servers draw no more than the facility gives, before pue.

    Σ_{s,h} power_kw[s,h] · n_servers[s,h]  ≤  power_cap_kw
    """
    return _limit("power_cap", var, inst.power_kw, inst.power_cap_kw)


def _limit(family: str, var: Variables, amount: np.ndarray, limit: float) -> Rows:
    """One row over all servers, or none when there is no limit; scaled by the limit, so that it reads Σ share ≤ 1."""
    if not np.isfinite(limit):
        return Rows(family, [])
    scale = limit if limit > 0 else 1.0
    counted = np.flatnonzero(amount)
    return (
        Rows(family, ["total"])
        .add(row=0, column=var.n_servers[counted], coefficient=amount[counted] / scale)
        .at_most(limit / scale)
    )


FAMILIES: tuple[Family, ...] = (
    serve_demand,
    replica_capacity,
    gpu_slots,
    pattern_slots,
    server_patterns,
    offer_limits,
    single_format,
    choose_format,
    capex_budget,
    monthly_budget,
    power_cap,
)
