"""Which configurations may still be in a cheapest plan, by the least that some do and the most that others can do.

The rules are those of `undominated`, for workloads of one request class: j stands in for k on its card when the copies
of j that fit into k's GPUs do as much as k at least, or carry the whole demand. A configuration that cannot do as much
as another is known to do need not be rated: what is left keeps the candidates it would have had.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optimizer.candidates.enumerate import server_holds
from optimizer.scenario import Offer
from optimizer.serving_config import BoolArray, Configurations, FloatArray, IntArray, links_on

ROUNDING = 1e-9
"""Relative, far above that of rates: what is as good as another stays."""
LEADING = 2
"""Choices of a workload that are rated everywhere before others: they beat most of those."""


@dataclass(frozen=True, slots=True)
class Rivals:
    """n configurations in groups of equal places: the same card and GPUs, joined alike, on the same offers."""

    group: IntArray  # [n]
    gpus: IntArray  # [G] of a replica
    card: IntArray  # [G]
    choice: IntArray  # [n] weight format, of which a plan has one; 0 where formats may mix
    n_choices: int
    beaten: IntArray  # [P] group that another may stand in for, ascending; each by itself too
    by: IntArray  # [P]
    copies: FloatArray  # [P] of the other that fit into its GPUs

    @classmethod
    def of(cls, c: Configurations, offers: Sequence[Offer], *, mix: bool) -> Rivals:
        """`mix` says that a plan may mix weight formats."""
        columns = np.stack([c.gpu, c.gpus_per_replica, c.gpus_per_stage], axis=1)
        places, group = np.unique(columns, axis=0, return_inverse=True)
        gpu, gpus, stage = places.T
        names = [card.id for card in c.gpus]
        card = np.array([names.index(name) for name in names])[gpu]
        holds = _holds(c, gpu, gpus, stage, offers)
        covers = (holds[:, None, :] <= holds[None, :, :]).all(axis=2) & (card[:, None] == card[None, :])
        copies = gpus[:, None] // gpus[None, :]
        beaten, by = np.nonzero(covers & (copies > 0))
        choice = np.zeros(len(c), np.int64) if mix else c.weight_format
        n_choices = 1 + int(choice.max(initial=0))
        return cls(group.ravel(), gpus, card, choice, n_choices, beaten, by, copies[beaten, by].astype(np.float64))

    @property
    def cell(self) -> IntArray:
        """[n] choice and group as one number."""
        return self.choice * len(self.gpus) + self.group

    def stood_in_for(self, done: FloatArray, *, by_fewer_gpus: bool = False) -> FloatArray:
        """[…, G] the most that others, known to do `done` […, G], do in the GPUs of each group."""
        total = self.copies * done[..., self.by]
        if by_fewer_gpus:
            total = np.where(self.gpus[self.by] < self.gpus[self.beaten], total, 0.0)
        starts = np.searchsorted(self.beaten, np.arange(len(self.gpus)))
        most: FloatArray = np.maximum.reduceat(total, starts, axis=-1)
        return most


@dataclass(frozen=True, slots=True)
class Field:
    """m pairs of a workload and a configuration: what each can do at most, requests/s, and whether it is known."""

    rivals: Rivals
    workload: IntArray  # [m]
    row: IntArray  # [m] configuration
    most_rps: FloatArray  # [m]
    rated: BoolArray  # [m] `most_rps` is what it does
    enough_rps: FloatArray  # [W] that carries the whole demand

    def open(self) -> BoolArray:
        """[m] whether a pair may still be in a cheapest plan."""
        rivals = self.rivals
        shape = (len(self.enough_rps), rivals.n_choices, len(rivals.gpus))
        cell = self.workload * (shape[1] * shape[2]) + rivals.cell[self.row]
        enough_rps = self.enough_rps[:, None, None]
        known, most = np.zeros(shape).ravel(), np.zeros(shape).ravel()
        np.maximum.at(known, cell[self.rated], self.most_rps[self.rated])
        known = known.reshape(shape)
        in_place = rivals.stood_in_for(known)
        by_fewer = rivals.stood_in_for(known, by_fewer_gpus=True) >= enough_rps * (1 + ROUNDING)
        first = np.full(known.size, len(rivals.group))
        carries = np.flatnonzero(self.rated & (self.most_rps >= self.enough_rps[self.workload] * (1 + ROUNDING)))
        np.minimum.at(first, cell[carries], self.row[carries])
        asked_rps = np.minimum(self.most_rps, self.enough_rps[self.workload])
        beaten = asked_rps * (1 + ROUNDING) < np.minimum(in_place, enough_rps).ravel()[cell]
        beaten |= by_fewer.ravel()[cell] | (first[cell] < self.row)
        np.maximum.at(most, cell[~beaten], asked_rps[~beaten])
        gone = self._gone(np.minimum(known, enough_rps), in_place, most.reshape(shape))
        open_: BoolArray = ~beaten & ~gone[self.workload, rivals.choice[self.row]]
        return open_

    def all_unrated(self) -> IntArray:
        """Positions of the pairs that are not rated."""
        return np.flatnonzero(~self.rated)

    def best_on_each_card(self) -> IntArray:
        """… of those that promise most for each GPU, of each workload in each choice on each card."""
        which, group = self.all_unrated(), self.rivals.group[self.row]
        per_gpu = self.most_rps / self.rivals.gpus[group]
        cell = self._of_choice * len(self.rivals.gpus) + self.rivals.card[group]
        return _first(which, cell[which], -per_gpu[which])

    def best_of_leading_choices(self) -> IntArray:
        """… of those that promise most in each place, in the choices that lead on the cards."""
        rivals, n_cards = self.rivals, 1 + int(self.rivals.card.max(initial=0))
        group = rivals.group[self.row]
        best = np.zeros((len(self.enough_rps) * rivals.n_choices, n_cards))
        per_gpu = self.most_rps / rivals.gpus[group]
        np.maximum.at(best, (self._of_choice[self.rated], rivals.card[group[self.rated]]), per_gpu[self.rated])
        by_workload = best.reshape(-1, rivals.n_choices, n_cards)
        leading = by_workload / np.maximum(by_workload.max(axis=1, keepdims=True), np.finfo(float).tiny)
        place = np.argsort(np.argsort(-leading.sum(axis=2), axis=1, kind="stable"), axis=1)
        which = np.flatnonzero(~self.rated & (place.ravel()[self._of_choice] < LEADING))
        cell = self._of_choice * len(rivals.gpus) + group
        return _first(which, cell[which], -self.most_rps[which])

    @property
    def _of_choice(self) -> IntArray:
        """[m] workload and choice as one number."""
        return self.workload * self.rivals.n_choices + self.rivals.choice[self.row]

    def _gone(self, known: FloatArray, in_place: FloatArray, most: FloatArray) -> BoolArray:
        """[W, Q] whether all of a choice is stood in for by another; of equals the first choice stays."""
        enough_rps = self.enough_rps[:, None, None]
        gone = np.zeros(known.shape[:2], bool)
        can = self.rivals.stood_in_for(most)
        carries = in_place >= enough_rps * (1 + ROUNDING)
        for other in range(self.rivals.n_choices):
            here = in_place[:, [other]]
            replaced = ((most * (1 + ROUNDING) <= here) | carries[:, [other]]).all(axis=2)
            # The other way round it cannot be: some of `other` does more than this choice ever can.
            strictly = np.asarray(((can < known[:, [other]]) & (can < enough_rps)).any(axis=2))
            strictly[:, other + 1 :] = True
            strictly[:, other] = False
            gone |= replaced & strictly & known[:, [other]].any(axis=2)
        return gone


def _holds(c: Configurations, gpu: IntArray, gpus: IntArray, stage: IntArray, offers: Sequence[Offer]) -> BoolArray:
    """[G, S] whether an offer has a place for such replicas, joined as they are."""
    places = [(card.id, links) for card, links in zip(c.gpus, c.links_of_cards, strict=True)]
    columns = []
    for offer in offers:
        inside, across = (places.index((offer.gpu, links_on(offer, between_servers=many))) for many in (False, True))
        joined = gpu == np.where(gpus > offer.gpus_per_server, across, inside)
        columns.append(joined & server_holds(offer.gpus_per_server, stage, gpus))
    return np.stack(columns, axis=1)


def _first(which: IntArray, cell: IntArray, key: FloatArray) -> IntArray:
    """Of some positions, in each cell the one of least key."""
    order = np.lexsort((which, key, cell))
    first: IntArray = order[np.concatenate([[True], np.diff(cell[order]) != 0])[: len(order)]]
    return which[first]
