"""The best batch of each configuration, and the largest rate at which it holds every latency target there.

The batch is the largest that fits memory and, even when it is full, holds the TPOT targets: with fewer places requests
would wait longer, and with more the crowd could slow everybody down. Then the load is raised until a percentile under
random arrivals reaches its target. Both are bisections over all configurations at once. A class with a long prompt may
miss its target where a short one holds it; the search runs for every class on its own, and what each finds is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from optimizer.candidates.asked import Asked
from optimizer.candidates.field import Evaluation, Field
from optimizer.candidates.race import Entrant, Race
from optimizer.candidates.rated import Rated
from optimizer.candidates.starts import Flags
from optimizer.memory import REASONS
from optimizer.performance import LOAD_STEPS, RatedReplicas, largest_load
from optimizer.performance.capacity import decoding_of
from optimizer.performance.open_loop import OpenLoop
from optimizer.performance.station import OpenReplicas
from optimizer.serving_config import BoolArray, FloatArray, IntArray, sequences_per_rank

ROWS_AT_ONCE = 1000
"""About as many take twice as long to compute as none."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one of those asked is served by, and why not by more."""

    rated: Rated
    rejected: Counter[str]
    nearest_ms: dict[str, float]


@dataclass(frozen=True, slots=True)
class _Batches:
    """Batches of m pairs of a configuration and a class, with the flags that they need; arrays [m]."""

    pair: IntArray
    level: IntArray
    """Of the starts."""
    size: IntArray
    """Position of the batch."""
    stop: IntArray
    """What stops a larger one."""


@dataclass(frozen=True, slots=True)
class _Loads:
    """The same at the largest load; arrays [m]."""

    pair: IntArray
    level: IntArray
    size: IntArray
    load: IntArray
    stop: IntArray
    """What stops a larger batch or load."""
    served_rps: FloatArray  # [m, R] 0 where the class misses a target

    @classmethod
    def together(cls, parts: Sequence[_Loads]) -> _Loads:
        """All pairs, one part after the other."""
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))

    def best_rps(self, n: int) -> FloatArray:
        """[n] of each pair, of the first class; 0 where it is not among these."""
        best = np.zeros(n)
        np.maximum.at(best, self.pair, self.served_rps[:, 0])
        return best


