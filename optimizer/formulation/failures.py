"""How many servers of an offer stand by for those that fail and are repaired."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from optimizer.scenario import Failures, Offer
from optimizer.serving_config import FloatArray, IntArray

ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class StandBy:
    """What servers that stand by allow: without any, `unspared[s]` in use; the z-th entry allows `step[z]` more."""

    unspared: FloatArray  # [S] servers in use that need no other to stand by; infinite where failures are not stated
    offer: IntArray  # [Z] index of the offer
    number: IntArray  # [Z] counted from 1 within the offer
    step: FloatArray  # [Z] servers in use that this one adds

    def needed(self, s: int, in_use: int) -> int:
        """Servers that stand by for so many of offer s in use."""
        allowed = self.unspared[s] + np.append(0.0, np.cumsum(self.step[self.offer == s]))
        return int(np.searchsorted(allowed, in_use - 0.5))


def stand_by(offers: Sequence[Offer], most_servers: FloatArray) -> StandBy:
    """Of every offer [S], given how many servers of it can be of use [S]."""
    unspared = np.full(len(offers), np.inf)
    entries: list[tuple[int, int, float]] = []
    for s, offer in enumerate(offers):
        if offer.failures is None:
            continue
        allowed = list(_servers_in_use(offer.failures, int(most_servers[s])))
        unspared[s] = allowed[0]
        entries += [(s, c, float(step)) for c, step in enumerate(np.diff(allowed).tolist(), start=1)]
    of_offer, number, step = zip(*entries, strict=True) if entries else ((), (), ())
    return StandBy(unspared, np.array(of_offer, np.int64), np.array(number, np.int64), np.array(step, float))


def _servers_in_use(failures: Failures, most: int) -> Iterator[int]:
    """Servers in use that 0, 1, 2 … others standing by are enough for, up to `most`.

    A server is down for a part u = mttr / (mtbf + mttr) of the time, whatever its times between failures and of repair
    are distributed like (the renewal theorem; R. E. Barlow and F. Proschan, *Statistical Theory of Reliability*, 1975),
    so that of n + c independent ones the number that is down is binomial. c are enough for the largest n with
    P(Binomial(n + c, u) ≤ c) ≥ availability.
    """
    down = failures.repair_hours / (failures.mtbf_hours + failures.repair_hours)
    n = 0
    for spares in range(most + 1):
        while n < most and _at_most(spares, n + 1 + spares, down) >= failures.availability_fraction * (1 - ROUNDING):
            n += 1
        yield n
        if n == most:
            return


def _at_most(spares: int, servers: int, down: float) -> float:
    """P(Binomial(servers, down) ≤ spares)."""
    if spares >= servers or not down:
        return 1.0
    logs = (
        math.lgamma(servers + 1)
        - math.lgamma(i + 1)
        - math.lgamma(servers - i + 1)
        + i * math.log(down)
        + (servers - i) * math.log1p(-down)
        for i in range(spares + 1)
    )
    return math.fsum(math.exp(log) for log in logs)
