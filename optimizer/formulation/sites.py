"""Where replicas stand, server by server, on offers where a workload must survive the loss of any one server.

Losing a server loses all that stands on it, so there counts alone are not enough: the program decides how many replicas
of each candidate stand on each *site*, one of the servers that could be of use. Elsewhere counting is exact, and stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from optimizer.serving_config import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Sites:
    """Sites of the offers that have any; a *cell* is what is counted there: a candidate, or others of one size."""

    offer: IntArray  # [J] of a site
    number: IntArray  # [J] within its offer, from 0
    cell_offer: IntArray  # [C]
    cell_gpus: IntArray  # [C] of one replica
    cell_names: tuple[str, ...]  # [C]
    cell_of_candidate: IntArray  # [K] −1: not counted on sites
    spanning: IntArray  # candidates of workloads with spare, on these offers, that fill several servers each
    stand_cell: IntArray  # [X] pairs of a cell and a site of its offer
    stand_site: IntArray  # [X]
    loss_workload: IntArray  # [E] a workload with spare, and what may be lost of it:
    loss_site: IntArray  # [E] all on a site, or −1 and
    loss_spanning: IntArray  # [E] one replica of this position in `spanning`, or −1


@dataclass(frozen=True, slots=True)
class Standing:
    """What the sites are made for: candidates [K] with their offers, and which of them must survive."""

    workload: IntArray
    choice: IntArray  # −1: formats may mix
    offer: IntArray
    gpus: IntArray
    n_alone: IntArray  # replicas that carry alone all that the candidate can serve
    names: tuple[str, ...]
    classes: BoolArray  # [K, D] demands that the candidate can serve
    spare: BoolArray  # the candidate's workload has spare


def build_sites(standing: Standing, gpus_per_server: IntArray, most_servers: FloatArray) -> Sites:
    """The sites of every offer with candidates of a workload with spare; `most_servers` [S] bounds their number."""
    watched = np.unique(standing.offer[standing.spare]).astype(np.int64)
    server = gpus_per_server[standing.offer]
    inside = np.isin(standing.offer, watched) & (standing.gpus <= server)
    spanning = np.flatnonzero(standing.spare & (standing.gpus > server))
    cells: dict[tuple[int, str, int], int] = {}
    cell_of_candidate = np.full(len(standing.offer), -1, np.int64)
    cell_gpus: list[int] = []
    for k in np.flatnonzero(inside).tolist():
        s, gpus = int(standing.offer[k]), int(standing.gpus[k])
        key = (s, standing.names[k], k) if standing.spare[k] else (s, f"others of {gpus}", -1)
        if key not in cells:
            cells[key] = len(cells)
            cell_gpus.append(gpus)
        cell_of_candidate[k] = cells[key]
    counts = [int(min(_servers_of_use(standing, s, int(gpus_per_server[s])), most_servers[s])) for s in watched]
    offer = np.repeat(watched, counts)
    cell_offer = np.array([s for s, _, _ in cells], np.int64)
    stand_cell, stand_site = np.nonzero(cell_offer[:, None] == offer[None, :])
    losses = list(_losses(standing, spanning, offer, inside))
    workload, site, lost = zip(*losses, strict=True) if losses else ((), (), ())
    return Sites(
        offer=offer,
        number=np.concatenate([*(np.arange(n) for n in counts), np.zeros(0, np.int64)]).astype(np.int64),
        cell_offer=cell_offer,
        cell_gpus=np.array(cell_gpus, np.int64),
        cell_names=tuple(name for _, name, _ in cells),
        cell_of_candidate=cell_of_candidate,
        spanning=spanning,
        stand_cell=stand_cell,
        stand_site=stand_site,
        loss_workload=np.array(workload, np.int64),
        loss_site=np.array(site, np.int64),
        loss_spanning=np.array(lost, np.int64),
    )


def most_replicas_with_spare(busy: FloatArray, gpus: IntArray, gpus_per_server: IntArray) -> IntArray:
    """Replicas that carry at full use all their candidate can serve, whichever server is lost; more are of no use.

    `busy` [K] counts replicas kept fully busy, `gpus_per_server` [K] is of the candidate's offer.
    """
    lost = np.maximum(1, gpus_per_server // gpus)
    most: IntArray = np.ceil(busy + 1e-6).astype(np.int64) + lost
    return most


def _losses(
    standing: Standing, spanning: IntArray, site_offer: IntArray, inside: BoolArray
) -> Iterator[tuple[int, int, int]]:
    """(workload, site, spanning candidate) of everything that may be lost."""
    for w in np.unique(standing.workload[standing.spare]).tolist():
        own = (standing.workload == w) & inside
        for site in np.flatnonzero(np.isin(site_offer, standing.offer[own])).tolist():
            yield w, site, -1
        for position, k in enumerate(spanning.tolist()):
            if standing.workload[k] == w:
                yield w, -1, position


def _servers_of_use(standing: Standing, s: int, gpus_per_server: int) -> int:
    """Servers of one offer beyond which none is of use.

    With these many, every workload can have servers of its own that carry alone all that the offer can serve of it, in
    whatever format, and with spare as many again: whatever stands on more servers can be replaced by that.
    """
    total = 0
    here = standing.offer == s
    for w in np.unique(standing.workload[here]).tolist():
        of_workload = here & (standing.workload == w)
        copies = 2 if standing.spare[of_workload].any() else 1
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