class Search:
    """Flags, batches and rates for what several workloads ask, all of one kind."""

    def __init__(self, asked: Sequence[Asked]) -> None:
        self.field = Field.whole(asked)
        targets = asked[0].workload.planned_targets
        self.stops = (*(target.name for target in targets), "memory", "max_batch_size")
        self.of_memory, self.of_size = len(targets), len(targets) + 1
        self.of_full_batch = [t for t, target in enumerate(targets) if target.metric == "tpot"]
        self.rejected = [Counter[str]() for _ in asked]
        self.nearest_ms: list[dict[str, float]] = [{} for _ in asked]

    def run(self, entrants: Sequence[Entrant] = ()) -> list[Found]:
        """Every configuration that holds the targets of some class when almost idle, at the best batches for each.

        With an entrant for each of those asked, configurations that others are better than are left out.
        """
        level, first = self._first_running()
        row, of_class = np.nonzero(self._rejecting(level, first))
        pairs = _Pairs(self, self.field.take(row), level[row], of_class, first.at_most[row])
        if not entrants or not len(row):
            return self._by_asked(pairs.loads(np.arange(len(row))), row)
        race = Race(entrants, pairs.field, pairs.at_most)
        likely = race.likely()
        found = pairs.loads(likely)
        rest = pairs.loads(race.not_beaten_by(likely, found.best_rps(len(row))[likely]))
        return self._by_asked(_Loads.together([found, rest]), row)

    def _first_running(self) -> tuple[IntArray, Evaluation]:
        """[n] the first level at which each configuration runs with the smallest batch; the first of all if none."""
        n, starts = len(self.field), self.field.starts
        level, smallest = np.zeros(n, np.int64), np.zeros(n, np.int64)
        found = self.field.evaluate(np.arange(n), smallest, starts.at(0, np.arange(n)))
        short = np.flatnonzero(found.may_be_leaner)
        for at in range(len(starts) - 1, 0, -1):  # what does not run with the fewest tokens runs with none
            rows = short[starts.tokens[at, short] < starts.tokens[0, short]]
            if rows.size:
                leaner = self.field.evaluate(rows, smallest[rows], starts.at(at, rows))
                short = rows[leaner.runs]
                level[short] = at
                found.put(short, leaner.take(leaner.runs))
        return level, found

    def _rejecting(self, level: IntArray, first: Evaluation) -> BoolArray:
        """[n, R] the classes that an almost idle replica serves in time; counts why a configuration serves none."""
        field, n, runs = self.field, len(level), first.runs
        self._count(np.where(first.fits, len(REASONS), first.reason), (*REASONS, ""))
        self._count(np.where(first.fits & ~runs, 0, 1), ("memory", ""))
        tokens, one = field.starts.tokens[level, np.arange(n)], np.full(n, field.sizes[0])
        replicas = field.replicas(tokens, one)
        over = excess(field, replicas.at(decoding_of(np.zeros(n, np.int64), replicas.most)))
        within = over.max(axis=0, initial=0.0) <= 1.0
        late = runs & ~within.any(axis=1)
        if late.any():
            worst = over[:, :, 0].argmax(axis=0)
            self._count(np.where(late, worst, self.of_memory), (*self.stops[: self.of_memory], ""))
            for which in np.unique(field.of[late]).tolist():
                limits_ms = [target.limit_ms for target in field.asked[which].workload.planned_targets]
                least = over[:, runs & (field.of == which)].min(axis=(1, 2)) * limits_ms
                self.nearest_ms[which] = dict(zip(self.stops, least.tolist(), strict=False))
        served: BoolArray = within & runs[:, None]
        return served

    def _count(self, reason: IntArray, names: Sequence[str]) -> None:
        """Rejected configurations by reason [n]; the last of the names is none."""
        n = len(names)
        counts = np.bincount(self.field.of * n + reason, minlength=n * len(self.rejected)).reshape(-1, n)
        for rejected, of_one in zip(self.rejected, counts.tolist(), strict=True):
            for name, count in zip(names[:-1], of_one, strict=False):
                rejected[name] += count

    def _by_asked(self, loads: _Loads, row: IntArray) -> list[Found]:
        """What was found for each of those asked; `row` is that of each pair."""
        field, row = self.field, row[loads.pair]
        # Classes that end up with the same flags, batch and load share a row.
        same = ((row * len(field.starts) + loads.level) * len(field.sizes) + loads.size) * (LOAD_STEPS + 1) + loads.load
        _, kept = np.unique(same, return_index=True)
        ends = np.searchsorted(field.of[row[kept]], np.arange(len(field.asked) + 1))
        results = []
        for which, asked in enumerate(field.asked):
            here = kept[ends[which] : ends[which + 1]]
            rows, physics = row[here], asked.physics
            tokens, own = field.starts.tokens[loads.level[here], rows], field.row[rows]
            configurations, size = physics.configurations.take(own), field.sizes[loads.size[here]]
            # Engines lower their default to what fits into the batch, which is why such a start states its tokens.
            by_default = sequences_per_rank(size, configurations.dp) * asked.max_model_len >= tokens
            by_default &= tokens == physics.defaults.max_num_batched_tokens[own]
            rated = Rated(
                configurations,
                asked.holds[own],
                asked.max_model_len,
                size,
                np.where(by_default, 0, tokens),
                loads.served_rps[here],
                tuple(self.stops[s] for s in loads.stop[here].tolist()),
                tuple(one.name for one in asked.workload.request_classes),
            )
            results.append(Found(rated, self.rejected[which], self.nearest_ms[which]))
        return results


