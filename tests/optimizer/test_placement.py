"""Replicas are placed on as few servers as possible, stages whole, and always in the same way."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.errors import InputError
from optimizer.placement import fewest_servers, place, stages_on_servers


def gpus_by_server(
    replicas: list[tuple[int, int]], placed: list[tuple[int, ...]], gpus_per_server: int
) -> Counter[int]:
    """GPUs taken on each server, by the rule that `stages_on_servers` states."""
    taken: Counter[int] = Counter()
    for (gpus_per_stage, stages), servers in zip(replicas, placed, strict=True):
        on_servers = stages_on_servers(gpus_per_stage, stages, gpus_per_server)
        for server, n_stages in zip(servers, on_servers, strict=True):
            taken[server] += n_stages * gpus_per_stage
    return taken


def fewest_by_enumeration(sizes: list[int], capacity: int) -> int:
    """Every assignment of parts to bins, by plain recursion."""
    best = len(sizes)

    def assign(index: int, free: tuple[int, ...]) -> None:
        nonlocal best
        if len(free) >= best:
            return
        if index == len(sizes):
            best = len(free)
            return
        for gpus in set(free):
            if gpus >= sizes[index]:
                i = free.index(gpus)
                assign(index + 1, (*free[:i], gpus - sizes[index], *free[i + 1 :]))
        assign(index + 1, (*free, capacity - sizes[index]))

    if sizes:
        assign(0, ())
    return best


def test_a_replica_that_fits_one_server_stands_on_one() -> None:
    # 2 stages of 4 GPUs are 8 GPUs: one server of 8
    assert stages_on_servers(4, 2, 8) == (2,)


def test_a_larger_replica_takes_as_few_servers_as_hold_it_with_equal_parts() -> None:
    assert stages_on_servers(8, 2, 8) == (1, 1)
    # a server holds 4 stages of 2 GPUs; 6 stages need 2 servers: 3 + 3 rather than 4 + 2
    assert stages_on_servers(2, 6, 8) == (3, 3)


def test_parts_that_cannot_be_equal_put_the_fuller_server_first() -> None:
    # 5 stages of 2 GPUs on servers of 8: 2 servers, 3 + 2
    assert stages_on_servers(2, 5, 8) == (3, 2)


def test_a_stage_larger_than_a_server_cannot_be_placed() -> None:
    assert stages_on_servers(16, 1, 8) == ()
    with pytest.raises(InputError, match="a stage of 16 GPUs does not fit a server of 8"):
        place([(16, 1)], 8)


def test_sizes_that_divide_the_server_fill_it_without_gaps() -> None:
    # 4 + 4, 2 + 2 + 2 + 1 + 1 = 16 GPUs on 2 servers of 8
    replicas = [(1, 1), (2, 1), (4, 1), (2, 1), (1, 1), (4, 1), (2, 1)]
    placed = place(replicas, 8)
    assert gpus_by_server(replicas, placed, 8) == {0: 8, 1: 8}


def test_packing_is_exact_where_first_fit_decreasing_is_not() -> None:
    # first-fit decreasing: 4+3, 3+2+2, 2 = 3 servers; 4+2+2 and 3+3+2 are 2
    replicas = [(4, 1), (3, 1), (3, 1), (2, 1), (2, 1), (2, 1)]
    assert max(max(servers) for servers in place(replicas, 8)) + 1 == 2


def test_a_replica_over_two_servers_leaves_its_free_gpus_to_others() -> None:
    # 12 GPUs as 6 + 6 on servers of 8; two replicas of 2 fill the gaps
    placed = place([(2, 6), (2, 1), (2, 1)], 8)
    assert placed == [(0, 1), (0,), (1,)]


def test_servers_are_numbered_in_the_order_of_first_use() -> None:
    placed = place([(1, 1), (8, 1), (8, 2)], 8)
    assert placed == [(0,), (1,), (2, 3)]


def test_nothing_to_place_needs_no_server() -> None:
    assert place([], 8) == []


def test_thousands_of_replicas_are_placed_at_once() -> None:
    replicas = [(size, 1) for size in (1, 2, 3, 4, 6)] * 400
    placed = place(replicas, 8)
    # volume: 16 GPUs · 400 / 8 = 800 servers; 6+2, 4+4, 3+3+1+1 reaches it: 400·(6+2) = 400, 200·(4+4), 200·(3+3+1+1)
    assert len({server for servers in placed for server in servers}) == 800


@settings(max_examples=150, deadline=None)
@given(capacity=st.sampled_from([4, 6, 8]), sizes=st.lists(st.integers(1, 8), max_size=8))
def test_no_packing_uses_fewer_servers(capacity: int, sizes: list[int]) -> None:
    sizes = [min(size, capacity) for size in sizes]
    packed = fewest_servers(Counter(sizes), capacity)
    assert Counter(itertools.chain.from_iterable(packed)) == Counter(sizes)
    assert all(sum(server) <= capacity for server in packed)
    assert len(packed) == fewest_by_enumeration(sizes, capacity)


@settings(max_examples=150, deadline=None)
@given(
    capacity=st.sampled_from([1, 2, 4, 8, 16]),
    replicas=st.lists(st.tuples(st.sampled_from([1, 2, 3, 4, 8]), st.integers(1, 6)), max_size=12),
)
def test_no_server_is_over_full_and_no_replica_uses_one_twice(capacity: int, replicas: list[tuple[int, int]]) -> None:
    replicas = [(min(gpus, capacity), stages) for gpus, stages in replicas]
    placed = place(replicas, capacity)
    assert all(len(set(servers)) == len(servers) for servers in placed)
    assert all(gpus <= capacity for gpus in gpus_by_server(replicas, placed, capacity).values())
    assert place(replicas, capacity) == placed
