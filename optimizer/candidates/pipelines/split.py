"""Which layers each stage of a pipeline takes: the split whose slowest stage is fastest, by dynamic programming.

With f(s, j) the least time of the slowest among the first s stages when they hold the first j layers,

    f(s, j)  =  min over i < j of max(f(s − 1, i), time of stage s with layers i to j − 1),

which is exact: stages hold neighbouring layers, and a stage that does not fit its memory takes forever. Where stages
take turns their times add up, with a sum in place of the larger of both. All variants (of the batch, say) are split at
once, and so are all pipelines with the same last stage; those that begin alike share what is found of their beginnings.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from optimizer.serving_config import FloatArray, IntArray

ROWS_AT_ONCE = 16
"""Pipelines joined with a stage at once: their fronts stay in the cache of a core."""


class Spans:
    """The layers of a model that a stage may hold, by what there is in them."""

    def __init__(self, content: IntArray) -> None:
        """`content` [L + 1, L + 1] of the layers i to j − 1 at [j, i], the same number where a stage takes the same."""
        self.content, self.n_layers = content, len(content) - 1
        inner = [self._inner(n) for n in range(1, self.n_layers - 1)]
        self.inner: IntArray = np.concatenate([*inner, np.zeros(0, np.int64)]).astype(np.int64)
        """Content of one layer that is neither the first nor the last, where it begins with the second, the third …;
        of two, three, …. Once where a stage takes the same wherever it begins."""
        self.edges = list(itertools.pairwise(np.cumsum([0, *map(len, inner)]).tolist()))
        """Where in that one layer is, two layers, …."""

    def _inner(self, n: int) -> IntArray:
        first = np.arange(1, self.n_layers - n)
        content = self.content[first + n, first]
        return content[:1] if (content == content[0]).all() else content


class Level(NamedTuple):
    """Beginnings of s stages, each once; those with the same last stage lie together."""

    kind: IntArray  # [q] of the last of them
    before: IntArray  # [q] the same without that, among those of the level before
    least: IntArray  # [q] layers that they hold at least


@dataclass(frozen=True, slots=True)
class Beginnings:
    """What n pipelines of P stages have in common."""

    levels: tuple[Level, ...]
    """Of the first stage, the first two …, all but the last."""
    before: IntArray  # [n] of each pipeline, among those of the last level
    kind: IntArray  # [n] of its last stage

    @classmethod
    def of(cls, kind: IntArray, least: IntArray) -> Beginnings:
        """Of pipelines with a kind of stage [n, P] at each position, and layers [n, P] held at least up to there."""
        before, levels = np.zeros(len(kind), np.int64), []
        for s in range(kind.shape[1] - 1):
            columns = (kind[:, s], least[:, s], before)
            code = np.ravel_multi_index(columns, tuple(1 + int(column.max(initial=0)) for column in columns))
            _, example, inverse = np.unique(code, return_index=True, return_inverse=True)
            levels.append(Level(kind[example, s], before[example], least[example, s]))
            before = inverse.ravel()
        return cls(tuple(levels), before, kind[:, -1])


class Splits:
    """The best splits of n pipelines, in V variants each."""

    def __init__(self, spans: Spans, stage_ms: FloatArray, pipelines: Beginnings, *, in_turn: bool = False) -> None:
        """`stage_ms` [kinds, V, contents] is the time of each kind of stage; infinite where it cannot hold as much."""
        self.spans, self.stage_ms, self.pipelines = spans, stage_ms, pipelines
        self.together: Callable[..., FloatArray] = np.add if in_turn else np.maximum
        self.fronts = list(self._fronts())
        """[L + 1, V, q] of each level, f(s, j) of all its beginnings."""
        self.ms = self._ms()
        """[n, V] of the slowest stage, or of all in turn; infinite where they cannot hold all layers."""

    def ends(self, pipeline: IntArray, variant: IntArray) -> IntArray:
        """[m, P] layers that the first stage holds, the first two, …, all of them, where the time is finite.

        Among equals a stage begins as early as it can, the last one first.
        """
        at, kind = self.pipelines.before[pipeline], self.pipelines.kind[pipeline]
        ends = [np.full(len(pipeline), self.spans.n_layers)]
        for level, front in zip(reversed(self.pipelines.levels), reversed(self.fronts), strict=True):
            own_ms = self.stage_ms[kind, variant, self.spans.content[ends[-1]].T]
            ends.append(self.together(front[:, variant, at], own_ms).argmin(axis=0))
            at, kind = level.before[at], level.kind[at]
        return np.stack(ends[::-1], axis=1)

    def _fronts(self) -> Iterator[FloatArray]:
        first, *later = self.pipelines.levels
        front = np.ascontiguousarray(self.stage_ms[first.kind][:, :, self.spans.content[:, 0]].T)
        yield _with_at_least(front, first.least)
        inner_ms = self.stage_ms[:, :, self.spans.inner].transpose(0, 2, 1) if later else self.stage_ms
        for level in later:
            front = _with_at_least(self._joined(front, level, inner_ms), level.least)
            yield front

    def _joined(self, ahead: FloatArray, level: Level, inner_ms: FloatArray) -> FloatArray:
        """One stage more, which is not the last of its pipeline and takes `inner_ms` [kinds, of the spans, V]."""
        n_layers, n_variants = self.spans.n_layers, ahead.shape[1]
        joined = np.full((n_layers + 1, n_variants, len(level.kind)), np.inf)
        for kind, rows in runs_of(level.kind):
            ms = inner_ms[kind]
            held = [n for n, (at, to) in enumerate(self.spans.edges, 1) if np.isfinite(ms[at:to]).any()]
            for start in range(rows.start, rows.stop, ROWS_AT_ONCE):
                some = slice(start, min(start + ROWS_AT_ONCE, rows.stop))
                before = ahead[:, :, level.before[some]].reshape(n_layers + 1, -1)
                joined[:, :, some] = self._with_stage(before, ms, held).reshape(n_layers + 1, n_variants, -1)
        return joined

    def _with_stage(self, before: FloatArray, ms: FloatArray, held: Sequence[int]) -> FloatArray:
        """[L + 1, V · q] with one more stage, which takes `ms` [of the spans, V] and holds so many layers."""
        own = np.repeat(ms, before.shape[1] // ms.shape[1], axis=1)
        best, scratch = np.full_like(before, np.inf), np.empty_like(before)
        some = np.flatnonzero(np.isfinite(before).any(axis=1))
        low, high = (int(some[0]), int(some[-1])) if len(some) else (1, 0)  # none begins before the second
        for n in held:
            stop = min(high + 1, self.spans.n_layers - n)
            if stop <= low:
                break
            at, to = self.spans.edges[n - 1]
            alone = to - at == 1
            ms_here = own[at:to] if alone else own[at + low - 1 : at + stop - 1]
            out, there = scratch[low:stop], best[low + n : stop + n]
            self.together(before[low:stop], ms_here, out=out)
            np.minimum(there, out, out=there)
        return best

    def _ms(self) -> FloatArray:
        ahead = self.fronts[-1].transpose(2, 1, 0).copy()  # [q, V, L + 1], of which whole rows are looked up
        last_ms = self.stage_ms[:, :, self.spans.content[-1]]  # [kinds, V, L + 1]
        before, kinds = self.pipelines.before, self.pipelines.kind
        ms = np.empty((len(kinds), ahead.shape[1]))
        for start in range(0, len(kinds), ROWS_AT_ONCE):
            some = slice(start, start + ROWS_AT_ONCE)
            whole = ahead[before[some]]
            ms[some] = self.together(whole, last_ms[kinds[some]], out=whole).min(axis=2)
        return ms


def _with_at_least(front: FloatArray, layers: IntArray) -> FloatArray:
    """The same [L + 1, V, q], holding no fewer layers [q]."""
    short = np.arange(len(front))[:, None] < layers
    np.copyto(front, np.inf, where=short[:, None])
    return front


def runs_of(kinds: IntArray) -> Iterator[tuple[int, slice]]:
    """Neighbours [q] of one kind."""
    edges = np.flatnonzero(np.diff(kinds, prepend=-1, append=-1)).tolist()
    for start, stop in itertools.pairwise(edges):
        yield int(kinds[start]), slice(start, stop)
