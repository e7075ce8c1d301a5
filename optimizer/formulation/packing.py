"""How groups of GPUs share servers: by volume where that is exact, by patterns where it is not.

When the group sizes on an offer and its server size form a divisibility chain (1 | 2 | 4 | 8), any groups whose GPUs
add up to no more than the servers' fit into them, so counting GPUs is exact (largest first leaves no hole). Otherwise
(a group of 3 on servers of 8) a server is filled by one of a few *patterns*, and the program counts patterns.

A replica larger than a server fills whole servers: it takes `units` groups of the size of a server.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from optimizer.formulation.needs import Footprint
from optimizer.serving_config import BoolArray, IntArray


@dataclass(frozen=True, slots=True)
class Packing:
    """Packing rows of all offers; a *slot* is (offer, group size) and exists only on offers that need patterns."""

    by_volume: BoolArray  # [S] counting GPUs is exact
    by_site: BoolArray  # [S] neither: what stands on each server is decided, see `sites.py`
    units_per_replica: IntArray  # [m] groups that a replica takes, of each entry of the footprint
    slot_of_entry: IntArray  # [m] −1 on offers packed by volume
    slot_names: tuple[tuple[int, int], ...]  # (offer, group size)
    offer_of_pattern: IntArray  # [P]
    pattern_names: tuple[tuple[int, str], ...]  # [P] (offer, "4+2+1")
    entry_pattern: IntArray  # pattern × slot entries in coordinate form: which pattern,
    entry_slot: IntArray  # … holds groups of which slot,
    entry_groups: IntArray  # … and how many


def pack_offers(gpus_per_server: IntArray, footprint: Footprint, by_site: BoolArray) -> Packing:
    """The packing of every offer [S], given what replicas take of it."""
    server = gpus_per_server[footprint.offer]
    group = np.minimum(footprint.gpus, server)
    by_volume = ~by_site
    slot_of_entry = np.full(len(group), -1, np.int64)
    slots: list[tuple[int, int]] = []
    patterns: list[tuple[int, tuple[int, ...], tuple[int, ...]]] = []
    for s, n_gpus in enumerate(gpus_per_server.tolist()):
        here = footprint.offer == s
        sizes = sorted(set(group[here].tolist()))
        if by_site[s] or _is_chain([*sizes, n_gpus]):
            continue
        by_volume[s] = False
        slot_of_entry[here] = len(slots) + np.searchsorted(sizes, group[here])
        slots += [(s, size) for size in sizes]
        patterns += [(s, tuple(sizes), counts) for counts in maximal_patterns(sizes, n_gpus)]
    position = {slot: i for i, slot in enumerate(slots)}
    entries = [
        (p, position[s, size], n)
        for p, (s, sizes, counts) in enumerate(patterns)
        for size, n in zip(sizes, counts, strict=True)
        if n
    ]
    entry = np.array(entries, np.int64).reshape(-1, 3)
    return Packing(
        by_volume=by_volume,
        by_site=by_site,
        units_per_replica=-(-footprint.gpus // server) * footprint.groups,
        slot_of_entry=slot_of_entry,
        slot_names=tuple(slots),
        offer_of_pattern=np.array([s for s, _, _ in patterns], np.int64),
        pattern_names=tuple((s, _pattern_name(sizes, counts)) for s, sizes, counts in patterns),
        entry_pattern=entry[:, 0],
        entry_slot=entry[:, 1],
        entry_groups=entry[:, 2],
    )


def maximal_patterns(sizes: list[int], n_gpus: int) -> list[tuple[int, ...]]:
    """Every way to fill a server of `n_gpus` with groups of these sizes so that no further group fits.

    >>> maximal_patterns([3, 4], 8)
    [(0, 2), (1, 1), (2, 0)]
    """
    ranges = [range(n_gpus // size + 1) for size in sizes]
    return [
        counts
        for counts in itertools.product(*ranges)
        if 0 <= n_gpus - sum(size * n for size, n in zip(sizes, counts, strict=True)) < sizes[0]
    ]


def _is_chain(sizes: list[int]) -> bool:
    return all(larger % smaller == 0 for smaller, larger in itertools.pairwise(sizes))


def _pattern_name(sizes: tuple[int, ...], counts: tuple[int, ...]) -> str:
    """`4+2+2` for one group of 4 and two of 2, largest first."""
    groups = [size for size, n in zip(sizes, counts, strict=True) for _ in range(n)]
    return "+".join(str(size) for size in reversed(groups))
