"""What must be served in every state, and by what: demands, candidates, loads and choices, state after state."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from optimizer.candidates import Candidates, ReplicaSpec
from optimizer.formulation.horizon import Horizon
from optimizer.scenario import Scenario, Spare, futures_of
from optimizer.serving_config import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a replica takes of each offer: m entries, one a candidate, or one for each offer of one that has several."""

    candidate: IntArray  # [m]
    offer: IntArray  # [m]
    gpus: IntArray  # [m] of one group, which stands on one server if it is not larger
    groups: IntArray  # [m]

    def largest(self, per_entry: IntArray, n_candidates: int) -> IntArray:
        """[K] the largest value [m] among the entries of each candidate."""
        most = np.zeros(n_candidates, np.int64)
        np.maximum.at(most, self.candidate, per_entry)
        return most


@dataclass(frozen=True, slots=True)
class Needs:
    """Sets of all states one after the other: workload w of state t is t · W + w, and so on."""

    workload_names: tuple[str, ...]  # [W·T]
    demand_names: tuple[tuple[str, str], ...]  # [D] (workload, class); what nobody asks for is left out
    demand_rps: FloatArray  # [D]
    workload_of_demand: IntArray  # [D]
    class_of_demand: IntArray  # [D] position among the workload's classes

    candidate_names: tuple[tuple[str, str, str], ...]  # [K·T] (workload, offer, configuration)
    workload_of_candidate: IntArray  # [K·T]
    offer_of_candidate: IntArray  # [K·T]
    gpus_per_replica: IntArray  # [K·T]
    footprint: Footprint

    candidate_of_load: IntArray  # [L]
    demand_of_load: IntArray  # [L]
    busy_replicas: FloatArray  # [L]
    is_split: BoolArray  # [L]

    choice_names: tuple[tuple[str, str], ...]  # [Q] (workload, model and format)
    workload_of_choice: IntArray  # [Q]
    choice_of_candidate: IntArray  # [K·T] −1: no choice to make
    spare: tuple[Spare, ...]  # [W·T]


def build_needs(scenario: Scenario, candidates: Sequence[Candidates], horizon: Horizon) -> Needs:
    """Every state's needs, given the candidates of each workload in the scenario's order."""
    states, offers = range(horizon.n_states), list(scenario.inventory)
    futures = futures_of(scenario)
    n_workloads, n_offers = len(candidates), len(offers)
    demands = [
        (t, w, r, kind.name, rps)
        for t in states
        for w, workload in enumerate(futures[horizon.future_of(t)].workloads.values())
        for r, kind in enumerate(workload.request_classes)
        if (rps := workload.demand_in(horizon.period_of(t)) * kind.share_fraction) > 0
    ]
    demand_at = {(t, w, r): d for d, (t, w, r, _, _) in enumerate(demands)}
    demand_rps = np.array([rps for *_, rps in demands], float)
    names = list(scenario.workloads)
    workload_of_demand = np.array([t * n_workloads + w for t, w, *_ in demands], np.int64)
    placeable = [_placeable(c, scenario) for c in candidates]
    loads = _loads(candidates, placeable, demand_at, demand_rps, horizon.n_states)
    n_classes = np.bincount(workload_of_demand, minlength=n_workloads * horizon.n_states)
    choices = _choices(candidates, placeable, futures, horizon)
    of_workload = np.repeat(np.arange(n_workloads), [len(c.specs) for c in candidates])
    of_offer = _concatenate([c.offer for c in candidates])
    footprint = _footprint(candidates, scenario, horizon.n_states)
    return Needs(
        workload_names=tuple(f"{name}{horizon.suffix(t)}" for t in states for name in names),
        demand_names=tuple((names[w], f"{kind}{horizon.suffix(t)}") for t, w, _, kind, _ in demands),
        demand_rps=demand_rps,
        workload_of_demand=workload_of_demand,
        class_of_demand=np.array([r for _, _, r, *_ in demands], np.int64),
        candidate_names=tuple(
            (c.workload, offers[s], f"{spec.label}{horizon.suffix(t)}")
            for t in states
            for c in candidates
            for s, spec in zip(c.offer, c.specs, strict=True)
        ),
        workload_of_candidate=_concatenate([of_workload + t * n_workloads for t in states]),
        offer_of_candidate=_concatenate([of_offer + t * n_offers for t in states]),
        gpus_per_replica=np.tile(_concatenate([c.gpus_per_replica for c in candidates]), horizon.n_states),
        footprint=footprint,
        candidate_of_load=loads[0],
        demand_of_load=loads[1],
        busy_replicas=loads[2],
        is_split=n_classes[workload_of_demand[loads[1]]] > 1,
        choice_names=choices[0],
        workload_of_choice=choices[1],
        choice_of_candidate=choices[2],
        spare=tuple(workload.spare for workload in scenario.workloads.values()) * horizon.n_states,
    )


