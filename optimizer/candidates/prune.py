"""Candidates that can never be in a cheapest plan, because another does the same in the same place."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from optimizer.candidates.spec import Candidates
from optimizer.scenario import Scenario, Workload
from optimizer.serving_config import BoolArray, FloatArray, IntArray, StringArray

ROUNDING = 1e-12
BITS_PER_WORD = 64


@dataclass(frozen=True, slots=True)
class Rows:
    """Candidates of one workload as arrays [n]."""

    card: IntArray  # the GPU type
    choice: IntArray  # the model and weight format, the preferred one first
    gpus: IntArray  # of a replica
    holds: IntArray  # [n, words] the offers that have a place for the replica, as bits
    rate_rps: FloatArray  # [n, R]
    alone: FloatArray  # replicas that carry the whole demand by themselves; infinite where a class cannot be served

    def take(self, rows: IntArray) -> Rows:
        return Rows(*(getattr(self, f.name)[rows] for f in fields(self)))


def alone_rps(name: str, scenario: Scenario) -> float:
    """What replicas must do at full use to carry a workload alone, when its demand is highest."""
    return scenario.highest_demand_rps(name) / scenario.max_utilization_fraction


def alone_replicas(workload: Workload, rate_rps: FloatArray, demand_rps: float) -> FloatArray:
    """[n] fully used replicas that carry this demand by themselves; infinite where a class cannot be served."""
    class_rps = demand_rps * np.array([c.share_fraction for c in workload.request_classes])
    busy = np.divide(class_rps, rate_rps, out=np.full_like(rate_rps, np.inf), where=rate_rps > 0)
    replicas: FloatArray = busy.sum(axis=1)
    return replicas


def numbered(names: StringArray) -> IntArray:
    """Each name's number, counted in the order of first appearance: of equals the first is kept."""
    _, first, number = np.unique(names, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[number]


def narrowed(
    c: Candidates,
    workload: Workload,
    demand_rps: float,
    keep: BoolArray | None = None,
    rate_rps: FloatArray | None = None,
) -> Candidates:
    """The undominated ones among some candidates [K], or all, were they as fast as `rate_rps` [K, R] says, or as is.

    `demand_rps` is what fully used replicas must carry, see `alone_rps`. `c` holds every structure, or the undominated
    ones of each format; what is dropped is what `build_candidates` drops.
    """
    rate_rps = c.rate_rps if rate_rps is None else rate_rps
    several = np.array([bool(spec.stages) for spec in c.specs], bool)
    rows = Rows(
        # Replicas over several offers take the place of no other, and none takes theirs.
        card=np.where(several, 1 + c.offer.max(initial=-1) + np.arange(len(several)), c.offer),
        choice=numbered(np.array([spec.choice for spec in c.specs], str)),
        gpus=c.gpus_per_replica,
        holds=packed(c.offer[:, None] == np.arange(1 + c.offer.max(initial=-1))[None, :]),
        rate_rps=rate_rps,
        alone=alone_replicas(workload, rate_rps, demand_rps),
    )
    kept = np.arange(len(several)) if keep is None else np.flatnonzero(keep)
    every_choice = bool(workload.heterogeneous_pipelines)
    kept = kept[undominated(rows.take(kept), mix=not workload.single_format, every_choice=every_choice)]
    return replace(
        c,
        specs=tuple(c.specs[k] for k in kept.tolist()),
        offer=c.offer[kept],
        gpus_per_replica=c.gpus_per_replica[kept],
        rate_rps=rate_rps[kept],
    )


def undominated(rows: Rows, *, mix: bool, every_choice: bool = False) -> BoolArray:
    """Which candidates to keep [n].

    j replaces k on the same card when it has a place wherever k has, and the copies of j that fit into k's GPUs,
    ⌊gpus_k / gpus_j⌋ of them, serve every class at least as fast as k, or carry the whole demand: any plan with k stays
    feasible, and costs the same, with those copies instead. Where a workload must use one format (`mix` false), j must
    have the format of k; and a whole format goes when each of its candidates is replaced by one of another format, for
    then any plan in it can be rewritten in that other; not so with `every_choice`, which says that there are candidates
    beside these rows. Of equals the first is kept.
    """
    everyone = np.arange(len(rows.card))
    keep = ~beaten_by(rows, rows.card if mix else by_choice(rows), everyone, everyone)
    if not mix and not every_choice:
        kept = np.flatnonzero(keep)
        keep[kept[_in_replaced_choice(rows.take(kept))]] = False
    return keep


def _in_replaced_choice(rows: Rows) -> BoolArray:
    """[n] whether another choice replaces the candidate's whole choice on each card."""
    choices, of = np.unique(rows.choice, return_inverse=True)
    replaced = np.ones((len(choices), len(choices)), bool)  # [q, other]
    for here in _groups(rows.card, np.zeros_like(of)):
        some = np.zeros((len(choices), len(here)), bool)  # [other, k] some candidate of the other choice replaces k
        np.logical_or.at(some, of[here], _replaces(rows, here[:, None], here[None, :]).T)
        np.logical_and.at(replaced, of[here], some.T)
    return _beaten(replaced)[of]


def by_choice(rows: Rows) -> IntArray:
    """[n] numbers that are the same on the same card in the same choice."""
    numbers: IntArray = rows.card * (1 + rows.choice.max(initial=0)) + rows.choice
    return numbers


def beaten_by(rows: Rows, group: IntArray, those: IntArray, others: IntArray) -> BoolArray:
    """Whether another row, one of the `others` in the same group [n], replaces each of those."""
    others = others[np.argsort(group[others], kind="stable")]
    first, end = (np.searchsorted(group[others], group[those], side=side) for side in ("left", "right"))
    of = np.repeat(np.arange(len(those)), end - first)
    by = np.arange(len(of)) - np.repeat(np.cumsum(end - first) - (end - first), end - first) + first[of]
    beaten = np.zeros(len(those), bool)
    beaten[of[_beats(rows, those[of], others[by])]] = True
    return beaten


def _beats(rows: Rows, k: IntArray, j: IntArray) -> BoolArray:
    """Whether row j replaces row k, and is not replaced by it in turn unless it comes first, so never itself."""
    beats: BoolArray = np.logical_and(_replaces(rows, k, j), ~_replaces(rows, j, k) | (j < k))
    return beats


def _replaces(rows: Rows, k: IntArray, j: IntArray) -> BoolArray:
    """Whether row j can stand in for row k; broadcast."""
    copies = rows.gpus[k] // rows.gpus[j]
    as_fast = copies > 0
    for rate in rows.rate_rps.T:
        as_fast = as_fast & (copies * rate[j] >= rate[k] * (1 - ROUNDING))
    replaces: BoolArray = np.logical_or(as_fast, copies >= rows.alone[j])
    for held in rows.holds.T:
        replaces &= (held[k] & ~held[j]) == 0
    return replaces


def packed(holds: BoolArray) -> IntArray:
    """[n, words] the offers of each row [n, S] as bits."""
    n_words = -(-holds.shape[1] // BITS_PER_WORD)
    padded = np.zeros((len(holds), n_words * BITS_PER_WORD), bool)
    padded[:, : holds.shape[1]] = holds
    words: IntArray = np.packbits(padded, axis=1).view(np.int64)
    return words


def unpacked(words: IntArray, n: int) -> BoolArray:
    """[n, S] the first S offers of each row's bits."""
    return np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=1, count=n).view(bool)


def _groups(first: IntArray, second: IntArray) -> list[IntArray]:
    """Positions that share both numbers."""
    order = np.lexsort((second, first))
    cuts = np.flatnonzero((np.diff(first[order]) != 0) | (np.diff(second[order]) != 0)) + 1
    return np.split(order, cuts) if len(order) else []


def _beaten(by: BoolArray) -> BoolArray:
    """Rows replaced by another column; where two replace each other, the earlier one stays."""
    n = len(by)
    earlier = np.arange(n)[None, :] < np.arange(n)[:, None]
    beats = by & ~np.eye(n, dtype=bool) & (~by.T | earlier)
    return np.asarray(beats.any(axis=1), bool)
