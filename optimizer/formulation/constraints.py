"""The constraint families, in the order and with the names of `docs/formulation.md`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from optimizer.formulation.fleet import FLEET_FAMILIES
from optimizer.formulation.instance import Instance
from optimizer.formulation.rows import Rows
from optimizer.formulation.spare import SPARE_FAMILIES
from optimizer.formulation.variables import Variables
from optimizer.serving_config import FloatArray

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

    Σ_{k ∈ K_s} gpus[k,s] · n_replicas[k]
      ≤  gpus_per_server[s] · (Σ_h n_servers[s,h] − Σ_c stand_by[s,c])    ∀ s packed by volume
    """
    here = np.flatnonzero(inst.packing.by_volume)
    row_of_offer = np.cumsum(inst.packing.by_volume) - 1
    taken = inst.footprint
    here_too = inst.packing.by_volume[taken.offer]
    of_term = inst.packing.by_volume[inst.offer_of_term]
    of_spare = inst.packing.by_volume[inst.stand_by.offer]
    return (
        Rows("gpu_slots", [inst.offer_names[s] for s in here])
        .add(
            row=row_of_offer[taken.offer[here_too]],
            column=var.n_replicas[taken.candidate[here_too]],
            coefficient=(taken.gpus * taken.groups)[here_too],
        )
        .add(
            row=row_of_offer[inst.offer_of_term[of_term]],
            column=var.n_servers[of_term],
            coefficient=-inst.gpus_per_server[inst.offer_of_term[of_term]],
        )
        .add(
            row=row_of_offer[inst.stand_by.offer[of_spare]],
            column=var.stand_by[of_spare],
            coefficient=inst.gpus_per_server[inst.stand_by.offer[of_spare]],
        )
        .at_most(0.0)
    )


def pattern_slots(inst: Instance, var: Variables) -> Rows:
    """Elsewhere, groups of each size fit into the patterns that servers are filled by.

    Σ_{k of size a} units[k,s] · n_replicas[k]  ≤  Σ_p groups[p,a] · n_patterns[p]    ∀ s by pattern, size a
    """
    packing = inst.packing
    in_slots = packing.slot_of_entry >= 0
    return (
        Rows("pattern_slots", [f"{inst.offer_names[s]},{size}" for s, size in packing.slot_names])
        .add(
            row=packing.slot_of_entry[in_slots],
            column=var.n_replicas[inst.footprint.candidate[in_slots]],
            coefficient=packing.units_per_replica[in_slots],
        )
        .add(row=packing.entry_slot, column=var.n_patterns[packing.entry_pattern], coefficient=-packing.entry_groups)
        .at_most(0.0)
    )


def server_patterns(inst: Instance, var: Variables) -> Rows:
    """A pattern fills one server.

    Σ_p n_patterns[p]  ≤  Σ_h n_servers[s,h] − Σ_c stand_by[s,c]    ∀ s packed by pattern
    """
    by_pattern = ~(inst.packing.by_volume | inst.packing.by_site)
    row_of_offer = np.cumsum(by_pattern) - 1
    of_term, of_spare = by_pattern[inst.offer_of_term], by_pattern[inst.stand_by.offer]
    return (
        Rows("server_patterns", [inst.offer_names[s] for s in np.flatnonzero(by_pattern)])
        .add(row=row_of_offer[inst.packing.offer_of_pattern], column=var.n_patterns, coefficient=1.0)
        .add(row=row_of_offer[inst.offer_of_term[of_term]], column=var.n_servers[of_term], coefficient=-1.0)
        .add(row=row_of_offer[inst.stand_by.offer[of_spare]], column=var.stand_by[of_spare], coefficient=1.0)
        .at_most(0.0)
    )


