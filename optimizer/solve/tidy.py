"""From a solver's numbers to a plan's: whole counts, nothing superfluous, load spread exactly.

Among plans of equal cost a solver returns any. The order by which we choose is: fewest servers, then fewest GPUs in use
(a replica that is not needed is taken away, the largest first), then the most even load.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from optimizer.errors import SolverError
from optimizer.formulation import Instance
from optimizer.serving_config import FloatArray, IntArray
from optimizer.solve.answer import Decision
from optimizer.solve.occupants import Occupants
from optimizer.solve.routing import route

UTILIZATION_TOLERANCE = 1e-7
"""Relative; what a solver's feasibility tolerance may leave of a capacity row. Plans are checked to 1e-6."""


def tidy(
    inst: Instance,
    n_replicas: IntArray,
    n_servers: IntArray,
    n_on_server: IntArray | None = None,
    n_ordered: IntArray | None = None,
) -> Decision:
    """The decision behind rounded counts; `n_on_server` [X] if the instance has sites, `n_ordered` [O] if orders.

    Raises:
        SolverError: the counts do not carry the demand; the solver's answer was wrong beyond tolerance.
    """
    n_replicas = n_replicas.copy()
    occupants = Occupants(inst, n_replicas, np.zeros(0, np.int64) if n_on_server is None else n_on_server)
    load_share = np.zeros(len(inst.candidate_of_load))
    for w, loads in enumerate(_loads_by_workload(inst)):
        if not inst.busy_replicas[loads].any():  # nobody asks for it in this period, or nothing of it is served
            for k in np.unique(inst.candidate_of_load[loads]).tolist():
                n_replicas[k] = 0
                occupants.cut(k, 0)
            continue
        need = _Need(inst, w, loads, occupants)
        need.keep_one_choice(n_replicas)
        need.drop_superfluous(n_replicas)
        routing = need.met_by(n_replicas)
        if routing is None:
            raise SolverError(f"the solver's replicas do not carry the demand of {inst.workload_names[w]}")
        used, share = routing
        busy_column = np.unique(inst.demand_of_load[loads], return_inverse=True)[1]
        rows = {int(k): i for i, k in enumerate(used)}
        for load, column in zip(loads, busy_column, strict=True):
            row = rows.get(int(inst.candidate_of_load[load]))
            if row is not None:
                load_share[load] = share[row, column]
    servers = {s: occupants.servers(s) for s in np.flatnonzero(inst.packing.by_site).tolist()}
    return Decision(
        n_replicas, load_share, n_servers, servers, np.zeros(0, np.int64) if n_ordered is None else n_ordered
    )


def fewest_orders(inst: Instance, n_ordered: IntArray, n_servers: IntArray) -> IntArray:
    """Orders [O] without those that no server in use [H] needs, the dearest first."""
    kept, orders = n_ordered.copy(), inst.orders
    n_offers = len(inst.offer_names) // inst.horizon.n_states
    in_use: Counter[tuple[int, float | None, int]] = Counter()  # in the future that takes most of them
    for h, term in enumerate(inst.terms):
        if term.term in ("buy", "reserve"):
            key = int(inst.offer_of_term[h]) % n_offers, term.term_months, inst.horizon.period_of(term.state)
            in_use[key] = max(in_use[key], int(n_servers[h]))
    for o in sorted(np.flatnonzero(kept).tolist(), key=lambda o: (-orders.usd_per_hour[o], -o)):
        offer, months, _ = orders.groups[orders.group[o]]
        alike = orders.group == orders.group[o]
        surplus = [
            int(kept[alike & orders.serves(t)].sum()) - in_use[offer, months, t]
            for t in range(int(orders.first[o]), int(orders.end[o]))
        ]
        kept[o] -= min(int(kept[o]), *surplus)
    return kept


