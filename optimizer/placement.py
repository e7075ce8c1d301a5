"""Which servers of an offer run which replica: as few servers as possible, and the same ones every time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from optimizer.errors import InputError

SEARCH_STEPS = 20_000
"""Servers tried by the exact search before first-fit decreasing stands: far more than real replica sizes need."""


def stages_on_servers(gpus_per_stage: int, stages: int, gpus_per_server: int) -> tuple[int, ...]:
    """Pipeline stages on each server of one replica, in stage order; `()` when not even one stage fits a server.

    A stage (tp · dp GPUs) is never split. A replica that fits one server stands on one; a larger one takes as few as
    hold it and spreads its stages over them as evenly as possible, the fuller servers first: an engine's own
    multi-server start wants the same number of GPUs everywhere. As it takes as few as hold it, no two of these parts
    fit together into one server.
    """
    most = gpus_per_server // gpus_per_stage
    if most == 0:
        return ()
    n_servers = -(-stages // most)
    even, more = divmod(stages, n_servers)
    return (even + 1,) * more + (even,) * (n_servers - more)


def place(replicas: Sequence[tuple[int, int]], gpus_per_server: int) -> list[tuple[int, ...]]:
    """Server indices of each replica `(gpus_per_stage, stages)`, in order; servers are numbered from 0 by first use.

    More than one index when a replica is larger than a server: then in stage order, see `stages_on_servers`, and
    ascending wherever its parts are equal. Uses as few servers as possible (proven by search within `SEARCH_STEPS`).
    """
    parts: list[tuple[int, ...]] = []
    for gpus_per_stage, stages in replicas:
        on_servers = stages_on_servers(gpus_per_stage, stages, gpus_per_server)
        if not on_servers:
            raise InputError(
                f"a stage of {gpus_per_stage} GPUs does not fit a server of {gpus_per_server}; "
                "lower tp or dp, or offer larger servers"
            )
        parts.append(tuple(n * gpus_per_stage for n in on_servers))
    servers = fewest_servers(Counter(size for part in parts for size in part), gpus_per_server)
    open_slots: dict[int, list[int]] = {}
    for index, sizes in enumerate(servers):
        for size in sizes:
            open_slots.setdefault(size, []).append(index)
    slots = {size: iter(indices) for size, indices in open_slots.items()}
    number: dict[int, int] = {}
    placed: list[tuple[int, ...]] = []
    for part in parts:
        indices = [number.setdefault(index, len(number)) for index in [next(slots[size]) for size in part]]
        placed.append(tuple(sorted(indices)) if len(set(part)) == 1 else tuple(indices))
    return placed


def fewest_servers(parts: Counter[int], gpus_per_server: int) -> list[tuple[int, ...]]:
    """Part sizes in GPUs on each server, largest first, on as few servers as possible (bin packing)."""
    left = +parts
    packed: list[tuple[int, ...]] = []
    pattern: tuple[int, ...]
    # Parts that fill a server exactly, alone or two together, stand like that in some best packing.
    for size in sorted(left, reverse=True):
        other = gpus_per_server - size
        if other == 0:
            pattern, times = (size,), left[size]
        elif other == size:
            pattern, times = (size, size), left[size] // 2
        elif other < size and left[other]:
            pattern, times = (size, other), min(left[size], left[other])
        else:
            continue
        packed += [pattern] * times
        left -= Counter({used: times * pattern.count(used) for used in set(pattern)})
    rest = _first_fit_decreasing(left, gpus_per_server)
    least = _least_servers(left, gpus_per_server)
    return packed + (rest if len(rest) == least else _search(left, gpus_per_server, least, rest))


def _first_fit_decreasing(parts: Counter[int], gpus_per_server: int) -> list[tuple[int, ...]]:
    servers: list[list[int]] = []
    free: list[int] = []
    for size in sorted(parts.elements(), reverse=True):
        index = next((i for i, gpus in enumerate(free) if gpus >= size), len(servers))
        if index == len(servers):
            servers.append([])
            free.append(gpus_per_server)
        servers[index].append(size)
        free[index] -= size
    return [tuple(sizes) for sizes in servers]


def _least_servers(parts: Counter[int], gpus_per_server: int) -> int:
    """A lower bound on servers: by volume, and by volume after rounding sizes with dual feasible functions.

    u_k(x) = x where (k + 1)·x is whole, else ⌊(k + 1)·x⌋ / k, with x the size as a share of a server
    (Fekete and Schepers, Math. Program. 91, 2001). k = 1 counts the parts larger than half a server.
    """
    bounds = [-(-sum(size * n for size, n in parts.items()) // gpus_per_server)]
    for k in range(1, gpus_per_server + 1):
        scaled = 0  # Σ u_k · k · gpus_per_server, in whole numbers
        for size, n in parts.items():
            whole, remainder = divmod((k + 1) * size, gpus_per_server)
            scaled += n * (whole * gpus_per_server if remainder else k * size)
        bounds.append(-(-scaled // (k * gpus_per_server)))
    return max(bounds)


def _search(
    parts: Counter[int], gpus_per_server: int, least: int, found: list[tuple[int, ...]]
) -> list[tuple[int, ...]]:
    """A packing on fewer servers than `found` if there is one, by filling one server after the other."""
    sizes = tuple(sorted(parts, reverse=True))
    start = tuple(parts[size] for size in sizes)
    volume = sum(size * n for size, n in parts.items())
    steps = 0
    for n_servers in range(least, len(found)):
        failed: set[tuple[int, ...]] = set()
        # One frame a server: counts left, spare GPUs that may still be wasted, fillings not tried, filling in use.
        stack = [(start, n_servers * gpus_per_server - volume, _fillings(start, sizes, gpus_per_server))]
        chosen: list[tuple[int, ...]] = []
        while stack:
            counts, spare, fillings = stack[-1]
            if not any(counts):
                return [tuple(s for s, n in zip(sizes, used, strict=True) for _ in range(n)) for used in chosen]
            steps += 1
            if steps > SEARCH_STEPS:
                return found
            for used in fillings:
                wasted = gpus_per_server - sum(s * n for s, n in zip(sizes, used, strict=True))
                after = tuple(n - u for n, u in zip(counts, used, strict=True))
                if wasted <= spare and after not in failed:
                    chosen.append(used)
                    stack.append((after, spare - wasted, _fillings(after, sizes, gpus_per_server)))
                    break
            else:
                failed.add(counts)
                stack.pop()
                if chosen:
                    chosen.pop()
    return found


def _fillings(counts: tuple[int, ...], sizes: tuple[int, ...], gpus: int) -> Iterator[tuple[int, ...]]:
    """Every way to fill one server that holds the largest part left and takes no further one, fullest first."""
    if not any(counts):
        return iter(())
    first = next(i for i, n in enumerate(counts) if n)
    found: list[tuple[int, ...]] = []

    def fill(index: int, used: tuple[int, ...], free: int) -> None:
        if index == len(sizes):
            if not any(n > u and size <= free for n, u, size in zip(counts, used, sizes, strict=True)):
                found.append(used)
            return
        lowest = 1 if index == first else 0
        for n in range(min(counts[index], free // sizes[index]), lowest - 1, -1):
            fill(index + 1, (*used, n), free - n * sizes[index])

    fill(0, (), gpus)
    found.sort(key=lambda used: sum(s * n for s, n in zip(sizes, used, strict=True)), reverse=True)
    return iter(found)
