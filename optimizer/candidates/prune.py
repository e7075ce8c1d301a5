"""Candidates that can never be in a cheapest plan, because another does the same in the same place."""

from __future__ import annotations

import numpy as np

from optimizer.serving_config import BoolArray, FloatArray, IntArray

ROUNDING = 1e-12


def undominated(
    card: IntArray, choice: IntArray, gpus: IntArray, holds: BoolArray, rate_rps: FloatArray, *, mix: bool
) -> BoolArray:
    """Which candidates to keep [n].

    j replaces k on the same card when it has a place wherever k has, and the copies of j that fit into k's GPUs,
    ⌊gpus_k / gpus_j⌋ of them, serve every class at least as fast: any plan with k stays feasible, and costs the same,
    with those copies instead. Where a workload must use one format (`mix` false), j must have the format of k; and a
    whole format goes when each of its candidates is replaced by one of another format, for then any plan in it can be
    rewritten in that other. Of equals the first is kept.

    Args:
        card: [n] the GPU type.
        choice: [n] the model and weight format.
        gpus: [n] GPUs of a replica.
        holds: [n, S] whether an offer has a place for the replica.
        rate_rps: [n, R].
    """
    keep = np.ones(len(card), bool)
    groups = [np.flatnonzero(card == c) for c in np.unique(card)]
    replaces = [_replaces(gpus[here], holds[here], rate_rps[here]) for here in groups]
    for here, by in zip(groups, replaces, strict=True):
        allowed = by if mix else by & (choice[here][:, None] == choice[here][None, :])
        keep[here] = ~_beaten(allowed)
    if mix:
        return keep
    for q in np.unique(choice):
        others = np.unique(choice[keep & (choice != q)])
        if any(_rewrites(groups, replaces, choice, keep, q, other) for other in others):
            keep[choice == q] = False
    return keep


def _replaces(gpus: IntArray, holds: BoolArray, rate_rps: FloatArray) -> BoolArray:
    """[n, n] whether candidate column j can stand in for candidate row k."""
    copies = gpus[:, None] // gpus[None, :]
    enough = copies[:, :, None] * rate_rps[None, :, :] >= rate_rps[:, None, :] * (1 - ROUNDING)
    has_place = ~(holds[:, None, :] & ~holds[None, :, :]).any(axis=2)
    result: BoolArray = (copies > 0) & has_place & enough.all(axis=2)
    return result


def _beaten(by: BoolArray) -> BoolArray:
    """Rows replaced by another column; where two replace each other, the earlier one stays."""
    n = len(by)
    earlier = np.arange(n)[None, :] < np.arange(n)[:, None]
    beaten: BoolArray = (by & ~np.eye(n, dtype=bool) & (~by.T | earlier)).any(axis=1)
    return beaten


def _rewrites(
    groups: list[IntArray], replaces: list[BoolArray], choice: IntArray, keep: BoolArray, q: int, other: int
) -> bool:
    """Whether every kept candidate of choice q has a stand-in of the other choice on its card."""
    for here, by in zip(groups, replaces, strict=True):
        mine = np.flatnonzero((choice[here] == q) & keep[here])
        theirs = np.flatnonzero((choice[here] == other) & keep[here])
        if len(mine) and not by[np.ix_(mine, theirs)].any(axis=1).all():
            return False
    return True