def carried_share(inst: Instance, n_replicas: IntArray, n_on_server: IntArray) -> FloatArray:
    """[W] the largest part of each workload's demand, alike for its classes, that replica counts carry.

    With spare, what is left after any loss carries it too. What nobody asks for is carried whole.
    """
    share = np.zeros(len(inst.workload_names))
    occupants = Occupants(inst, n_replicas, n_on_server)
    for w, loads in enumerate(_loads_by_workload(inst)):
        candidates = np.unique(inst.candidate_of_load[loads])
        used = candidates[n_replicas[candidates] > 0]
        for alike in _by_choice(inst, loads, used) or [used]:
            busy = _busy(inst, loads, alike)
            routing = route(n_replicas[alike], busy) if len(alike) else None
            if routing is None:
                continue
            most = inst.max_utilization / routing.peak_utilization
            for lost in occupants.losses(w, alike, n_replicas) if inst.has_spare[w] else ():
                rest = route(n_replicas[alike] - lost, busy)
                most = 0.0 if rest is None else min(most, 1.0 / rest.peak_utilization)
            share[w] = max(share[w], min(1.0, most))
    share[np.setdiff1d(np.arange(len(share)), inst.workload_of_demand)] = 1.0
    return share


def fewest_terms(inst: Instance, n_servers: IntArray, needed: Sequence[int]) -> IntArray:
    """Server counts by term [H] cut to what each offer needs [S] and what must stand by, the dearest term first."""
    kept = n_servers.copy()
    had = np.bincount(inst.offer_of_term, weights=n_servers, minlength=len(needed))
    for s in np.flatnonzero((had > 0) | (np.asarray(needed) > 0)).tolist():
        count, here = needed[s], np.flatnonzero(inst.offer_of_term == s)
        if _surplus(inst, here, kept, count) < 0:
            raise SolverError(
                f"{inst.offer_names[s]}: the replicas need {count} servers, the solver gave {kept[here].sum()}"
            )
        for h in sorted(here.tolist(), key=lambda h: (-inst.usd_per_hour[h], -h)):
            kept[h] -= min(_surplus(inst, here, kept, count), int(kept[h]))
            while _surplus(inst, here, kept, count) < 0:  # for a spot server, two others may have to come
                kept[h] += 1
    return kept


def _surplus(inst: Instance, terms: IntArray, n_servers: IntArray, needed: int) -> int:
    """Servers of the terms of one offer beyond those that hold what it needs and those that must stand by."""
    if not len(terms):
        return -needed
    is_spot = inst.is_spot[terms]
    in_use = max(0, needed - int(n_servers[terms[is_spot]].sum()))
    stand_by = inst.stand_by.needed(int(inst.offer_of_term[terms[0]]), in_use)
    spot_surplus = max(0, int(n_servers[terms[is_spot]].sum()) - needed)
    return int(n_servers[terms[~is_spot]].sum()) - in_use - stand_by + spot_surplus


def standing_by(inst: Instance, n_servers: IntArray, needed: Sequence[int]) -> IntArray:
    """[H] how many of the servers of each term only stand by for those that fail: the last of each offer."""
    idle = np.zeros_like(n_servers)
    for s in np.flatnonzero(np.isfinite(inst.stand_by.unspared)).tolist():
        here = np.flatnonzero((inst.offer_of_term == s) & ~inst.is_spot)
        left = int(n_servers[inst.offer_of_term == s].sum()) - needed[s]
        for h in here[::-1]:
            idle[h] = min(left, int(n_servers[h]))
            left -= int(idle[h])
    return idle


def _loads_by_workload(inst: Instance) -> list[IntArray]:
    workload = inst.workload_of_candidate[inst.candidate_of_load]
    order = np.argsort(workload, kind="stable")
    bounds = np.searchsorted(workload[order], np.arange(len(inst.workload_names) + 1))
    return [order[a:b] for a, b in itertools.pairwise(bounds)]


