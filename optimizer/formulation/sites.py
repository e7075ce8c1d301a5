"""Where replicas stand, server by server, on offers where a workload must survive the loss of a server or of a rack.

Losing a server loses all that stands on it, so there counts alone are not enough: the program decides how many replicas
of each candidate stand on each *site*, one of the servers that could be of use. Elsewhere counting is exact, and stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from optimizer.errors import InputError
from optimizer.formulation.needs import Footprint
from optimizer.scenario import Spare
from optimizer.serving_config import BoolArray, FloatArray, IntArray

MOST_STANDS = 100_000
"""Kinds of replicas times servers that each may stand on, with pipelines over several offers among them: of 65,000
HiGHS proves a plan in 20 s, of 4,000 SCIP does in 2 s; of a million neither ends."""


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
    cell_gpus: IntArray  # [C] of one replica, or of what one takes of a server
    cell_names: tuple[str, ...]  # [C]
    cell_of_entry: IntArray  # [m] of the footprint; −1: not counted on sites
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
    footprint: Footprint

    @property
    def over_several(self) -> BoolArray:
        """[K] whether a replica stands on several offers."""
        several: BoolArray = np.bincount(self.footprint.candidate, minlength=len(self.workload)) > 1
        return several

    def placed(self, places: Places) -> BoolArray:
        """[m] whether it matters on which server what an entry of the footprint takes stands: a part of its offer may
        be lost."""
        named = [bool(racks) for racks in places.racks]
        workload = self.workload[self.footprint.candidate]
        return np.array(
            [
                self.spare[w] == "n+1" or (self.spare[w] == "rack" and named[s])
                for w, s in zip(workload.tolist(), self.footprint.offer.tolist(), strict=True)
            ],
            bool,
        )


def build_sites(standing: Standing, places: Places, gpus_per_server: IntArray, most_servers: FloatArray) -> Sites:
    """The sites of every offer on which a part may be lost; `most_servers` [S] bounds their number."""
    placed, taken = standing.placed(places), standing.footprint
    watched = np.unique(taken.offer[placed]).astype(np.int64)
    fits = taken.gpus <= gpus_per_server[taken.offer]
    spanning = taken.candidate[placed & ~fits]
    cells: dict[tuple[int, str, int], int] = {}
    cell_of_entry = np.full(len(taken.offer), -1, np.int64)
    cell_gpus: list[int] = []
    for entry in np.flatnonzero(np.isin(taken.offer, watched) & fits).tolist():
        k, s, gpus = int(taken.candidate[entry]), int(taken.offer[entry]), int(taken.gpus[entry])
        key = (s, standing.names[k], k) if placed[entry] else (s, f"others of {gpus}", -1)
        if key not in cells:
            cells[key] = len(cells)
            cell_gpus.append(gpus)
        cell_of_entry[entry] = cells[key]
    found = [
        (s, number, rack)
        for s in watched.tolist()
        for number, rack in enumerate(_racked(standing, places, s, gpus_per_server, most_servers[s]))
    ]
    offer = np.array([s for s, _, _ in found], np.int64)
    racks = tuple(rack for _, _, rack in found)
    number = np.array([number for _, number, _ in found], np.int64)
    cell_offer = np.array([s for s, _, _ in cells], np.int64)
    stand_cell, stand_site = np.nonzero(cell_offer[:, None] == offer[None, :])
    if len(stand_cell) > MOST_STANDS and standing.over_several[taken.candidate[placed]].any():
        raise InputError(
            f"spare: n+1 of pipelines over several offers: {len(cells)} kinds of replicas and parts of them, on up to "
            f"{np.bincount(offer).max()} servers of an offer, can stand in {len(stand_cell)} ways, more than the "
            f"{MOST_STANDS} that are solved; say how many servers can be had (max), or narrow weight_dtypes, tp or pp"
        )
    site_names = [f"{places.names[s]},{j}" for s, j, _ in found]
    return Sites(
        offer=offer,
        number=number,
        rack=racks,
        cell_offer=cell_offer,
        cell_gpus=np.array(cell_gpus, np.int64),
        cell_names=tuple(name for _, name, _ in cells),
        cell_of_entry=cell_of_entry,
        spanning=spanning,
        stand_cell=stand_cell,
        stand_site=stand_site,
        losses=tuple(_losses(standing, places, spanning, _Ground(offer, racks, site_names))),
    )


def most_replicas_with_spare(standing: Standing, busy: FloatArray, gpus_per_server: IntArray) -> IntArray:
    """[K] replicas that carry at full use all their candidate can serve, whatever is lost; more are of no use, 0 = no
    more than without spare.

    A server takes what stands on it; a rack at most as many as are then left. A region takes all or nothing. `busy` [K]
    counts replicas kept fully busy, `gpus_per_server` is of every offer [S].
    """
    left = np.ceil(busy + 1e-6).astype(np.int64)
    spare = np.array(standing.spare)[standing.workload]
    most = np.select(
        [spare == "n+1", spare == "rack"], [left + _most_on_server(standing, gpus_per_server), 2 * left], 0
    )
    return np.where(busy > 0, most, 0)


def _most_on_server(standing: Standing, gpus_per_server: IntArray) -> IntArray:
    """[K] replicas of a candidate that a server holds at most, or a part of each, and 1 where one takes several."""
    taken = standing.footprint
    return taken.largest(np.maximum(1, gpus_per_server[taken.offer] // taken.gpus), len(standing.workload))


@dataclass(frozen=True, slots=True)
class _Ground:
    offer: IntArray  # [J]
    rack: Sequence[str]  # [J]
    names: Sequence[str]  # [J]


def _racked(standing: Standing, places: Places, s: int, gpus_per_server: IntArray, most: float) -> Iterator[str]:
    """The rack of each site of an offer."""
    count = int(min(_servers_of_use(standing, s, gpus_per_server), most))
    for rack, room in (places.racks[s] or {"": count}).items():
        yield from [rack] * min(room, count)


def _losses(standing: Standing, places: Places, spanning: IntArray, ground: _Ground) -> Iterator[Loss]:
    """Everything that may be lost of each workload with spare."""
    for w in np.unique(standing.workload).tolist():
        offers = np.unique(standing.footprint.offer[standing.workload[standing.footprint.candidate] == w]).tolist()
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


def _servers_of_use(standing: Standing, s: int, gpus_per_server: IntArray) -> int:
    """Servers of one offer beyond which none is of use.

    With these many, every workload can have servers of its own that carry alone all that the offer can serve of it, in
    whatever format, and with spare as many again: whatever stands on more servers can be replaced by that. Of one that
    may stand on several offers at once, see `_missed`.
    """
    taken, on_several = standing.footprint, standing.over_several
    here = (standing.offer == s) & ~on_several
    total = 0
    for w in np.unique(standing.workload[taken.candidate[taken.offer == s]]).tolist():
        of_workload = standing.workload == w
        copies = 1 if standing.spare[w] == "none" else 2
        servers = [0]
        for q in np.unique(standing.choice[of_workload]).tolist():
            of_choice = of_workload & (standing.choice == q) & standing.classes.any(axis=1)
            rows = np.flatnonzero(of_choice & here)
            alone = _servers_alone(standing, rows, int(gpus_per_server[s]))
            joined = bool(on_several[of_choice].any())
            to_serve = standing.classes[of_workload if joined else rows].any(axis=0)
            covering = (standing.classes[rows] == to_serve).all(axis=1)
            if covering.any():
                servers.append(copies * int(alone[covering].min()))
            elif joined:
                servers.append(_missed(standing, of_choice, s, gpus_per_server))
            else:
                servers.append(copies * int(alone.sum()))
        total += max(servers)
    return total


def _servers_alone(standing: Standing, rows: IntArray, gpus_per_server: int) -> IntArray:
    """[n] that hold as many replicas of some candidates as carry alone all that each can serve."""
    fit = gpus_per_server // standing.gpus[rows]
    whole = -(-standing.gpus[rows] // gpus_per_server)
    alone: IntArray = np.where(
        fit > 0, -(-standing.n_alone[rows] // np.maximum(1, fit)), standing.n_alone[rows] * whole
    )
    return alone


def _missed(standing: Standing, of_choice: BoolArray, s: int, gpus_per_server: IntArray) -> int:
    """Servers of one offer that replicas of some candidates [K] of a workload stand on at most, if none is too much.

    Let a replica weigh 1 / n_alone of its candidate, so that replicas of weight 1 carry all, whatever they are. Without
    spare all weigh less than 2, for one could be left out. With it, each is missed when something else is lost: then
    less than 1 is left without it, and less than 2 with it. Take a replica and what is lost when it is missed, then one
    of those lost there, and so on: each further loss takes all that are still to be taken from, and what stands on P
    servers is lost in no more than P ways. So all weigh less than P + 1 times 2. Where some do not serve every class,
    no more of each are of use than carry all that it serves, whatever is lost.
    """
    taken = standing.footprint
    servers = -(-taken.gpus // gpus_per_server[taken.offer]) * taken.groups
    own = of_choice[taken.candidate]
    here = own & (taken.offer == s)
    candidates = taken.candidate[here]
    classes, w = standing.classes[of_choice], int(standing.workload[of_choice][0])
    if not (classes == standing.classes[standing.workload == w].any(axis=0)).all():
        most = standing.n_alone + _most_on_server(standing, gpus_per_server)
        return int((servers[here] * most[candidates]).sum())
    times = 1 if standing.spare[w] == "none" else 1 + int(np.bincount(taken.candidate[own], servers[own]).max())
    return 2 * times * int((servers[here] * standing.n_alone[candidates]).max(initial=0))
