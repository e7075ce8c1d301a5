"""The program's data: sets and parameters as plain arrays, built once and never changed.

Legend: w workload, r request class of a workload, d = (w, r) demand, k candidate, l = (k, d) load that candidate k
could carry, s offer, h = (s, term), q = (w, model and weight format), p packing pattern of an offer, j site, o order.

With several periods, or futures, every set holds one copy a state (a period of a future), the first state's first:
workload w of state t is t · W + w, and so on; only orders belong to all of them. Names then end in the state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from catalog import Catalog
from optimizer.candidates import Candidates
from optimizer.formulation.failures import StandBy, stand_by
from optimizer.formulation.horizon import Horizon
from optimizer.formulation.needs import Footprint, Needs, build_needs
from optimizer.formulation.orders import Orders, build_orders
from optimizer.formulation.packing import Packing, pack_offers
from optimizer.formulation.sites import Places, Sites, Standing, build_sites, most_replicas_with_spare
from optimizer.formulation.spot import SpotSpares, spot_spares
from optimizer.formulation.survival import Loads, Survival, build_survival
from optimizer.formulation.terms import ServerTerm, server_terms
from optimizer.scenario import Offer, Scenario, Spare
from optimizer.serving_config import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Instance:
    """One scenario, ready to be written as a program."""

    horizon: Horizon
    workload_names: tuple[str, ...]  # [W]
    priority: IntArray  # [W] lower numbers are served first where not everything can be
    is_droppable: BoolArray  # [W] the objective may leave a part of the demand unserved
    demand_names: tuple[tuple[str, str], ...]  # [D] (workload, class)
    demand_rps: FloatArray  # [D] requests/s × peak × share
    workload_of_demand: IntArray  # [D]
    class_of_demand: IntArray  # [D] position among the workload's classes
    offer_names: tuple[str, ...]  # [S]
    gpus_per_server: IntArray  # [S]

    candidate_names: tuple[tuple[str, str, str], ...]  # [K] (workload, offer, configuration)
    workload_of_candidate: IntArray  # [K]
    offer_of_candidate: IntArray  # [K]
    gpus_per_replica: IntArray  # [K]
    footprint: Footprint
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
    usd_per_hour: FloatArray  # [H] expected present value over the horizon, divided by its hours
    capex_usd: FloatArray  # [H]
    monthly_usd: FloatArray  # [H]
    power_kw: FloatArray  # [H]
    max_servers: FloatArray  # [H]
    most_servers: FloatArray  # [H] more are never of use, whatever the limit
    spot: SpotSpares
    is_spot: BoolArray  # [H]
    stand_by: StandBy

    packing: Packing
    spare: tuple[Spare, ...]  # [W] what the workload must survive the loss of
    rack_room: FloatArray  # [S] servers that the racks of an offer hold, infinite where it names none
    sites: Sites
    survival: Survival
    orders: Orders
    capex_budget_usd: float  # infinite when there is none
    capex_per_period_usd: FloatArray  # [T] likewise
    monthly_budget_usd: float
    power_cap_kw: float

    @property
    def has_spare(self) -> BoolArray:
        """[W] whether the workload must survive any loss."""
        return np.array([spare != "none" for spare in self.spare], bool)

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

    @property
    def state_of_term(self) -> IntArray:
        """[H]"""
        return np.array([term.state for term in self.terms], np.int64)

    def term_name(self, h: int | np.int64) -> str:
        """`node,rent`, or `node,rent,1` where there are several periods."""
        term = self.terms[h]
        return f"{term.offer},{term.label}{self.horizon.suffix(term.state)}"


def build_instance(
    scenario: Scenario, catalog: Catalog, candidates: Sequence[Candidates], *, beyond_limits: bool = False
) -> Instance:
    """Sets and parameters of a scenario, given the candidates of each of its workloads in the scenario's order.

    Sites and spares are those that the offers' limits allow, or with `beyond_limits` all that can be of use, so that
    the limits stand in their own rows only and can be left out.
    """
    horizon = Horizon.of(scenario)
    needs = build_needs(scenario, candidates, horizon)
    had = _to_be_had(scenario, catalog, horizon)
    terms, utilization, budget = had.terms, scenario.max_utilization_fraction, scenario.budget
    limits = np.full(len(terms), np.inf) if beyond_limits else had.max_servers
    use = _most_use(needs, had, utilization, limits)
    is_reserved = np.array([term.term == "reserve" for term in terms], bool) & horizon.has_orders
    weight = np.array([horizon.weight(term.state) if horizon.has_orders else 1.0 for term in terms], float)
    return Instance(
        horizon=horizon,
        workload_names=needs.workload_names,
        priority=np.tile([workload.priority for workload in scenario.workloads.values()], horizon.n_states),
        is_droppable=np.full(len(needs.workload_names), scenario.objective == "served"),
        demand_names=needs.demand_names,
        demand_rps=needs.demand_rps,
        workload_of_demand=needs.workload_of_demand,
        class_of_demand=needs.class_of_demand,
        offer_names=had.names,
        gpus_per_server=had.gpus_per_server,
        candidate_names=needs.candidate_names,
        workload_of_candidate=needs.workload_of_candidate,
        offer_of_candidate=needs.offer_of_candidate,
        gpus_per_replica=needs.gpus_per_replica,
        footprint=needs.footprint,
        most_replicas=use.most_replicas,
        candidate_of_load=needs.candidate_of_load,
        demand_of_load=needs.demand_of_load,
        busy_replicas=needs.busy_replicas,
        is_split=needs.is_split,
        carried=np.where(needs.is_split, 0.0, np.minimum(1.0, utilization / needs.busy_replicas)),
        max_utilization=utilization,
        choice_names=needs.choice_names,
        workload_of_choice=needs.workload_of_choice,
        choice_of_load=needs.choice_of_candidate[needs.candidate_of_load],
        terms=terms,
        offer_of_term=had.offer_of_term,
        # Commitments are paid by their orders, used or not.
        usd_per_hour=np.where(is_reserved, 0.0, weight * np.array([term.usd_per_hour for term in terms], float)),
        capex_usd=np.array([term.capex_usd for term in terms], float),
        monthly_usd=np.array([term.monthly_usd for term in terms], float),
        power_kw=np.array([term.power_kw for term in terms], float),
        max_servers=had.max_servers,
        most_servers=(use.units + np.bincount(use.stand_by.offer, minlength=len(use.units)))[had.offer_of_term],
        spot=spot_spares(
            terms,
            [scenario.inventory[term.offer] for term in terms],
            np.minimum(use.units[had.offer_of_term], limits),
        ),
        is_spot=np.array([term.term == "spot" for term in terms], bool),
        stand_by=use.stand_by,
        packing=use.packing,
        spare=needs.spare,
        rack_room=np.array([sum(racks.values()) if racks else np.inf for racks in had.places.racks], float),
        sites=use.sites,
        survival=build_survival(use.sites, _loads(needs)),
        orders=build_orders(scenario.inventory, horizon),
        capex_budget_usd=np.inf if budget.capex_usd is None else budget.capex_usd,
        capex_per_period_usd=np.array(budget.capex_per_period_usd or [np.inf] * horizon.n_periods, float),
        monthly_budget_usd=np.inf if budget.monthly_usd is None else budget.monthly_usd,
        power_cap_kw=np.inf if scenario.facility.power_cap_kw is None else scenario.facility.power_cap_kw,
    )


@dataclass(frozen=True, slots=True)
class _ToBeHad:
    """Offers and their terms in every state."""

    names: tuple[str, ...]  # [S]
    offers: tuple[Offer, ...]  # [S]
    places: Places  # [S]
    gpus_per_server: IntArray  # [S]
    terms: tuple[ServerTerm, ...]  # [H]
    offer_of_term: IntArray  # [H]
    max_servers: FloatArray  # [H]


def _to_be_had(scenario: Scenario, catalog: Catalog, horizon: Horizon) -> _ToBeHad:
    offers = list(scenario.inventory.items())
    terms = [
        term
        for t in range(horizon.n_states)
        for name, offer in offers
        for term in server_terms(name, offer, catalog.gpus[offer.gpu], scenario.facility, horizon, t)
    ]
    position = {name: s for s, (name, _) in enumerate(offers)}
    names = tuple(f"{name}{horizon.suffix(t)}" for t in range(horizon.n_states) for name, _ in offers)
    places = Places(
        names=names,
        racks=[offer.racks for _, offer in offers] * horizon.n_states,
        regions=[offer.region for _, offer in offers] * horizon.n_states,
    )
    return _ToBeHad(
        names=names,
        offers=tuple(offer for _, offer in offers) * horizon.n_states,
        places=places,
        gpus_per_server=np.tile(np.array([offer.gpus_per_server for _, offer in offers], np.int64), horizon.n_states),
        terms=tuple(terms),
        offer_of_term=np.array([term.state * len(offers) + position[term.offer] for term in terms], np.int64),
        max_servers=np.array([term.max_servers for term in terms], float),
    )


@dataclass(frozen=True, slots=True)
class _MostUse:
    """The most replicas and servers that can be of use, and where replicas may stand."""

    most_replicas: IntArray  # [K]
    sites: Sites
    packing: Packing
    units: FloatArray  # [S] packing units of all those replicas
    stand_by: StandBy


def _most_use(needs: Needs, had: _ToBeHad, utilization: float, limits: FloatArray) -> _MostUse:
    """`limits` [H] bound the servers of a term that sites are made for."""
    n_offers, footprint = len(had.offers), needs.footprint
    busy = np.zeros(len(needs.offer_of_candidate))
    np.add.at(busy, needs.candidate_of_load, needs.busy_replicas)
    n_alone = np.where(busy > 0, np.ceil(busy / utilization + 1e-6), 0).astype(np.int64)
    standing = _standing(needs, n_alone)
    most_replicas = np.maximum(n_alone, most_replicas_with_spare(standing, busy, had.gpus_per_server))
    limit = np.bincount(had.offer_of_term, weights=limits, minlength=n_offers).astype(float)
    by_site = np.isin(np.arange(n_offers), footprint.offer[standing.placed(had.places)])
    packing = pack_offers(had.gpus_per_server, footprint, by_site)
    # A server holds at least one packing unit, so one server a unit is always enough.
    units = np.zeros(n_offers)
    np.add.at(units, footprint.offer, (packing.units_per_replica * most_replicas[footprint.candidate]).astype(float))
    return _MostUse(
        most_replicas=most_replicas,
        sites=build_sites(standing, had.places, had.gpus_per_server, limit),
        packing=packing,
        units=units,
        stand_by=stand_by(had.offers, units),
    )


def _standing(needs: Needs, n_alone: IntArray) -> Standing:
    classes = np.zeros((len(n_alone), 1 + needs.class_of_demand.max(initial=0)), bool)
    classes[needs.candidate_of_load, needs.class_of_demand[needs.demand_of_load]] = True
    return Standing(
        workload=needs.workload_of_candidate,
        choice=needs.choice_of_candidate,
        offer=needs.offer_of_candidate,
        gpus=needs.gpus_per_replica,
        n_alone=n_alone,
        names=tuple(f"{w},{label}" for w, _, label in needs.candidate_names),
        labels=tuple(",".join(name) for name in needs.candidate_names),
        classes=classes,
        spare=needs.spare,
        footprint=needs.footprint,
    )


def _loads(needs: Needs) -> Loads:
    return Loads(
        candidate=needs.candidate_of_load,
        demand=needs.demand_of_load,
        choice=needs.choice_of_candidate[needs.candidate_of_load],
        busy_replicas=needs.busy_replicas,
        is_split=needs.is_split,
        workload_of_candidate=needs.workload_of_candidate,
        footprint=needs.footprint,
        candidate_labels=[",".join(name) for name in needs.candidate_names],
        demand_classes=[r for _, r in needs.demand_names],
        choice_labels=[",".join(name) for name in needs.choice_names],
    )
