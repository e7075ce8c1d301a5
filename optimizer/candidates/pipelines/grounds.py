"""Where stages may stand: kinds of places among the offers, and the sets of them that a pipeline may be made of."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from catalog import Catalog
from catalog.schema import Gpu
from optimizer.scenario import Offer
from optimizer.serving_config import Links, links_on

STAGES = (2, 3, 4)
"""Of a pipeline; more hand-overs gain little, and every further one multiplies the sets."""
STAGES_OF_ONE_GPU = (*STAGES, 5, 6, 7, 8)
"""The same where a stage has one GPU, so that only more stages bring more memory; those beyond `STAGES` stand on two
offers, for all sets of that many would take minutes."""
MOST_SETS = 5000
"""Sets of offers that are looked at, the smallest first; what is beyond is counted as rejected."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Offers in one region whose cards can be joined: of one vendor."""

    offers: tuple[str, ...]
    place: tuple[int, ...]
    """Of each offer, which of the places it is."""
    gpus_per_server: tuple[int, ...]
    """Of each offer."""
    gpus: tuple[Gpu, ...]
    """Of each place; those with less memory come first, so that the last stage, which samples, has most."""
    links: tuple[Links, ...]
    """Of each place."""

    def sets(self, n_stages: int, tp: int) -> Iterator[tuple[int, ...]]:
        """Offers of the stages, in the order of their places; two of them or more, each with room for a stage."""
        holding = [s for s, size in enumerate(self.gpus_per_server) if size >= tp]
        holding.sort(key=lambda s: (self.place[s], s))
        if n_stages > STAGES[-1]:
            for one, other in itertools.combinations(holding, 2):
                yield from ((one,) * n + (other,) * (n_stages - n) for n in range(1, n_stages))
            return
        for chosen in itertools.combinations_with_replacement(holding, n_stages):
            if chosen[0] != chosen[-1]:
                yield chosen


def grounds(offers: Mapping[str, Offer], catalog: Catalog) -> tuple[Ground, ...]:
    """Those among some offers that have two offers or more."""
    alike: dict[tuple[str | None, str], dict[str, Offer]] = {}
    for name, offer in offers.items():
        alike.setdefault((offer.region, catalog.gpus[offer.gpu].vendor), {})[name] = offer
    return tuple(_ground(here, catalog) for here in alike.values() if len(here) > 1)


def _ground(offers: Mapping[str, Offer], catalog: Catalog) -> Ground:
    place_of = [(offer.gpu, links_on(offer, between_servers=True)) for offer in offers.values()]
    places = sorted(dict.fromkeys(place_of), key=lambda place: catalog.gpus[place[0]].visible_memory_gib)
    return Ground(
        offers=tuple(offers),
        place=tuple(places.index(place) for place in place_of),
        gpus_per_server=tuple(offer.gpus_per_server for offer in offers.values()),
        gpus=tuple(catalog.gpus[gpu] for gpu, _ in places),
        links=tuple(links for _, links in places),
    )
