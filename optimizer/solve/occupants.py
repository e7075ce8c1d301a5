"""Which replicas stand on which server, on the offers where the program decides that."""

from __future__ import annotations

import itertools
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
    """Replicas of each candidate on each site, and what a loss takes away. Changes as replicas are taken away.

    Of one over several offers a part counts on each site where it stands; no two parts of a replica share one.
    """

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
        taken, n_cells = inst.footprint, len(sites.cell_offer)
        parts = taken.groups * n_replicas[taken.candidate]
        members = [np.flatnonzero(sites.cell_of_entry == cell).tolist() for cell in range(n_cells)]
        waiting = [[int(taken.candidate[m]) for m in some for _ in range(parts[m])][::-1] for some in members]
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

    def replicas_of(self, k: int) -> list[Counter[Site]]:
        """Where a replica of a candidate may be taken away, the fullest site first; of one over several offers only
        from the fullest of each."""
        sites = sorted((site for site, here in self.on.items() if here[k]), key=lambda site: (-self.on[site][k], site))
        entries = np.flatnonzero(self._inst.footprint.candidate == k)
        if len(entries) == 1:
            return [Counter({site: 1}) for site in sites]
        taken: Counter[Site] = Counter()
        for s, groups in zip(*(a[entries].tolist() for a in self._parts), strict=True):
            here = (site for site in sites if site[0] == s for _ in range(self.on[site][k]))
            taken.update(itertools.islice(here, groups))
        return [taken] if taken else []

    def move(self, k: int, parts: Counter[Site], times: int) -> None:
        """Count parts of a candidate's replicas more often, or less."""
        for site, n in parts.items():
            self.on[site][k] += n * times

    @property
    def _parts(self) -> tuple[IntArray, IntArray]:
        """[m] offer and groups there, of all that replicas take."""
        return self._inst.footprint.offer, self._inst.footprint.groups

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
            if loss.offers:
                taken = self._inst.footprint
                gone = taken.candidate[np.isin(taken.offer, list(loss.offers))]
                lost += n_replicas[used] * np.isin(used, gone)
            if lost.any() and (key := tuple(lost.tolist())) not in seen:
                seen.add(key)
                yield lost

    def cut(self, k: int, count: int) -> None:
        """Take replicas away until `count` of a candidate stand, from the servers that hold the fewest replicas."""
        entries = np.flatnonzero(self._inst.footprint.candidate == k)
        for s, groups in zip(*(a[entries].tolist() for a in self._parts), strict=True):
            sites = [site for site, here in self.on.items() if site[0] == s and here[k]]
            surplus = sum(self.on[site][k] for site in sites) - count * groups
            for site in sorted(sites, key=lambda site: (self.on[site].total(), site)):
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
