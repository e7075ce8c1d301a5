"""Which replicas stand on which server, on the offers where the program decides that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from optimizer.errors import SolverError
from optimizer.formulation import Instance
from optimizer.serving_config import IntArray

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
        self._spanning = set(sites.spanning.tolist())
        self.on: dict[Site, Counter[int]] = {}
        members = [np.flatnonzero(sites.cell_of_candidate == cell).tolist() for cell in range(len(sites.cell_offer))]
        waiting = [[k for k in ks for _ in range(n_replicas[k])][::-1] for ks in members]
        for stand in np.flatnonzero(n_on_server).tolist():
            cell, site = int(sites.stand_cell[stand]), int(sites.stand_site[stand])
            here = self.on.setdefault((int(sites.offer[site]), int(sites.number[site])), Counter())
            for _ in range(n_on_server[stand]):
                if not waiting[cell]:
                    raise SolverError("the solver places more replicas than it has")
                here[waiting[cell].pop()] += 1
        if any(waiting):
            raise SolverError("the solver has replicas that stand nowhere")

    def sites_of(self, k: int) -> list[Site]:
        """Where replicas of a candidate stand, the fullest of them first."""
        return sorted((site for site, here in self.on.items() if here[k]), key=lambda site: (-self.on[site][k], site))

    def losses(self, used: IntArray, n_replicas: IntArray) -> Iterator[IntArray]:
        """How many replicas of the candidates `used` [G] each single loss takes, losses that are alike once."""
        seen = set()
        for here in self.on.values():
            lost = tuple(here[k] for k in used.tolist())
            if any(lost) and lost not in seen:
                seen.add(lost)
                yield np.array(lost, np.int64)
        for i, k in enumerate(used.tolist()):
            if k in self._spanning and n_replicas[k]:
                yield np.eye(len(used), dtype=np.int64)[i]

    def cut(self, k: int, count: int) -> None:
        """Take replicas away until `count` of a candidate stand, from the servers that hold the fewest replicas."""
        surplus = sum(here[k] for here in self.on.values()) - count
        for site in sorted((site for site, here in self.on.items() if here[k]), key=lambda s: (self.on[s].total(), s)):
            taken = min(surplus, self.on[site][k])
            self.on[site][k] -= taken
            surplus -= taken

    def servers(self, s: int) -> tuple[tuple[int, ...], ...]:
        """Candidates of the replicas on each server of an offer that holds any, in order."""
        held = [sorted(here.elements()) for (offer, _), here in sorted(self.on.items()) if offer == s]
        return tuple(tuple(replicas) for replicas in held if replicas)
