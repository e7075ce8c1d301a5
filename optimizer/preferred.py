"""Among plans of equal cost the one that an engineer would take: the same servers, run the way that is preferred.

A solver returns any plan of least cost, and what others beat in speed never reaches it. So when servers are decided,
each workload's replicas are looked at once more, beside every way to run their model on as many GPUs of the same offer.
First come formats that have a checkpoint, then the higher quality, then fewer departures from the engine's defaults.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np

from catalog import Catalog
from optimizer.candidates import Candidates, InUse, Preference, Reluctance, ReplicaSpec, build_alike
from optimizer.formulation import Instance
from optimizer.scenario import Scenario
from optimizer.serving_config import FloatArray, IntArray
from optimizer.solve import Decision, Occupants, share_carried


def preferred(
    scenario: Scenario, catalog: Catalog, candidates: Sequence[Candidates], inst: Instance, decision: Decision
) -> tuple[tuple[Candidates, ...], Decision]:
    """Candidates and decision with the preferred ways to run replicas in place of those decided on; servers stay.

    Replicas stay on their GPUs, and none goes. Free GPUs of the same servers take more replicas only where that spares
    a workload a format without a checkpoint.
    """
    preference = Preference(scenario, catalog)
    plan = _Plan(scenario, preference, candidates, inst, decision)
    in_use = {candidates[w].workload: one for w, one in plan.in_use.items()}
    alike = build_alike(scenario, catalog, preference, in_use)
    # Whoever lacks a checkpoint chooses first, for only such a workload takes free GPUs.
    for w in sorted(plan.in_use, key=lambda w: (not plan.in_use[w].at_worst.lacks_checkpoint, w)):
        plan.settle(w, alike[candidates[w].workload])
    return tuple(plan.candidates), plan.decision()


@dataclass(frozen=True, slots=True)
class _Way:
    """A way to run a replica."""

    offer: int
    spec: ReplicaSpec
    rate_rps: FloatArray  # [R]
    reluctance: Reluctance


@dataclass(frozen=True, slots=True)
class _Loads:
    """Of the replicas of a workload in one state: G groups of them, R demands."""

    candidates: IntArray  # [G]
    loads: IntArray  # [G, R] −1 where the program has none
    busy: FloatArray  # [G, R] as `route` takes it
    may_grow: bool
    """More replicas need no more than free GPUs."""


class _Plan:
    """Candidates and replica counts, as they change workload by workload."""

    def __init__(
        self,
        scenario: Scenario,
        preference: Preference,
        candidates: Sequence[Candidates],
        inst: Instance,
        decision: Decision,
    ) -> None:
        self.scenario, self.preference, self.inst, self.decided = scenario, preference, inst, decision
        self.candidates = list(candidates)
        self.first = np.cumsum([0, *(len(c.specs) for c in candidates)])
        self.n_replicas, self.load_share = decision.n_replicas.copy(), decision.load_share.copy()
        self.free = _free_gpus(inst, decision.n_replicas)
        self.occupants = Occupants.standing(inst, decision.servers)
        runs = self.n_replicas.reshape(inst.horizon.n_states, -1).any(axis=0)
        self.used = [np.flatnonzero(some) for some in np.split(runs, self.first[1:-1])]
        self.in_use = {w: one for w, _ in enumerate(candidates) if (one := self._in_use(w)) is not None}

    def _in_use(self, w: int) -> InUse | None:
        """None where there is nothing to choose: measured replicas, and pipelines over several offers."""
        c, used = self.candidates[w], self.used[w]
        specs = [c.specs[i] for i in used.tolist()]
        if not specs or any(spec.model is None or spec.stages for spec in specs):
            return None
        return InUse(
            models=frozenset(str(spec.model) for spec in specs),
            places=frozenset(zip(c.offer[used].tolist(), c.gpus_per_replica[used].tolist(), strict=True)),
            at_worst=max(map(self.preference.of, specs)),
        )

    def settle(self, w: int, alike: Candidates) -> None:
        """Run the workload in the most preferred way that carries it; as it is where there is none."""
        at_worst = self.in_use[w].at_worst
        ways = [
            _Way(s, spec, rate_rps, self.preference.of(spec))
            for s, spec, rate_rps in zip(alike.offer.tolist(), alike.specs, alike.rate_rps, strict=True)
        ]
        tries = list(_tries(ways, at_worst, mix=not self.scenario.workloads[alike.workload].single_format))
        published = list(takewhile(lambda few: not any(way.reluctance.lacks_checkpoint for way in few), tries))
        growing = [(few, True) for few in published if at_worst.lacks_checkpoint]
        in_turn = [(few, False) for few in published] + growing + [(few, False) for few in tries[len(published) :]]
        any(self._takes(w, few, grow=grow) for few, grow in in_turn)

    def _takes(self, w: int, ways: Sequence[_Way], *, grow: bool) -> bool:
        """Whether the fastest of these ways carry the workload in every state; if they do, they are planned."""
        chosen = self._fastest(w, ways)
        if chosen is None:
            return False
        carried: list[tuple[IntArray, FloatArray]] = []
        more: list[tuple[int, int]] = []  # candidates with another replica, and their offers
        for state in range(self.inst.horizon.n_states):
            asked = self._asked(w, state, chosen)
            share = self._carried(w, state, asked)
            while share is None and grow and asked.may_grow and (grown := self._grown(asked)) is not None:
                more.append(grown)
                share = self._carried(w, state, asked)
            if share is None:
                for k, s in more:
                    self._add(k, s, -1)
                return False
            carried.append((asked.loads, share))
        for loads, share in carried:
            self.load_share[loads[loads >= 0]] = share[loads >= 0]
        self._run(w, chosen)
        return True

    def _fastest(self, w: int, ways: Sequence[_Way]) -> list[_Way] | None:
        """For each candidate in use the fastest way in its place; None where one has none."""
        c = self.candidates[w]
        share = np.array([one.share_fraction for one in self.scenario.workloads[c.workload].request_classes])
        chosen = []
        for i in self.used[w].tolist():
            served = c.rate_rps[i] > 0
            here = [
                (float((share[served] / way.rate_rps[served]).sum()), n)
                for n, way in enumerate(ways)
                if way.offer == c.offer[i] and way.spec.gpus == c.gpus_per_replica[i] and way.rate_rps[served].all()
            ]
            if not here:
                return None
            chosen.append(ways[min(here)[1]])
        return chosen

    def _asked(self, w: int, state: int, chosen: Sequence[_Way]) -> _Loads:
        inst, of_state = self.inst, w + state * len(self.candidates)
        candidates = self.used[w] + self.first[w] + state * self.first[-1]
        first, end = np.searchsorted(inst.workload_of_demand, [of_state, of_state + 1])
        loads = np.full((len(candidates), end - first), -1)
        ends = np.searchsorted(inst.candidate_of_load, np.stack([candidates, candidates + 1]))
        for group, (a, b) in enumerate(ends.T.tolist()):
            loads[group, inst.demand_of_load[a:b] - first] = np.arange(a, b)
        rate_rps = np.stack([way.rate_rps for way in chosen])[:, inst.class_of_demand[first:end]]
        busy = np.full(loads.shape, np.inf)
        np.divide(inst.demand_rps[first:end], rate_rps, out=busy, where=(loads >= 0) & (rate_rps > 0))
        return _Loads(candidates, loads, busy, inst.spare[of_state] == "none")

    def _carried(self, w: int, state: int, asked: _Loads) -> FloatArray | None:
        """[G, R] the share of each demand that each group carries; None where they do not carry all."""
        n_replicas = self.n_replicas
        share, runs = np.zeros_like(asked.busy), n_replicas[asked.candidates] > 0
        if not asked.busy.shape[1]:
            return share
        used, of_state = asked.candidates[runs], w + state * len(self.candidates)
        losses = () if asked.may_grow else self.occupants.losses(of_state, used, n_replicas)
        carried = share_carried(n_replicas[used], asked.busy[runs], losses, self.inst.max_utilization)
        if carried is None:
            return None
        share[runs] = carried
        return share

    def _grown(self, asked: _Loads) -> tuple[int, int] | None:
        """The candidate that got one more replica, and its offer: the one that does most with its GPUs, if any fits."""
        gpus, offer = (a[asked.candidates] for a in (self.inst.gpus_per_replica, self.inst.offer_of_candidate))
        cost = np.where(self.free[offer] >= gpus, asked.busy.sum(axis=1) * gpus, np.inf)
        best = int(np.argmin(cost))
        if not np.isfinite(cost[best]):
            return None
        k, s = int(asked.candidates[best]), int(offer[best])
        self._add(k, s, 1)
        return k, s

    def _add(self, k: int, s: int, n: int) -> None:
        """So many replicas of a candidate on free GPUs of its offer."""
        self.n_replicas[k] += n
        self.free[s] -= n * self.inst.gpus_per_replica[k]

    def _run(self, w: int, chosen: Sequence[_Way]) -> None:
        """Put the ways in place of the candidates; what has become the same is one candidate."""
        c, specs, rate_rps = self.candidates[w], list(self.candidates[w].specs), self.candidates[w].rate_rps.copy()
        first: dict[tuple[int, ReplicaSpec], int] = {}
        for i, way in zip(self.used[w].tolist(), chosen, strict=True):
            specs[i], rate_rps[i] = way.spec, way.rate_rps
            kept = first.setdefault((way.offer, way.spec), i)
            if kept != i:
                self._join(self.first[w] + i, self.first[w] + kept)
        self.candidates[w] = replace(c, specs=tuple(specs), rate_rps=rate_rps)
        self.used[w] = np.array(sorted(first.values()), np.int64)

    def _join(self, one: int, other: int) -> None:
        """Count the replicas and loads of one candidate to another that is the same, in every state."""
        for state in range(self.inst.horizon.n_states):
            k, into = one + state * int(self.first[-1]), other + state * int(self.first[-1])
            self.n_replicas[into] += self.n_replicas[k]
            self.n_replicas[k] = 0
            for here in self.occupants.on.values():
                here[into] += here.pop(k, 0)
            of_one, of_other = (np.arange(*np.searchsorted(self.inst.candidate_of_load, [i, i + 1])) for i in (k, into))
            demands = self.inst.demand_of_load
            for load in of_one[np.isin(demands[of_one], demands[of_other])].tolist():
                self.load_share[of_other[demands[of_other] == demands[load]]] += self.load_share[load]
                self.load_share[load] = 0.0

    def decision(self) -> Decision:
        """As it is now."""
        servers = {s: self.occupants.servers(s) for s in self.decided.servers}
        return replace(self.decided, n_replicas=self.n_replicas, load_share=self.load_share, servers=servers)


def _tries(ways: Sequence[_Way], at_worst: Reluctance, *, mix: bool) -> Iterator[list[_Way]]:
    """Ways that one plan may use together, the preferred ones first; all are preferred to what is run."""
    of_choice: dict[str, list[_Way]] = {}
    for way in ways:
        of_choice.setdefault("" if mix else way.spec.choice, []).append(way)
    together = list(of_choice.values())
    levels = {(way.reluctance, i) for i, some in enumerate(together) for way in some if way.reluctance < at_worst}
    for level, i in sorted(levels):
        yield [way for way in together[i] if way.reluctance <= level]


def _free_gpus(inst: Instance, n_replicas: IntArray) -> IntArray:
    """[S] of the servers that run something, where counting GPUs tells whether a replica fits."""
    taken = inst.footprint
    gpus = taken.gpus * taken.groups * n_replicas[taken.candidate]
    used = np.bincount(taken.offer, weights=gpus, minlength=len(inst.offer_names)).astype(np.int64)
    return np.where(inst.packing.by_volume, -used % inst.gpus_per_server, 0)
