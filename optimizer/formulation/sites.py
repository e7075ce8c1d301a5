"""Where replicas stand, server by server, on offers where a workload must survive the loss of a server or of a rack.

Losing a server loses all that stands on it, so there counts alone are not enough: the program decides how many replicas
of each candidate stand on each *site*, one of the servers that could be of use. Elsewhere counting is exact, and stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from optimizer.scenario import Spare
from optimizer.serving_config import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Loss:
    """What a workload with spare may lose at once."""

    workload: int
    name: str
    sites: frozenset[int] = frozenset()
    offers: frozenset[int] = frozenset()  # all that stands on them
    spanning: int = -1  # one replica of this position in `Sites.spanning`


@dataclass(frozen=True, slots=True)
class Sites:
    """Sites of the offers that have any; a *cell* is what is counted there: a candidate, or others of one size."""

    offer: IntArray  # [J] of a site
    number: IntArray  # [J] within its offer, from 0
    rack: tuple[str, ...]  # [J] empty where the offer names none
    cell_offer: IntArray  # [C]
    cell_gpus: IntArray  # [C] of one replica
    cell_names: tuple[str, ...]  # [C]
    cell_of_candidate: IntArray  # [K] −1: not counted on sites
    spanning: IntArray  # candidates of workloads with spare, on these offers, that fill several servers each
    stand_cell: IntArray  # [X] pairs of a cell and a site of its offer
    stand_site: IntArray  # [X]
    losses: tuple[Loss, ...]


@dataclass(frozen=True, slots=True)
class Places:
    """Where the servers of each offer [S] stand."""

    names: Sequence[str]
    racks: Sequence[Mapping[str, int]]  # rack -> servers that it holds; empty where none are named
    regions: Sequence[str | None]


@dataclass(frozen=True, slots=True)
class Standing:
    """What the sites are made for: candidates [K] with their offers, and what they must survive."""

    workload: IntArray
    choice: IntArray  # −1: formats may mix
    offer: IntArray
    gpus: IntArray
    n_alone: IntArray  # replicas that carry alone all that the candidate can serve
    names: tuple[str, ...]  # workload and configuration
    labels: tuple[str, ...]  # with the offer
    classes: BoolArray  # [K, R] classes of its workload that the candidate can serve
    spare: Sequence[Spare]  # [W]

    def placed(self, places: Places) -> BoolArray:
        """[K] whether it matters on which server a replica stands: a part of its offer may be lost."""
        named = [bool(racks) for racks in places.racks]
        return np.array(
            [
                self.spare[w] == "n+1" or (self.spare[w] == "rack" and named[s])
                for w, s in zip(self.workload.tolist(), self.offer.tolist(), strict=True)
            ],
            bool,
        )


def build_sites(standing: Standing, places: Places, gpus_per_server: IntArray, most_servers: FloatArray) -> Sites:
    """The sites of every offer on which a part may be lost; `most_servers` [S] bounds their number."""
    placed = standing.placed(places)
    watched = np.unique(standing.offer[placed]).astype(np.int64)
    server = gpus_per_server[standing.offer]
    inside = np.isin(standing.offer, watched) & (standing.gpus <= server)
    spanning = np.flatnonzero(placed & (standing.gpus > server))
    cells: dict[tuple[int, str, int], int] = {}
    cell_of_candidate = np.full(len(standing.offer), -1, np.int64)
    cell_gpus: list[int] = []
    for k in np.flatnonzero(inside).tolist():
        s, gpus = int(standing.offer[k]), int(standing.gpus[k])
        key = (s, standing.names[k], k) if placed[k] else (s, f"others of {gpus}", -1)
        if key not in cells:
            cells[key] = len(cells)
            cell_gpus.append(gpus)
        cell_of_candidate[k] = cells[key]
    found = [
        (s, number, rack)
        for s in watched.tolist()
        for number, rack in enumerate(_racked(standing, places, s, int(gpus_per_server[s]), most_servers[s]))
    ]
    offer = np.array([s for s, _, _ in found], np.int64)
    racks = tuple(rack for _, _, rack in found)
    number = np.array([number for _, number, _ in found], np.int64)
    cell_offer = np.array([s for s, _, _ in cells], np.int64)
    stand_cell, stand_site = np.nonzero(cell_offer[:, None] == offer[None, :])
    site_names = [f"{places.names[s]},{j}" for s, j, _ in found]
    return Sites(
        offer=offer,
        number=number,
        rack=racks,
        cell_offer=cell_offer,
        cell_gpus=np.array(cell_gpus, np.int64),
        cell_names=tuple(name for _, name, _ in cells),
        cell_of_candidate=cell_of_candidate,
        spanning=spanning,
        stand_cell=stand_cell,
        stand_site=stand_site,
        losses=tuple(_losses(standing, places, spanning, _Ground(offer, racks, site_names))),
    )


def most_replicas_with_spare(standing: Standing, busy: FloatArray, gpus_per_server: IntArray) -> IntArray:
    """[K] replicas that carry at full use all their candidate can serve, whatever is lost; more are of no use, 0 = no
    more than without spare.

    A server takes what stands on it; a rack at most as many as are then left. A region takes all or nothing. `busy` [K]
    counts replicas kept fully busy, `gpus_per_server` [K] is of the candidate's offer.
    """
    left = np.ceil(busy + 1e-6).astype(np.int64)
    spare = np.array(standing.spare)[standing.workload]
    on_server = np.maximum(1, gpus_per_server // standing.gpus)
    most = np.select([spare == "n+1", spare == "rack"], [left + on_server, 2 * left], 0)
    return np.where(busy > 0, most, 0)


@dataclass(frozen=True, slots=True)
class _Ground:
    offer: IntArray  # [J]
    rack: Sequence[str]  # [J]
    names: Sequence[str]  # [J]


def _racked(standing: Standing, places: Places, s: int, gpus_per_server: int, most: float) -> Iterator[str]:
    """The rack of each site of an offer."""
    count = int(min(_servers_of_use(standing, s, gpus_per_server), most))
    for rack, room in (places.racks[s] or {"": count}).items():
        yield from [rack] * min(room, count)


def _losses(standing: Standing, places: Places, spanning: IntArray, ground: _Ground) -> Iterator[Loss]:
    """Everything that may be lost of each workload with spare."""
    for w in np.unique(standing.workload).tolist():
        offers = np.unique(standing.offer[standing.workload == w]).tolist()
        sites = np.flatnonzero(np.isin(ground.offer, offers)).tolist()
        if standing.spare[w] == "n+1":
            yield from (Loss(w, ground.names[j], sites=frozenset((j,))) for j in sites)
            for position, k in enumerate(spanning.tolist()):
                if standing.workload[k] == w:
                    yield Loss(w, standing.labels[k], spanning=position)
        elif standing.spare[w] == "rack":
            sites = [j for j in sites if ground.rack[j]]
            for rack in dict.fromkeys(ground.rack[j] for j in sites):
                yield Loss(w, rack, sites=frozenset(j for j in sites if ground.rack[j] == rack))
            yield from (Loss(w, places.names[s], offers=frozenset((s,))) for s in offers if not places.racks[s])
        elif standing.spare[w] == "region":
            for region in dict.fromkeys(places.regions[s] for s in offers):
                here = frozenset(s for s in offers if places.regions[s] == region)
                yield Loss(w, region or "no region", offers=here)


def _servers_of_use(standing: Standing, s: int, gpus_per_server: int) -> int:
    """Servers of one offer beyond which none is of use.

    With these many, every workload can have servers of its own that carry alone all that the offer can serve of it, in
    whatever format, and with spare as many again: whatever stands on more servers can be replaced by that.
    """
    total = 0
    here = standing.offer == s
    for w in np.unique(standing.workload[here]).tolist():
        of_workload = here & (standing.workload == w)
        copies = 1 if standing.spare[w] == "none" else 2
        servers = []
        for q in np.unique(standing.choice[of_workload]).tolist():
            rows = np.flatnonzero(of_workload & (standing.choice == q))
            fit = gpus_per_server // standing.gpus[rows]
            alone = np.where(
                fit > 0,
                -(-standing.n_alone[rows] // np.maximum(1, fit)),
                standing.n_alone[rows] * -(-standing.gpus[rows] // gpus_per_server),
            )
            classes = standing.classes[rows]
            covering = (classes == classes.any(axis=0)).all(axis=1)
            servers.append(int(alone[covering].min()) if covering.any() else int(alone.sum()))
        total += copies * max(servers)
    return total
