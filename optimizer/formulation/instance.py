"""The program's data: sets and parameters as plain arrays, built once and never changed.

Legend: w workload, r request class of a workload, d = (w, r) demand, k candidate, l = (k, d) load that candidate k
could carry, s offer, h = (s, term), q = (w, model and weight format), p packing pattern of an offer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from catalog import Catalog
from optimizer.candidates import Candidates
from optimizer.formulation.packing import Packing, pack_offers
from optimizer.formulation.terms import ServerTerm, server_terms
from optimizer.scenario import Scenario
from optimizer.serving_config import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Instance:
    """One scenario, ready to be written as a program."""

    workload_names: tuple[str, ...]  # [W]
    priority: IntArray  # [W] lower numbers are served first where not everything can be
    is_droppable: BoolArray  # [W] the objective may leave a part of the demand unserved
    demand_names: tuple[tuple[str, str], ...]  # [D] (workload, class)
    workload_of_demand: IntArray  # [D]
    demand_rps: FloatArray  # [D] requests/s × peak × share
    offer_names: tuple[str, ...]  # [S]
    gpus_per_server: IntArray  # [S]

    candidate_names: tuple[tuple[str, str, str], ...]  # [K] (workload, offer, configuration)
    workload_of_candidate: IntArray  # [K]
    offer_of_candidate: IntArray  # [K]
    gpus_per_replica: IntArray  # [K]
    most_replicas: IntArray  # [K] enough to carry alone all that the candidate can serve

    candidate_of_load: IntArray  # [L]
    demand_of_load: IntArray  # [L]
    busy_replicas: FloatArray  # [L] demand / rate: replicas kept fully busy by the whole demand of that class
    is_split: BoolArray  # [L] the workload has several classes, so that the program must decide how to split them
    carried: FloatArray  # [L] share of the demand that one replica carries, at most 1; where the workload has one class
    max_utilization: float

    choice_names: tuple[tuple[str, str], ...]  # [Q] (workload, model and format), where one must be chosen
    workload_of_choice: IntArray  # [Q]
    choice_of_load: IntArray  # [L] index into choices, −1 where the workload may mix formats

    terms: tuple[ServerTerm, ...]  # [H]
    offer_of_term: IntArray  # [H]
    usd_per_hour: FloatArray  # [H]
    capex_usd: FloatArray  # [H]
    monthly_usd: FloatArray  # [H]
    power_kw: FloatArray  # [H]
    max_servers: FloatArray  # [H]
    most_servers: FloatArray  # [H] more are never of use, whatever the limit

    packing: Packing
    capex_budget_usd: float  # infinite when there is none
    monthly_budget_usd: float
    power_cap_kw: float

    @property
    def droppable_demands(self) -> IntArray:
        """Demands of workloads that may be served in part, or not at all."""
        return np.flatnonzero(self.is_droppable[self.workload_of_demand])

    def with_droppable(self, is_droppable: BoolArray) -> Instance:
        """The instance in which these workloads [W] may be served in part, and all others must be served whole."""
        return replace(self, is_droppable=is_droppable)

    def serving(self, share: FloatArray) -> Instance:
        """The instance in which each workload [W] asks for a share of its demand only, and for all of that."""
        busy = self.busy_replicas * share[self.workload_of_candidate[self.candidate_of_load]]
        carried = np.divide(self.max_utilization, busy, out=np.ones_like(busy), where=busy > 0)
        return replace(
            self,
            is_droppable=np.zeros_like(self.is_droppable),
            demand_rps=self.demand_rps * share[self.workload_of_demand],
            busy_replicas=busy,
            carried=np.where(self.is_split, 0.0, np.minimum(1.0, carried)),
        )


def build_instance(scenario: Scenario, catalog: Catalog, candidates: Sequence[Candidates]) -> Instance:
    """Sets and parameters of a scenario, given the candidates of each of its workloads in the scenario's order."""
    offers = list(scenario.inventory.items())
    demand_names, demand_rps = _demands(scenario)
    position = {name: w for w, name in enumerate(scenario.workloads)}
    first_demand = {name: d for d, (name, _) in reversed(list(enumerate(demand_names)))}
    offer_of_candidate = _concatenate([c.offer for c in candidates])
    gpus_per_replica = _concatenate([c.gpus_per_replica for c in candidates])

    loads = _loads(candidates, [first_demand[c.workload] for c in candidates], demand_rps)
    candidate_of_load, demand_of_load, busy_replicas = loads
    busy = np.zeros(len(offer_of_candidate))
    np.add.at(busy, candidate_of_load, busy_replicas)
    utilization = scenario.max_utilization_fraction
    n_classes = np.bincount([first_demand[w] for w, _ in demand_names], minlength=len(demand_names))
    first_of = np.array([first_demand[w] for w, _ in demand_names], np.int64)
    is_split = n_classes[first_of[demand_of_load]] > 1
    most_replicas = np.ceil(busy / utilization + 1e-6).astype(np.int64)

    choice_names, workload_of_choice, choice_of_candidate = _choices(scenario, candidates)
    terms = [
        term for name, offer in offers for term in server_terms(name, offer, catalog.gpus[offer.gpu], scenario.facility)
    ]
    index = {name: s for s, (name, _) in enumerate(offers)}
    offer_of_term = np.array([index[term.offer] for term in terms], np.int64)
    gpus_per_server = np.array([offer.gpus_per_server for _, offer in offers], np.int64)
    packing = pack_offers(gpus_per_server, offer_of_candidate, gpus_per_replica)
    # A server holds at least one packing unit, so one server a unit is always enough.
    units = np.zeros(len(offers))
    np.add.at(units, offer_of_candidate, (packing.units_per_replica * most_replicas).astype(float))
    budget = scenario.budget
    return Instance(
        workload_names=tuple(scenario.workloads),
        priority=np.array([workload.priority for workload in scenario.workloads.values()], np.int64),
        is_droppable=np.full(len(scenario.workloads), scenario.objective == "served"),
        demand_names=demand_names,
        workload_of_demand=np.array([position[name] for name, _ in demand_names], np.int64),
        demand_rps=demand_rps,
        offer_names=tuple(index),
        gpus_per_server=gpus_per_server,
        candidate_names=tuple(
            (c.workload, offers[s][0], spec.label) for c in candidates for s, spec in zip(c.offer, c.specs, strict=True)
        ),
        workload_of_candidate=np.repeat(np.arange(len(candidates)), [len(c.specs) for c in candidates]),
        offer_of_candidate=offer_of_candidate,
        gpus_per_replica=gpus_per_replica,
        most_replicas=most_replicas,
        candidate_of_load=candidate_of_load,
        demand_of_load=demand_of_load,
        busy_replicas=busy_replicas,
        is_split=is_split,
        carried=np.where(is_split, 0.0, np.minimum(1.0, utilization / busy_replicas)),
        max_utilization=utilization,
        choice_names=choice_names,
        workload_of_choice=workload_of_choice,
        choice_of_load=choice_of_candidate[candidate_of_load],
        terms=tuple(terms),
        offer_of_term=offer_of_term,
        usd_per_hour=np.array([term.usd_per_hour for term in terms], float),
        capex_usd=np.array([term.capex_usd for term in terms], float),
        monthly_usd=np.array([term.monthly_usd for term in terms], float),
        power_kw=np.array([term.power_kw for term in terms], float),
        max_servers=np.array([term.max_servers for term in terms], float),
        most_servers=units[offer_of_term],
        packing=packing,
        capex_budget_usd=np.inf if budget.capex_usd is None else budget.capex_usd,
        monthly_budget_usd=np.inf if budget.monthly_usd is None else budget.monthly_usd,
        power_cap_kw=np.inf if scenario.facility.power_cap_kw is None else scenario.facility.power_cap_kw,
    )


