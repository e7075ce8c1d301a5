"""Ratings kept from one scenario to the next: what prices, budgets and demand leave as it is is computed once.

A rating depends on all that is in its key, and the key holds everything in a scenario but what is named here as of no
account: a field that comes later is in the key until someone shows that it need not be.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from catalog import Catalog
from optimizer.candidates.figures import ReplicaFigures
from optimizer.candidates.rated import Rated
from optimizer.candidates.spec import Candidates, ReplicaSpec
from optimizer.kept import MOST_KEPT, Kept
from optimizer.scenario import Offer, Scenario, Workload

ONLY_MONEY_AND_LIMITS = {
    "name",
    "horizon_months",
    "periods",
    "discount_rate_per_year",
    "workloads",  # the one that is rated has a place of its own in the key
    "inventory",
    "facility",
    "budget",
    "max_utilization_fraction",
    "objective",
}
"""Fields of a scenario that no configuration's memory, latency or rate depends on."""
ONLY_DEMAND = {"requests", "requests_per_period_rps", "peak_factor", "growth_fraction_per_period", "priority", "spare"}
"""Likewise of a workload."""
ONLY_TERMS = {"own", "buy", "rent", "reserve", "spot", "power_kw_per_server", "price_source"}
"""Likewise of an offer."""


@dataclass(frozen=True, slots=True)
class Rating:
    """Everything lawful of one workload on the cards on offer, before what is dominated goes."""

    found: tuple[Rated, ...]
    """For each model on each engine."""
    n_evaluated: int
    rejected: Counter[str]
    nearest_ms: Mapping[str, float]


class Ratings:
    """The ratings last used, at most `most` of them, the candidates last made of them and figures last shown."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self.rated: Kept[Rating] = Kept(most)
        """By `rating_key`: demand may change."""
        self.candidates: Kept[Candidates] = Kept(most)
        """By `candidates_key`: only prices, budgets and terms may change."""
        self.figures: Kept[ReplicaFigures] = Kept(most)
        """By `figures_key`: demand may change."""


def shared_key(scenario: Scenario, catalog: Catalog) -> str:
    """What the ratings of all workloads of a scenario depend on, as text."""
    return _text([catalog.version, scenario.model_dump(mode="json", exclude=ONLY_MONEY_AND_LIMITS)])


def rating_key(shared: str, workload: Workload, offers: Sequence[Offer], reach: Sequence[Offer] = ()) -> str:
    """What the rating of a workload on some offers depends on: equal keys, equal ratings.

    `reach` is the offers on which formats must be worth rating; none where all formats are rated.
    """
    near, all_ = ([offer.model_dump(mode="json", exclude=ONLY_TERMS) for offer in some] for some in (offers, reach))
    return _text([shared, near, all_, workload.model_dump(mode="json", exclude=ONLY_DEMAND)])


def candidates_key(rating: str, name: str, alone_rps: float, is_one_of_several: bool) -> str:
    """What the candidates of a workload depend on beside its rating.

    `alone_rps` is its demand at full use, `is_one_of_several` whether it has others on offers at other distances.
    """
    return _text([rating, name, alone_rps, is_one_of_several])


def figures_key(shared: str, workload: Workload, spec: ReplicaSpec) -> tuple[str, ReplicaSpec]:
    """What the figures of a replica that serves a workload depend on."""
    return _text([shared, workload.model_dump(mode="json", exclude=ONLY_DEMAND)]), spec


def _text(parts: list[object]) -> str:
    return json.dumps(parts, sort_keys=True, separators=(",", ":"))
