"""Where the replicas of a decision run: on which server of which offer, as the program decided or as few as can be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from optimizer.candidates import ReplicaSpec
from optimizer.formulation import Instance
from optimizer.layout import Placement
from optimizer.placement import place
from optimizer.solve import Decision


def placements_of(
    inst: Instance, specs: Sequence[ReplicaSpec], decision: Decision
) -> tuple[dict[int, tuple[Placement, ...]], list[int]]:
    """Where every replica of each used candidate [K] runs, and how many servers each offer needs [S]."""
    placements: dict[int, list[Placement]] = {k: [] for k in np.flatnonzero(decision.n_replicas).tolist()}
    of_stages: dict[tuple[int, int], list[int]] = {}
    taken, needed = inst.footprint, [0] * len(inst.offer_names)
    in_use = np.flatnonzero(decision.n_replicas[taken.candidate])
    for s in np.unique(taken.offer[in_use]).tolist():
        here = in_use[taken.offer[in_use] == s]
        used = zip(taken.candidate[here].tolist(), taken.groups[here].tolist(), strict=True)
        groups = {k: groups * int(decision.n_replicas[k]) for k, groups in used}
        servers = decision.servers.get(s, ())
        standing = Counter(k for server in servers for k in server.candidates)
        for index, server in enumerate(servers):
            for k in server.candidates:
                if specs[k].stages:
                    stages_there = _stages_on(inst, s, specs[k]) * int(decision.n_replicas[k])
                    of_stages.setdefault((k, s), []).extend([index] * (stages_there // groups[k]))
                else:
                    one = Placement(replica=len(placements[k]), servers=(index,), rack=server.rack or None)
                    placements[k].append(one)
        apart = [k for k, n in groups.items() for _ in range(n - standing[k])]
        where = place([_stages(specs[k]) for k in apart], int(inst.gpus_per_server[s]))
        for k, indices in zip(apart, where, strict=True):
            further = tuple(index + len(servers) for index in indices)
            if specs[k].stages:
                of_stages.setdefault((k, s), []).extend(further)
            else:
                placements[k].append(Placement(replica=len(placements[k]), servers=further))
        on_one = (index for k in groups for one in placements[k] if not specs[k].stages for index in one.servers)
        of_several = (index for k in groups for index in of_stages.get((k, s), ()))
        needed[s] = 1 + max((*on_one, *of_several), default=-1)
    for k in sorted({k for k, _ in of_stages}):
        placements[k] = _over_several(inst, k, specs[k], int(decision.n_replicas[k]), of_stages)
    return {k: tuple(where) for k, where in placements.items()}, needed


def _over_several(
    inst: Instance, k: int, spec: ReplicaSpec, n_replicas: int, of_stages: Mapping[tuple[int, int], Sequence[int]]
) -> list[Placement]:
    """Replicas of a candidate on several offers, from the servers [candidate, offer] that its stages have there."""
    offer_of = {_offer(inst, s): s for of, s in of_stages if of == k}
    left = {offer: iter(of_stages[k, s]) for offer, s in offer_of.items()}
    return [
        Placement(replica=replica, servers=tuple(next(left[stage.offer]) for stage in spec.stages))
        for replica in range(n_replicas)
    ]


def _offer(inst: Instance, s: int) -> str:
    """Its name in the scenario, without the state."""
    return inst.offer_names[s].split(",")[0]


def _stages_on(inst: Instance, s: int, spec: ReplicaSpec) -> int:
    """Of a replica on several offers, how many are on one of them."""
    return sum(stage.offer == _offer(inst, s) for stage in spec.stages)


def _stages(spec: ReplicaSpec) -> tuple[int, int]:
    """(GPUs of a stage, stages) that stay together; a measured replica is one piece, and so is a stage of its own."""
    if spec.stages:
        return spec.gpus // len(spec.stages), 1
    return (spec.gpus, 1) if spec.pp is None else (spec.gpus // spec.pp, spec.pp)