def offer_limits(inst: Instance, var: Variables) -> Rows:
    """No more servers than are owned, or than a term offers, spares included.

    n_servers[s,h] + Σ_c has_spare[s,h,c]  ≤  max_servers[s,h]    ∀ (s,h) with a limit
    """
    is_limited = np.isfinite(inst.max_servers)
    limited, row_of_term = np.flatnonzero(is_limited), np.cumsum(is_limited) - 1
    spares = is_limited[inst.spot.term]
    return (
        Rows("offer_limits", [inst.term_name(h) for h in limited])
        .add(row=np.arange(len(limited)), column=var.n_servers[limited], coefficient=1.0)
        .add(row=row_of_term[inst.spot.term[spares]], column=var.has_spare[spares], coefficient=1.0)
        .at_most(inst.max_servers[limited])
    )


def rack_room(inst: Instance, var: Variables) -> Rows:
    """The racks of an offer hold its servers, whatever their terms.

    Σ_h n_servers[s,h] + Σ_c has_spare[s,c]  ≤  rack_room[s]    ∀ s that names racks
    """
    racked = np.isfinite(inst.rack_room)
    row_of_offer = np.cumsum(racked) - 1
    of_term = np.flatnonzero(racked[inst.offer_of_term])
    offer_of_spare = inst.offer_of_term[inst.spot.term]
    of_spare = np.flatnonzero(racked[offer_of_spare])
    return (
        Rows("rack_room", [inst.offer_names[s] for s in np.flatnonzero(racked)])
        .add(row=row_of_offer[inst.offer_of_term[of_term]], column=var.n_servers[of_term], coefficient=1.0)
        .add(row=row_of_offer[offer_of_spare[of_spare]], column=var.has_spare[of_spare], coefficient=1.0)
        .at_most(inst.rack_room[racked])
    )


def spot_spares(inst: Instance, var: Variables) -> Rows:
    """Spot servers in use have as many spares as are missing at a time with the asked availability, see `spot.py`.

    n_servers[s,spot]  ≤  unspared[s] + Σ_c step[s,c] · has_spare[s,c]    ∀ s with interruptions
    """
    interrupted = np.flatnonzero(np.isfinite(inst.spot.unspared))
    return (
        Rows("spot_spares", [inst.offer_names[s] for s in inst.offer_of_term[interrupted]])
        .add(row=np.arange(len(interrupted)), column=var.n_servers[interrupted], coefficient=1.0)
        .add(row=np.searchsorted(interrupted, inst.spot.term), column=var.has_spare, coefficient=-inst.spot.step)
        .at_most(inst.spot.unspared[interrupted])
    )


def spare_order(inst: Instance, var: Variables) -> Rows:
    """… and the first spare comes before the second, because later ones allow more.

    has_spare[s,c]  ≤  has_spare[s,c−1]    ∀ c > 1
    """
    later = np.flatnonzero(inst.spot.number > 1)
    offer = inst.offer_of_term[inst.spot.term]
    names = [f"{inst.offer_names[offer[z]]},{inst.spot.number[z]}" for z in later]
    return (
        Rows("spare_order", names)
        .add(row=np.arange(len(later)), column=var.has_spare[later], coefficient=1.0)
        .add(row=np.arange(len(later)), column=var.has_spare[later - 1], coefficient=-1.0)
        .at_most(0.0)
    )


def failure_spares(inst: Instance, var: Variables) -> Rows:
    """So many servers of an offer stand by as are down at a time with the asked availability, see `failures.py`.

    Σ_{h not spot} n_servers[s,h] − Σ_c stand_by[s,c]  ≤  unspared[s] + Σ_c step[s,c] · stand_by[s,c]
                                                                                            ∀ s with failures
    """
    fails = np.isfinite(inst.stand_by.unspared)
    row_of_offer = np.cumsum(fails) - 1
    owned = np.flatnonzero(fails[inst.offer_of_term] & ~inst.is_spot)
    return (
        Rows("failure_spares", [inst.offer_names[s] for s in np.flatnonzero(fails)])
        .add(row=row_of_offer[inst.offer_of_term[owned]], column=var.n_servers[owned], coefficient=1.0)
        .add(row=row_of_offer[inst.stand_by.offer], column=var.stand_by, coefficient=-1.0 - inst.stand_by.step)
        .at_most(inst.stand_by.unspared[fails])
    )