def _demands(scenario: Scenario) -> tuple[tuple[tuple[str, str], ...], FloatArray]:
    """Names and planned rates of every request class of every workload."""
    rows = [
        (name, request_class.name, workload.demand_rps * request_class.share_fraction)
        for name, workload in scenario.workloads.items()
        for request_class in workload.request_classes
    ]
    return tuple((w, r) for w, r, _ in rows), np.array([rps for _, _, rps in rows], float)


def _loads(
    candidates: Sequence[Candidates], first_demand: Sequence[int], demand_rps: FloatArray
) -> tuple[IntArray, IntArray, FloatArray]:
    """Every (candidate, class) pair that the candidate can serve, and the replicas that class would keep busy."""
    pairs, first_candidate = [], 0
    for c, d in zip(candidates, first_demand, strict=True):
        k, r = np.nonzero(c.rate_rps > 0)
        pairs.append((k + first_candidate, r + d, demand_rps[r + d] / c.rate_rps[k, r]))
        first_candidate += len(c.specs)
    columns = list(zip(*pairs, strict=True)) or [(), (), ()]
    return _concatenate(columns[0]), _concatenate(columns[1]), np.concatenate([*columns[2], np.zeros(0)])


def _choices(
    scenario: Scenario, candidates: Sequence[Candidates]
) -> tuple[tuple[tuple[str, str], ...], IntArray, IntArray]:
    """Names and workloads of the choices, and the choice of every candidate (−1: no choice to make)."""
    names: list[tuple[str, str]] = []
    workload_of: list[int] = []
    of_candidate: list[int] = []
    for w, c in enumerate(candidates):
        labels = [spec.choice for spec in c.specs]
        distinct = list(dict.fromkeys(labels))
        if not scenario.workloads[c.workload].single_format or len(distinct) < 2:
            of_candidate += [-1] * len(labels)
            continue
        position: Mapping[str, int] = {label: len(names) + i for i, label in enumerate(distinct)}
        of_candidate += [position[label] for label in labels]
        names += [(c.workload, label) for label in distinct]
        workload_of += [w] * len(distinct)
    return tuple(names), np.array(workload_of, np.int64), np.array(of_candidate, np.int64)


def _concatenate(arrays: Sequence[IntArray]) -> IntArray:
    return np.concatenate([*arrays, np.zeros(0, np.int64)]).astype(np.int64)
