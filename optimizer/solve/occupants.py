"""Which replicas stand on which server, on the offers where the program decides that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from optimizer.errors import SolverError
from optimizer.formulation import Instance
from optimizer.serving_config import IntArray
from optimizer.solve.answer import Occupied

Site = tuple[int, int]
"""An offer and one of its servers."""


class Occupants:
    """Replicas of each candidate on each site, and what a loss takes away. Changes as replicas are taken away."""

    def __init__(self, inst: Instance, n_replicas: IntArray, n_on_server: IntArray) -> None:
        """Cells of several candidates are shared out to these in their order.

        Raises:
            SolverError: the sites hold other replicas than there are.
        """
        sites = inst.sites
        self._inst = inst
        self._site = [(int(s), int(j)) for s, j in zip(sites.offer, sites.number, strict=True)]
        self._rack = dict(zip(self._site, sites.rack, strict=True))
        self.on: dict[Site, Counter[int]] = {}
        members = [np.flatnonzero(sites.cell_of_candidate == cell).tolist() for cell in range(len(sites.cell_offer))]
        waiting = [[k for k in ks for _ in range(n_replicas[k])][::-1] for ks in members]
        for stand in np.flatnonzero(n_on_server).tolist():
            cell, site = int(sites.stand_cell[stand]), int(sites.stand_site[stand])
            here = self.on.setdefault(self._site[site], Counter())
            for _ in range(n_on_server[stand]):
                if not waiting[cell]:
                    raise SolverError("the solver places more replicas than it has")
                here[waiting[cell].pop()] += 1
        if any(waiting):
            raise SolverError("the solver has replicas that stand nowhere")

    @classmethod
    def standing(cls, inst: Instance, servers: Mapping[int, Sequence[Occupied]]) -> Occupants:
        """What a decision says of its servers."""
        found = cls(inst, np.zeros(len(inst.candidate_names), np.int64), np.zeros(len(inst.sites.stand_cell), np.int64))
        found.on = {(s, one.number): Counter(one.candidates) for s, some in servers.items() for one in some}
        return found

    def sites_of(self, k: int) -> list[Site]:
        """Where replicas of a candidate stand, the fullest of them first."""
        return sorted((site for site, here in self.on.items() if here[k]), key=lambda site: (-self.on[site][k], site))

    def losses(self, w: int, used: IntArray, n_replicas: IntArray) -> Iterator[IntArray]:
        """How many replicas of the candidates `used` [G] of a workload each single loss takes, equal ones once."""
        seen = set()
        for loss in self._inst.sites.losses:
            if loss.workload != w:
                continue
            lost = np.zeros(len(used), np.int64)
            for site in (self._site[j] for j in loss.sites):
                if site in self.on:
                    lost += [self.on[site][k] for k in used.tolist()]
            if loss.spanning >= 0:
                lost += np.minimum(1, n_replicas[used]) * (used == self._inst.sites.spanning[loss.spanning])
            lost += n_replicas[used] * np.isin(self._inst.offer_of_candidate[used], list(loss.offers))
            if lost.any() and (key := tuple(lost.tolist())) not in seen:
                seen.add(key)
                yield lost

    def cut(self, k: int, count: int) -> None:
        """Take replicas away until `count` of a candidate stand, from the servers that hold the fewest replicas."""
        surplus = sum(here[k] for here in self.on.values()) - count
        for site in sorted((site for site, here in self.on.items() if here[k]), key=lambda s: (self.on[s].total(), s)):
            taken = min(surplus, self.on[site][k])
            self.on[site][k] -= taken
            surplus -= taken

    def servers(self, s: int) -> tuple[Occupied, ...]:
        """The servers of an offer that hold any replicas, in order."""
        held = [
            Occupied(site[1], self._rack[site], tuple(sorted(here.elements())))
            for site, here in sorted(self.on.items())
            if site[0] == s
        ]
        return tuple(one for one in held if one.candidates)