def stand_by_order(inst: Instance, var: Variables) -> Rows:
    """… the first before the second, because later ones allow more.

    stand_by[s,c]  ≤  stand_by[s,c−1]    ∀ c > 1
    """
    later = np.flatnonzero(inst.stand_by.number > 1)
    names = [f"{inst.offer_names[inst.stand_by.offer[z]]},{inst.stand_by.number[z]}" for z in later]
    return (
        Rows("stand_by_order", names)
        .add(row=np.arange(len(later)), column=var.stand_by[later], coefficient=1.0)
        .add(row=np.arange(len(later)), column=var.stand_by[later - 1], coefficient=-1.0)
        .at_most(0.0)
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
    """Prices paid for bought servers stay within budget.capex, gross of residual value, over the whole horizon.

    Σ_{s,h} capex_usd[s,h] · n_servers[s,h] + Σ_o capex_usd[o] · n_ordered[o]  ≤  capex_budget_usd
    """
    names = ["total"] if np.isfinite(inst.capex_budget_usd) else []
    scale = _scale(inst.capex_budget_usd)
    rows = Rows("capex_budget", names)
    for column, usd in ((var.n_servers, inst.capex_usd), (var.n_ordered, inst.orders.capex_usd)):
        counted = np.flatnonzero(usd) if names else np.zeros(0, np.int64)
        rows.add(row=0, column=column[counted], coefficient=usd[counted] / scale)
    return rows.at_most(inst.capex_budget_usd / scale)


def monthly_budget(inst: Instance, var: Variables) -> Rows:
    """Rent, reservations and running cost of a month stay within budget.monthly, in every period.

    Σ_{s,h} monthly_usd[s,h] · (n_servers[s,h] + Σ_c has_spare[s,h,c])
      + Σ_{o: period[o] ≤ t < paid_until[o]} monthly_usd[o] · n_ordered[o]  ≤  monthly_budget_usd    ∀ t
    """
    rows = _limit("monthly_budget", inst, var, inst.monthly_usd, inst.monthly_budget_usd)
    for t in range(len(rows.index)):
        paid = np.flatnonzero(inst.orders.is_paid(inst.horizon.period_of(t)))
        usd = inst.orders.monthly_usd[paid]
        rows.add(row=t, column=var.n_ordered[paid], coefficient=usd / _scale(inst.monthly_budget_usd))
    return rows


def power_cap(inst: Instance, var: Variables) -> Rows:
    """Owned and bought servers in use draw no more than the facility gives, before pue, in every period.

    Σ_{s,h} power_kw[s,h] · n_servers[s,h]  ≤  power_cap_kw    ∀ t
    """
    return _limit("power_cap", inst, var, inst.power_kw, inst.power_cap_kw)


def _limit(family: str, inst: Instance, var: Variables, amount: FloatArray, limit: float) -> Rows:
    """A row a period over its servers, none when there is no limit; scaled by it, so that it reads Σ share ≤ 1."""
    if not np.isfinite(limit):
        return Rows(family, [])
    period, scale = inst.state_of_term, _scale(limit)
    counted = np.flatnonzero(amount)
    spares = np.flatnonzero(amount[inst.spot.term])
    of_spare = inst.spot.term[spares]
    return (
        Rows(family, [f"total{inst.horizon.suffix(t)}" for t in range(inst.horizon.n_states)])
        .add(row=period[counted], column=var.n_servers[counted], coefficient=amount[counted] / scale)
        .add(row=period[of_spare], column=var.has_spare[spares], coefficient=amount[of_spare] / scale)
        .at_most(limit / scale)
    )


def _scale(limit: float) -> float:
    return limit if np.isfinite(limit) and limit > 0 else 1.0


FAMILIES: tuple[Family, ...] = (
    serve_demand,
    replica_capacity,
    gpu_slots,
    pattern_slots,
    server_patterns,
    offer_limits,
    rack_room,
    spot_spares,
    spare_order,
    failure_spares,
    stand_by_order,
    single_format,
    choose_format,
    capex_budget,
    monthly_budget,
    power_cap,
    *SPARE_FAMILIES,
    *FLEET_FAMILIES,
)
