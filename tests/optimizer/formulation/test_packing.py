"""Servers filled by volume where group sizes nest, by patterns where they do not."""

import itertools

import numpy as np
import pytest

from optimizer.formulation.needs import Footprint
from optimizer.formulation.packing import maximal_patterns, pack_offers
from optimizer.placement import place


def packing(gpus_per_server: int, sizes: list[int]):
    n = np.arange(len(sizes))
    taken = Footprint(candidate=n, offer=np.zeros_like(n), gpus=np.array(sizes), groups=np.ones_like(n))
    return pack_offers(np.array([gpus_per_server]), taken, np.zeros(1, bool))


def test_powers_of_two_on_a_server_of_eight_are_counted_by_volume() -> None:
    assert packing(8, [1, 2, 4, 8]).by_volume.tolist() == [True]


def test_a_group_of_three_on_a_server_of_eight_needs_patterns() -> None:
    packed = packing(8, [3])
    assert packed.by_volume.tolist() == [False]
    assert packed.pattern_names == ((0, "3+3"),)  # 3+3 leaves 2 GPUs that no group of 3 can use


def test_threes_and_fours_fill_a_server_of_eight_in_three_ways() -> None:
    # 4+4 = 8; 4+3 = 7, and 1 is too little for a 3; 3+3 = 6, and 2 is too little
    assert maximal_patterns([3, 4], 8) == [(0, 2), (1, 1), (2, 0)]


def test_a_replica_larger_than_a_server_takes_whole_servers() -> None:
    packed = packing(8, [16, 3])
    assert packed.units_per_replica.tolist() == [2, 1]
    assert packed.slot_names == ((0, 3), (0, 8))
    assert {name for _, name in packed.pattern_names} == {"3+3", "8"}


@pytest.mark.parametrize("gpus_per_server", [4, 6, 8])
def test_patterns_and_placement_agree_on_how_many_servers_are_needed(gpus_per_server: int) -> None:
    """Every small multiset of groups: the fewest patterns that cover it are as many as the servers placement uses."""
    sizes = [size for size in (1, 2, 3, 4) if size <= gpus_per_server]
    patterns = maximal_patterns(sizes, gpus_per_server)
    for counts in itertools.product(range(3), repeat=len(sizes)):
        groups = [(size, 1) for size, n in zip(sizes, counts, strict=True) for _ in range(n)]
        servers = len({index for indices in place(groups, gpus_per_server) for index in indices})
        fewest = next(
            n
            for n in range(len(groups) + 1)
            if any(
                all(sum(p[i] for p in chosen) >= counts[i] for i in range(len(sizes)))
                for chosen in itertools.combinations_with_replacement(patterns, n)
            )
        )
        assert servers == fewest, counts
