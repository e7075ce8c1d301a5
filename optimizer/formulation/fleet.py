"""The constraint families of orders: what is ordered serves later periods too, and every future."""

from __future__ import annotations

import numpy as np

from optimizer.formulation.instance import Instance
from optimizer.formulation.rows import Rows
from optimizer.formulation.variables import Variables


def fleet_balance(inst: Instance, var: Variables) -> Rows:
    """Bought servers in use have arrived and are not yet retired: fleet[t] = fleet[t−1] + arrived − retired, unrolled.

    n_servers[s,buy,t]  ≤  Σ_{o: first[o] ≤ t < end[o]} n_ordered[o]    ∀ s for sale, t of each future
    """
    return _in_service("fleet_balance", inst, var, bought=True)


def commitments(inst: Instance, var: Variables) -> Rows:
    """Reserved servers in use are committed to, and whole terms are paid whether they are used or not.

    n_servers[s,reserve,t]  ≤  Σ_{o: first[o] ≤ t < end[o]} n_ordered[o]    ∀ reserved term of s, t of each future
    """
    return _in_service("commitments", inst, var, bought=False)


def order_limits(inst: Instance, var: Variables) -> Rows:
    """No more is bought over the whole horizon, or committed to at a time, than is offered.

    Σ_o n_ordered[o]  ≤  max    ∀ s for sale with a limit
    Σ_{o: period[o] ≤ t < paid_until[o]} n_ordered[o]  ≤  max    ∀ reserved term with a limit, t
    """
    orders = inst.orders
    rows: list[tuple[str, float]] = []
    entries: list[tuple[int, int]] = []
    for g, (s, term_months, most) in enumerate(orders.groups):
        if not np.isfinite(most):
            continue
        offer = inst.offer_names[s].split(",")[0]
        if term_months is None:
            entries += [(len(rows), o) for o in np.flatnonzero(orders.group == g).tolist()]
            rows.append((f"{offer},buy", most))
            continue
        for t in range(inst.horizon.n_periods):
            entries += [(len(rows), o) for o in np.flatnonzero((orders.group == g) & orders.is_paid(t)).tolist()]
            rows.append((f"{offer},reserve {term_months:g}mo,{t + 1}", most))
    row, order = np.array(entries, np.int64).reshape(-1, 2).T
    return (
        Rows("order_limits", [name for name, _ in rows])
        .add(row=row, column=var.n_ordered[order], coefficient=1.0)
        .at_most(np.array([most for _, most in rows], float))
    )


def capex_per_period(inst: Instance, var: Variables) -> Rows:
    """Prices paid at the start of a period stay within what budget.capex_per_period has for it.

    Σ_{s,h} capex_usd[s,h] · n_servers[s,h] + Σ_{o: period[o] = t} capex_usd[o] · n_ordered[o]
      ≤  capex_per_period_usd[t]    ∀ t

    One period without orders starts with what is bought for it.
    """
    limits = inst.capex_per_period_usd
    limited = np.flatnonzero(np.isfinite(limits))
    scale = np.where(limits[limited] > 0, limits[limited], 1.0)
    rows = Rows("capex_per_period", [str(t + 1) for t in limited.tolist()])
    for row, t in enumerate(limited.tolist()):
        now = np.flatnonzero((inst.orders.period == t) & (inst.orders.capex_usd > 0))
        at_once = np.flatnonzero(inst.capex_usd)
        rows.add(row=row, column=var.n_servers[at_once], coefficient=inst.capex_usd[at_once] / scale[row])
        rows.add(row=row, column=var.n_ordered[now], coefficient=inst.orders.capex_usd[now] / scale[row])
    return rows.at_most(limits[limited] / scale)


def _in_service(family: str, inst: Instance, var: Variables, *, bought: bool) -> Rows:
    """One row for each term that orders fill."""
    orders = inst.orders
    group_of = {(s, months): g for g, (s, months, _) in enumerate(orders.groups)}
    n_offers = len(inst.offer_names) // inst.horizon.n_states
    filled = [
        h
        for h, term in enumerate(inst.terms)
        if inst.horizon.has_orders and (term.term == "buy" if bought else term.term == "reserve")
    ]
    entries: list[tuple[int, int]] = []
    for row, h in enumerate(filled):
        g = group_of.get((int(inst.offer_of_term[h]) % n_offers, inst.terms[h].term_months))
        here = (orders.group == (-1 if g is None else g)) & orders.serves(inst.horizon.period_of(inst.terms[h].state))
        entries += [(row, o) for o in np.flatnonzero(here).tolist()]
    row_of, order = np.array(entries, np.int64).reshape(-1, 2).T
    return (
        Rows(family, [inst.term_name(h) for h in filled])
        .add(row=np.arange(len(filled)), column=var.n_servers[filled], coefficient=1.0)
        .add(row=row_of, column=var.n_ordered[order], coefficient=-1.0)
        .at_most(0.0)
    )


FLEET_FAMILIES = (fleet_balance, commitments, order_limits, capex_per_period)