class _Pairs:
    """Configurations and the class that each is rated for, n pairs of them."""

    def __init__(self, search: Search, field: Field, level: IntArray, of_class: IntArray, at_most: FloatArray) -> None:
        """`level` [n] of the starts is the first at which each runs, `at_most` [n] no less than it holds at once."""
        self.search, self.field, self.level, self.of_class, self.at_most = search, field, level, of_class, at_most

    def loads(self, rows: IntArray) -> _Loads:
        """Some pairs at their largest loads, each with one or more batches."""
        batches = self._batches(rows)
        some, of_class = self.field.take(batches.pair), self.of_class[batches.pair]
        tokens = some.starts.tokens[batches.level, np.arange(len(some))]
        replicas = some.replicas(tokens, some.sizes[batches.size])
        classes = np.arange(replicas.station.prompt_tokens.shape[1])
        load = largest_load(replicas, some.targets, of_class[:, None] == classes)
        rated = RatedReplicas.at(replicas, load)
        within = excess(some, rated.open_loop).max(axis=0, initial=0.0) <= 1.0
        stop = np.where(rated.nearly_full, batches.stop, self._late(some, replicas, load + 1, of_class))
        served_rps = np.where(within, rated.rate_rps, 0.0)
        return _Loads(batches.pair, batches.level, batches.size, load, stop, served_rps)

    def _late(self, some: Field, replicas: OpenReplicas, load: IntArray, of_class: IntArray) -> IntArray:
        """[m] index into `stops` of the target that the class misses most at a load."""
        if not self.search.of_memory:
            return np.full(len(load), self.search.of_size)
        over = excess(some, replicas.at(decoding_of(load, replicas.most)))
        worst: IntArray = over[:, np.arange(len(load)), of_class].argmax(axis=0)
        return worst

    def _batches(self, rows: IntArray) -> _Batches:
        """The largest batch of every pair that time and memory allow, and larger ones where fewer tokens leave room.

        With fewer tokens a step, more places count against later tokens: what wins is seen when both are rated.
        """
        starts, last = self.field.starts, len(self.field.starts) - 1
        level = self.level[rows]
        size, latest, stop = self._largest(rows, starts.at(level, rows))
        found = [(rows, level, size, stop)]
        most, short = size.copy(), np.flatnonzero((size < latest) & (level < last))
        short = short[self._runs(rows[short], last, size[short] + 1)]
        for at in range(1, len(starts)):
            here = short[(level[short] < at) & (starts.tokens[at, rows[short]] < starts.tokens[0, rows[short]])]
            if at < last:
                here = here[self._runs(rows[here], at, size[here] + 1)]
            if here.size:
                larger, _, why = self._largest(rows[here], starts.at(at, rows[here]))
                more = larger > most[here]
                most[here] = np.maximum(most[here], larger)
                found.append((rows[here[more]], np.full(int(more.sum()), at), larger[more], why[more]))
        return _Batches(*map(np.concatenate, zip(*found, strict=True)))

    def _runs(self, rows: IntArray, level: int, size: IntArray) -> BoolArray:
        """[m] whether some of the configurations run at a level, each with its batch."""
        if not rows.size:
            return np.zeros(0, bool)
        return self.field.evaluate(rows, size, self.field.starts.at(level, rows)).runs

    def _largest(self, rows: IntArray, flags: Flags) -> tuple[IntArray, IntArray, IntArray]:
        """[m] index of the largest batch; of the largest that time allows; what stops the next one."""
        latest, stop = self._largest_in_time(rows, flags.tokens)
        size = self._largest_running(rows, flags, latest)
        return size, latest, np.where(size < latest, self.search.of_memory, stop)

    def _largest_in_time(self, rows: IntArray, tokens: IntArray) -> tuple[IntArray, IntArray]:
        """[m] index of the largest batch that, when full, holds the class's TPOT; what stops the next one.

        `tokens` [m] is those of a step, which no engine's defaults derive from the batch.
        """
        n, sizes = len(rows), self.field.sizes
        lowest, beyond = np.zeros(n, np.int64), np.full(n, len(sizes))
        stop = np.full(n, self.search.of_size)
        if not self.search.of_full_batch:
            return beyond - 1, stop
        while (open_ := np.flatnonzero(beyond - lowest > 1)).size:
            probe = between(lowest[open_], beyond[open_])
            looks, each = probe.shape[1], np.repeat(open_, probe.shape[1])
            some = self.field.take(rows[each])
            over, worst = self._over_when_full(some, some.replicas(tokens[each], sizes[probe.ravel()]), rows[each])
            late = over.reshape(-1, looks) > 1.0
            first = np.where(late.any(axis=1), late.argmax(axis=1), looks)
            up, down = np.flatnonzero(first > 0), np.flatnonzero(first < looks)
            lowest[open_[up]], beyond[open_[down]] = probe[up, first[up] - 1], probe[down, first[down]]
            stop[open_[down]] = worst.reshape(-1, looks)[down, first[down]]
        return lowest, stop

    def _over_when_full(self, some: Field, replicas: OpenReplicas, rows: IntArray) -> tuple[FloatArray, IntArray]:
        """[m] TPOT of each pair's class over its limit while the batch is full, and index into `stops` of the worst."""
        here, targets = self.search.of_full_batch, some.targets
        classes = self.of_class[rows]
        over = np.stack([
            replicas.full_tpot_ms(targets[t].statistic)[np.arange(len(rows)), classes] / some.limits_ms[:, t]
            for t in here
        ])  # fmt: skip
        return over.max(axis=0), np.array(here)[over.argmax(axis=0)]

    def _largest_running(self, rows: IntArray, flags: Flags, latest: IntArray) -> IntArray:
        """[m] index of the largest batch up to `latest` that starts and fills its places; the smallest always does.

        No batch fills that is larger than what could be held if steps took no memory, and few that are as large do not.
        What a batch leaves room for, every smaller one holds too, for it takes less itself: so where the largest starts
        but does not fill, the next ones that may are looked at.
        """
        largest = np.minimum(latest, np.searchsorted(self.field.sizes, self.at_most[rows], side="right") - 1)
        lowest, beyond = np.zeros_like(latest), largest + 1
        open_ = np.flatnonzero(largest > 0)
        probe = np.maximum(largest[open_, None] - np.arange(looks_for(largest[open_])), 1)  # [open, looks]
        while open_.size:
            looks, each, size = probe.shape[1], np.repeat(open_, probe.shape[1]), probe.ravel()
            at = self.field.evaluate(rows[each], size, flags.take(each))
            room = np.searchsorted(self.field.sizes, at.held, side="right") - 1
            known = np.where(at.runs, size, np.where(at.fits, np.minimum(room, size - 1), 0))
            lowest[open_] = np.maximum(lowest[open_], known.reshape(-1, looks).max(axis=1))
            refused = np.where(at.runs, len(self.field.sizes), size)
            beyond[open_] = np.minimum(beyond[open_], refused.reshape(-1, looks).min(axis=1))
            still = beyond[open_] - lowest[open_] > 1
            open_, starts = open_[still], at.fits.reshape(-1, looks)[still, 0]
            probe = between(lowest[open_], beyond[open_])
            next_ones = np.minimum(lowest[open_, None] + np.arange(1, probe.shape[1] + 1), beyond[open_, None] - 1)
            probe = np.where(starts[:, None], next_ones, probe)
        return lowest


def excess(field: Field, at: OpenLoop) -> FloatArray:
    """[T, n, R] latencies over their targets."""
    nothing = np.zeros((0, *at.met_spread_ms.shape))
    over = [at.statistic(t.metric, t.statistic) / t.limit_ms for t in field.targets]
    return np.stack(over) if over else nothing


def looks_for(positions: IntArray) -> int:
    """How many of so many positions [n] to look at at once: more where rows are few."""
    return int(np.clip(ROWS_AT_ONCE // max(len(positions), 1), 1, positions.max(initial=1)))


def between(lowest: IntArray, beyond: IntArray) -> IntArray:
    """[n, looks] positions between two that are known [n], evenly spaced."""
    apart = (beyond - lowest)[:, None]
    looks = looks_for(apart[:, 0] - 1)
    further: IntArray = np.clip(apart * np.arange(1, looks + 1) // (looks + 1), 1, apart - 1)
    return lowest[:, None] + further