def _footprint(candidates: Sequence[Candidates], scenario: Scenario, n_states: int) -> Footprint:
    """In the order of candidates; the groups of one on several offers are its stages.

    Where the loss of a server must be survived those on one offer stand together, on as few servers as hold them.
    """
    position = {name: s for s, name in enumerate(scenario.inventory)}
    parts = [np.zeros((4, 0), np.int64)]
    first = 0
    for c in candidates:
        alone = np.stack([first + np.arange(len(c.specs)), c.offer, c.gpus_per_replica, np.ones_like(c.offer)])
        on_several = [k for k, spec in enumerate(c.specs) if spec.stages]
        parts.append(np.delete(alone, on_several, axis=1) if on_several else alone)
        for k in on_several:
            entries = [
                (first + k, position[offer], gpus, groups)
                for offer, gpus, groups in _groups(c.specs[k], scenario, scenario.workloads[c.workload].spare)
            ]
            parts.append(np.array(entries, np.int64).T)
        first += len(c.specs)
    candidate, offer, gpus, groups_there = np.concatenate(parts, axis=1)
    return Footprint(
        candidate=_concatenate([candidate + t * first for t in range(n_states)]),
        offer=_concatenate([offer + t * len(position) for t in range(n_states)]),
        gpus=np.tile(gpus, n_states),
        groups=np.tile(groups_there, n_states),
    )


def _groups(spec: ReplicaSpec, scenario: Scenario, spare: Spare) -> Iterator[tuple[str, int, int]]:
    """Offer, GPUs of a group and groups there of a replica over several offers."""
    tp = spec.gpus // len(spec.stages)
    for offer, n in Counter(stage.offer for stage in spec.stages).items():
        groups = _servers_for(n, tp, scenario.inventory[offer].gpus_per_server) if spare == "n+1" else n
        yield offer, tp * n // groups, groups


def _servers_for(n_stages: int, tp: int, gpus_per_server: int) -> int:
    """The fewest servers that hold so many stages, none of them split."""
    return -(-n_stages // (gpus_per_server // tp))


def _loads(
    candidates: Sequence[Candidates],
    placeable: Sequence[BoolArray],
    demand_at: dict[tuple[int, int, int], int],
    demand_rps: FloatArray,
    n_states: int,
) -> tuple[IntArray, IntArray, FloatArray]:
    """Every (candidate, demand) pair that the candidate can serve, and the replicas that demand would keep busy."""
    first = np.cumsum([0, *(len(c.specs) for c in candidates)])
    columns: list[tuple[IntArray, IntArray, FloatArray]] = []
    for t in range(n_states):
        for w, c in enumerate(candidates):
            demand = np.array([demand_at.get((t, w, r), -1) for r in range(c.rate_rps.shape[1])], np.int64)
            k, r = np.nonzero((c.rate_rps > 0) & (demand >= 0) & placeable[w][:, None])
            busy = demand_rps[demand[r]] / c.rate_rps[k, r]
            columns.append((k + first[w] + t * first[-1], demand[r], busy))
    candidate, of_demand, busy_replicas = zip(*columns, strict=True)
    return _concatenate(candidate), _concatenate(of_demand), np.concatenate(busy_replicas)


def _placeable(c: Candidates, scenario: Scenario) -> BoolArray:
    """[K] whether it can be said what is lost with what.

    Not of replicas over several servers with a rack, for they may be in many; nor of pipelines over several offers with
    a server, where they take unequal parts of those of one offer.
    """
    spare, inventory = scenario.workloads[c.workload].spare, scenario.inventory
    if spare not in ("n+1", "rack"):
        return np.ones(len(c.specs), bool)
    offers = list(inventory.values())

    def holds(s: int, spec: ReplicaSpec) -> bool:
        if spare == "rack":
            named = any(inventory[stage.offer].racks for stage in spec.stages)
            return not named and (not offers[s].racks or spec.gpus <= offers[s].gpus_per_server)
        counts, tp = Counter(stage.offer for stage in spec.stages), spec.gpus // max(1, len(spec.stages))
        return all(n % _servers_for(n, tp, inventory[name].gpus_per_server) == 0 for name, n in counts.items())

    return np.array([holds(s, spec) for s, spec in zip(c.offer.tolist(), c.specs, strict=True)], bool)


def _choices(
    candidates: Sequence[Candidates], placeable: Sequence[BoolArray], futures: Sequence[Scenario], horizon: Horizon
) -> tuple[tuple[tuple[str, str], ...], IntArray, IntArray]:
    """Names and workloads of the choices, and the choice of every candidate (−1: no choice to make)."""
    names: list[tuple[str, str]] = []
    workload_of: list[int] = []
    of_candidate: list[int] = []
    for t in range(horizon.n_states):
        workloads = futures[horizon.future_of(t)].workloads
        for w, c in enumerate(candidates):
            labels = [spec.choice for spec in c.specs]
            distinct = list(dict.fromkeys(itertools.compress(labels, placeable[w].tolist())))
            workload = workloads[c.workload]
            asked = workload.demand_in(horizon.period_of(t))
            if not workload.single_format or len(distinct) < 2 or not asked:
                of_candidate += [-1] * len(labels)
                continue
            position = {label: len(names) + i for i, label in enumerate(distinct)}
            of_candidate += [position.get(label, -1) for label in labels]
            names += [(c.workload, f"{label}{horizon.suffix(t)}") for label in distinct]
            workload_of += [t * len(candidates) + w] * len(distinct)
    return tuple(names), np.array(workload_of, np.int64), np.array(of_candidate, np.int64)


def _concatenate(arrays: Sequence[IntArray]) -> IntArray:
    return np.concatenate([*arrays, np.zeros(0, np.int64)]).astype(np.int64)
