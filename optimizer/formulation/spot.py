"""How many spares stand by for spot servers, which may be taken away."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from optimizer.formulation.terms import ServerTerm
from optimizer.scenario import Offer, Spot
from optimizer.serving_config import FloatArray, IntArray

MOST_LEVELS = 1000
"""Spares of one offer that are looked at; the offer's `max` ends it earlier."""


@dataclass(frozen=True, slots=True)
class SpotSpares:
    """What the spares of spot terms allow: without any, `unspared[h]` servers; the z-th entry allows `step[z]` more."""

    unspared: FloatArray  # [H] servers in use that need no spare; infinite for other terms
    term: IntArray  # [Z] index of the spot term
    number: IntArray  # [Z] counted from 1 within the term
    step: FloatArray  # [Z] servers in use that this spare adds

    def needed(self, h: int, n_servers: int) -> int:
        """Spares for that many servers of term h in use."""
        allowed = self.unspared[h] + np.append(0.0, np.cumsum(self.step[self.term == h]))
        return int(np.searchsorted(allowed, n_servers - 0.5))

    def all_needed(self, n_servers: IntArray) -> IntArray:
        """[H] spares for so many servers of each term in use."""
        spares = np.zeros(len(n_servers), np.int64)
        for h in np.flatnonzero(n_servers > self.unspared).tolist():
            spares[h] = self.needed(h, int(n_servers[h]))
        return spares


def spot_spares(terms: Sequence[ServerTerm], offers: Sequence[Offer], most_servers: FloatArray) -> SpotSpares:
    """The spares of every term [H], given its offer [H] and how many servers of it there can be [H]."""
    unspared = np.full(len(terms), np.inf)
    entries: list[tuple[int, int, float]] = []
    for h, (term, offer) in enumerate(zip(terms, offers, strict=True)):
        if term.term != "spot" or offer.spot is None or not offer.spot.interruptions_per_hour:
            continue
        allowed = list(_servers_in_use(offer.spot, most_servers[h]))
        unspared[h] = allowed[0]
        entries += [(h, c, float(step)) for c, step in enumerate(np.diff(allowed).tolist(), start=1)]
    of_term, number, step = zip(*entries, strict=True) if entries else ((), (), ())
    return SpotSpares(unspared, np.array(of_term, np.int64), np.array(number, np.int64), np.array(step, float))


def _servers_in_use(spot: Spot, most: float) -> Iterator[int]:
    """Servers in use that 0, 1, 2 … spares are enough for, up to `most`.

    A server is taken away λ times an hour and another serves in its place τ hours later, so that of n in use the number
    missing at any time is Poisson with mean n·λ·τ, whatever the times are distributed like (C. Palm, 1938; the theorem
    behind METRIC: C. C. Sherbrooke, Operations Research 16, 1968). c spares are enough for the largest n with
    P(Poisson(n·λ·τ) ≤ c) ≥ availability.
    """
    missing = (spot.interruptions_per_hour or 0.0) * spot.recovery_hours
    for spares in range(MOST_LEVELS):
        n = math.floor(_largest_mean(spares, spot.availability_fraction) / missing * (1 + 1e-12))
        yield min(n, int(most))
        if n + spares >= most:
            return


def _largest_mean(spares: int, availability: float) -> float:
    """The largest mean m with P(Poisson(m) ≤ spares) ≥ availability, by bisection: the probability falls with m."""
    low, high = 0.0, 1.0
    while _at_most(spares, high) >= availability:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(spares, middle) >= availability else (low, middle)
    return low


def _at_most(spares: int, mean: float) -> float:
    """P(Poisson(mean) ≤ spares)."""
    logs = [i * math.log(mean) - mean - math.lgamma(i + 1) for i in range(spares + 1)]
    return math.fsum(math.exp(log) for log in logs)