class _Need:
    """What one workload asks of replica counts [K], and how few will do."""

    def __init__(self, inst: Instance, w: int, loads: IntArray, occupants: Occupants) -> None:
        self.inst, self.w, self.loads, self.occupants = inst, w, loads, occupants
        self.candidates = np.unique(inst.candidate_of_load[loads])
        self.survives = bool(inst.has_spare[w])

    def met_by(self, n_replicas: IntArray, among: IntArray | None = None) -> tuple[IntArray, FloatArray] | None:
        """The candidates used (`among` some) and the share [G, R] of each class they carry, None if they cannot.

        With spare, what is left after any loss must carry everything too, fully used if need be.
        """
        candidates = self.candidates if among is None else among
        used: IntArray = candidates[n_replicas[candidates] > 0]
        busy = _busy(self.inst, self.loads, used)
        losses = self.occupants.losses(self.w, used, n_replicas) if self.survives else ()
        share = share_carried(n_replicas[used], busy, losses, self.inst.max_utilization)
        return None if share is None else (used, share)

    def keep_one_choice(self, n_replicas: IntArray) -> None:
        """Only the one model and format that carries the workload stays; all of them where formats may mix.

        Where servers are free a solver may leave replicas of a format that it sends no load to; they are superfluous.
        Of several formats that would do, the one with the fewest GPUs.
        """
        used = self.candidates[n_replicas[self.candidates] > 0]
        by_choice = _by_choice(self.inst, self.loads, used)
        by_choice.sort(key=lambda alike: int(n_replicas[alike] @ self.inst.gpus_per_replica[alike]))
        if len(by_choice) < 2:
            return
        kept = next((alike for alike in by_choice if self.met_by(n_replicas, alike) is not None), used)
        for k in np.setdiff1d(used, kept).tolist():
            n_replicas[k] = 0
            self.occupants.cut(k, 0)

    def drop_superfluous(self, n_replicas: IntArray) -> None:
        """Takes away every replica that is not needed, the largest first."""
        used = self.candidates[n_replicas[self.candidates] > 0]
        for k in used[np.argsort(-self.inst.gpus_per_replica[used], kind="stable")].tolist():
            while n_replicas[k] > 0 and self._drop_one(k, n_replicas):
                pass

    def _drop_one(self, k: int, n_replicas: IntArray) -> bool:
        """Whether a replica of a candidate could be taken away, from wherever it is not missed."""
        n_replicas[k] -= 1
        standing = self.occupants.replicas_of(k)
        for parts in standing:
            self.occupants.move(k, parts, -1)
            if self.met_by(n_replicas) is not None:
                return True
            self.occupants.move(k, parts, 1)
            if not self.survives:
                break  # without spare it does not matter where it stands
        if not standing and self.met_by(n_replicas) is not None:
            return True
        n_replicas[k] += 1
        return False


def _by_choice(inst: Instance, loads: IntArray, used: IntArray) -> list[IntArray]:
    """The used candidates of each model and format; none where formats may mix."""
    choice = np.full(len(inst.candidate_names), -1)
    choice[inst.candidate_of_load[loads]] = inst.choice_of_load[loads]
    return [used[choice[used] == q] for q in np.unique(choice[used]) if q >= 0]


def _busy(inst: Instance, loads: IntArray, used: IntArray) -> FloatArray:
    """[G, R] demand / rate of the used candidates of one workload, infinite where one cannot serve a class."""
    demands, column = np.unique(inst.demand_of_load[loads], return_inverse=True)
    busy = np.full((len(used), len(demands)), np.inf)
    is_used = np.isin(inst.candidate_of_load[loads], used)
    row = np.searchsorted(used, inst.candidate_of_load[loads][is_used])
    busy[row, column[is_used]] = inst.busy_replicas[loads][is_used]
    return busy


def share_carried(
    replicas: IntArray, busy: FloatArray, losses: Iterable[IntArray], max_utilization: float
) -> FloatArray | None:
    """The share [G, R] of each class that groups of replicas [G] carry of it; None where they do not carry all of it.

    `busy` [G, R] is as `route` takes it. What is left after any loss [G] must carry everything too, fully used if need
    be.
    """
    routing = route(replicas, busy)
    if routing is None or not _carries(routing.peak_utilization, max_utilization):
        return None
    for lost in losses:
        rest = route(replicas - lost, busy)
        if rest is None or not _carries(rest.peak_utilization, 1.0):
            return None
    return routing.share


def _carries(utilization: float, max_utilization: float) -> bool:
    return utilization <= max_utilization * (1 + UTILIZATION_TOLERANCE)
