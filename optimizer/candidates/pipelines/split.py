"""Which layers each stage of a pipeline takes: the split whose slowest stage is fastest, by dynamic programming.

With f(s, j) the least time of the slowest among the first s stages when they hold the first j layers,

    f(s, j)  =  min over i < j of max(f(s − 1, i), time of stage s with layers i to j − 1),

which is exact: stages hold neighbouring layers, and a stage that does not fit its memory takes forever. Where stages
take turns their times add up, with a sum in place of the larger of both. All variants (of the batch, say) are split at
once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from optimizer.serving_config import FloatArray, IntArray


class Front(NamedTuple):
    """The first stages of a pipeline, split as well as can be for every number of layers that they may hold."""

    ms: FloatArray  # [V, L + 1] of the slowest, or of all in turn; infinite where they cannot hold so many
    before: IntArray  # [V, L + 1] layers of those the stages before the last one hold


def front(stage_ms: FloatArray, ahead: Front | None, *, in_turn: bool = False) -> Front:
    """One stage more, with the time [V, L + 1, L + 1] that it takes for the layers i to j − 1 at [:, j, i]."""
    if ahead is None:
        first_ms = stage_ms[:, :, 0]
        return Front(first_ms, np.zeros(first_ms.shape, np.int64))
    together = np.add if in_turn else np.maximum
    ms = together(ahead.ms[:, None, :], stage_ms)  # the least is sought along what lies together
    before: IntArray = ms.argmin(axis=2)
    return Front(np.take_along_axis(ms, before[:, :, None], axis=2)[:, :, 0], before)


def with_at_least(one: Front, layers: int) -> Front:
    """The same, holding no fewer layers."""
    allowed = np.arange(one.ms.shape[1]) >= layers
    return one._replace(ms=np.where(allowed, one.ms, np.inf))


def ends_of(fronts: Sequence[Front], variant: int) -> tuple[int, ...]:
    """Layers that the first stage holds, the first two, …, all of them, in the best split of a variant."""
    ends = [fronts[-1].ms.shape[1] - 1]
    for one in reversed(fronts[1:]):
        ends.append(int(one.before[variant, ends[-1]]))
    return tuple(reversed(ends))
