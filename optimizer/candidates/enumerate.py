"""All configurations worth looking at: formats the workload accepts × cards × degrees that divide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np
from numpy.typing import ArrayLike

from catalog import Catalog
from catalog.architecture import Architecture, architecture_of
from catalog.schema import Engine, Gpu, KvFormat, Model, WeightFormat
from optimizer.memory import may_draft
from optimizer.memory.identity import ByIdentity
from optimizer.memory.weights import effective_format
from optimizer.scenario import Offer, Speculation, Workload
from optimizer.scenario.speculation import ENGINES_THAT_DRAFT
from optimizer.serving_config import (
    BoolArray,
    Configurations,
    FloatArray,
    IntArray,
    Links,
    drafter_of,
    links_on,
)

TENSOR_DEGREES = (1, 2, 4, 8, 16)
PIPELINE_DEGREES = (1, 2, 4, 8)
DATA_DEGREES = (1, 2, 4, 8)
BILLION = 1e9
_BILLIONS = ByIdentity[float]()
"""Parameters of a model."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What may be chosen for a replica of one model on one engine, drafting one way, over the cards on offer."""

    model: Model
    engine: Engine
    speculation: Speculation | None
    drafter: Model | None
    cards: tuple[Gpu, ...]  # [G] each once
    places: tuple[tuple[str, Links], ...]  # [P] cards as offers join them
    card_of_place: IntArray  # [P]
    weights: tuple[WeightFormat, ...]  # [W]
    caches: tuple[KvFormat, ...]  # [K]
    degrees: IntArray  # [D, 4] tp, pp, dp, ep
    holds: BoolArray  # [P, D] some offer of the card, joined so, has room
    within_reach: BoolArray  # [D] some offer at any distance has
    supported: BoolArray  # [G, W, K]
    quality: FloatArray  # [W, K]

    def accepted(self, floor: float) -> BoolArray:
        """[G, W, K] the formats that run, of no less than that quality."""
        return self.supported & (self.quality >= floor - 1e-9)

    @property
    def n_configurations(self) -> int:
        """Of all formats, whether they run or not."""
        return int(self.holds.sum()) * len(self.weights) * len(self.caches)

    def refused(self, floor: float) -> Counter[str]:
        """How many configurations are not accepted, and why."""
        ways = self.holds.sum(axis=1)  # to cut a replica, in each place
        too_poor = (self.supported & ~self.accepted(floor)).sum(axis=(1, 2))
        unknown = (~self.supported).sum(axis=(1, 2))
        return Counter(quality=int(too_poor[self.card_of_place] @ ways), format=int(unknown[self.card_of_place] @ ways))

    def among_formats(self, weights: BoolArray, caches: BoolArray) -> Choices:
        """The same with some formats [W] and some types of cache [K] only."""
        return replace(
            self,
            weights=tuple(compress(self.weights, weights.tolist())),
            caches=tuple(compress(self.caches, caches.tolist())),
            supported=self.supported[:, weights][:, :, caches],
            quality=self.quality[weights][:, caches],
        )

    def configurations(self, chosen: BoolArray) -> Configurations:
        """Those of the chosen formats [G, W, K], in the order ties are broken by."""
        g, w, k, d = np.nonzero(chosen[self.card_of_place][..., None] & self.holds[:, None, None, :])
        gpus = tuple(self.cards[card] for card in self.card_of_place.tolist())
        return self._configurations(gpus, g, w, k, d, tuple(links for _, links in self.places))

    def among(self, chosen: BoolArray, c: Configurations) -> BoolArray:
        """[n] whether configurations made from these choices are in the chosen formats."""
        return chosen[self.card_of_place[c.gpu], c.weight_format, c.kv_format]

    def at_degrees(self) -> Configurations:
        """One for each of the degrees within reach, on the first of the cards, in the first formats."""
        d = np.flatnonzero(self.within_reach)
        first = np.zeros_like(d)
        within = (Links(None, between_servers=False, network_gb_per_s=None),) * len(self.cards)
        return self._configurations(self.cards, first, first, first, d, within)

    def _configurations(
        self, gpus: tuple[Gpu, ...], g: IntArray, w: IntArray, k: IntArray, d: IntArray, links: tuple[Links, ...]
    ) -> Configurations:
        tp, pp, dp, ep = self.degrees[d].T
        return Configurations(
            self.model, self.engine, None, gpus, self.weights, self.caches, g, w, k, tp, pp, dp, ep,
            links=links, speculation=self.speculation, drafter=self.drafter,
        )  # fmt: skip


def choices_of(
    workload: Workload,
    offers: Sequence[Offer],
    catalog: Catalog,
    model_id: str,
    engine_id: str,
    speculation: Speculation | None = None,
    *,
    reach: Sequence[Offer] | None = None,
) -> Choices:
    """What a workload may choose on some offers; `reach` is all that it may be served on, at any distance."""
    reach = offers if reach is None else reach
    model, places = catalog.models[model_id], _places(offers)
    cards = list(dict.fromkeys(offer.gpu for offer in reach))
    gpus = tuple(catalog.gpus[card] for card in cards)
    weights, caches = weight_formats(workload, catalog, model), kv_formats(workload, catalog)
    degrees = np.array(_degrees(workload, architecture_of(model)), np.int64).reshape(-1, 4)
    if speculation is not None:
        degrees = degrees[degrees[:, 1] == 1]  # engines draft without pipeline stages only
    holds = _held(offers, places, degrees)
    runs_weights = [[one.compute_dtype(engine_id, gpu) is not None for one in weights] for gpu in gpus]
    runs_caches = [[one.supported_on(engine_id, gpu) for one in caches] for gpu in gpus]
    return Choices(
        model=model,
        engine=catalog.engines[engine_id],
        speculation=speculation,
        drafter=drafter_of(speculation, catalog.models),
        cards=gpus,
        places=places,
        card_of_place=np.array([cards.index(card) for card, _ in places], np.int64),
        weights=weights,
        caches=caches,
        degrees=degrees,
        holds=holds,
        within_reach=np.asarray((holds if reach == offers else _held(reach, _places(reach), degrees)).any(axis=0)),
        supported=np.array(runs_weights)[:, :, None] & np.array(runs_caches)[:, None, :],
        quality=_qualities(weights, caches, model),
    )


def accepted_only(choices: Sequence[Choices], floor: float) -> list[Choices]:
    """Ways to run one model with the formats only that some way and card runs, of no less than that quality."""
    accepted = np.concatenate([of_way.accepted(floor) for of_way in choices])
    if not accepted.any():
        return list(choices)
    weights, caches = (np.asarray(accepted.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    return [of_way.among_formats(weights, caches) for of_way in choices]


def ways_to_draft(
    workload: Workload, model: Model, engine_id: str, models: Mapping[str, Model]
) -> tuple[Speculation | None, ...]:
    """Without drafts first, then as the workload allows, where model and engine can."""
    drafts = workload.speculative
    if drafts is None or engine_id not in ENGINES_THAT_DRAFT:
        return (None,)
    drafter = drafter_of(drafts, models)
    may = may_draft(model, drafts.method, drafter, workload.max_context_tokens)
    return (None, drafts) if may else (None,)


def server_holds(gpus_per_server: ArrayLike, stage_gpus: ArrayLike, replica_gpus: ArrayLike) -> BoolArray:
    """Whether replicas have a place on servers of a size: inside one, or filling whole servers stage by stage.

    A tensor-parallel group never leaves its server. A pipeline larger than a server takes servers whole.
    """
    server, stage, replica = np.asarray(gpus_per_server), np.asarray(stage_gpus), np.asarray(replica_gpus)
    result: BoolArray = (replica <= server) | ((server % stage == 0) & (replica % server == 0))
    return result


def places_on(offers: Sequence[Offer], configurations: Configurations) -> tuple[BoolArray, IntArray]:
    """[p, S] whether each offer has a place for replicas of p kinds, joined as they have it; [n] the kind of each."""
    c, gpus, stage = configurations, configurations.gpus_per_replica, configurations.gpus_per_stage
    most = 1 + gpus.max(initial=0)
    _, first, kind = np.unique((c.gpu * most + stage) * most + gpus, return_index=True, return_inverse=True)
    card, gpus, stage = c.gpu[first], gpus[first], stage[first]
    cards = [(gpu.id, links) for gpu, links in zip(c.gpus, c.links_of_cards, strict=True)]
    columns = []
    for offer in offers:
        inside, across = ((offer.gpu, links_on(offer, between_servers=many)) for many in (False, True))
        is_inside, is_across = (np.array([one == place for one in cards])[card] for place in (inside, across))
        joined = np.where(gpus > offer.gpus_per_server, is_across, is_inside)
        columns.append(joined & server_holds(offer.gpus_per_server, stage, gpus))
    return np.stack(columns, axis=1), kind


def _places(offers: Sequence[Offer]) -> tuple[tuple[str, Links], ...]:
    """Cards as the offers join them, each once: on one server, and over several where a pipeline may need these."""
    return tuple(dict.fromkeys((o.gpu, links_on(o, between_servers=many)) for o in offers for many in (False, True)))


def _held(offers: Sequence[Offer], places: Sequence[tuple[str, Links]], degrees: IntArray) -> BoolArray:
    """[places, degrees] whether some offer of the card, joined so, has room."""
    tp, pp, dp, _ = degrees.T
    stage, replica = tp * dp, tp * dp * pp
    held = np.zeros((len(places), len(degrees)), bool)
    for offer in offers:
        room = server_holds(offer.gpus_per_server, stage, replica)
        over_several = replica > offer.gpus_per_server
        for many, rows in ((False, room & ~over_several), (True, room & over_several)):
            held[places.index((offer.gpu, links_on(offer, between_servers=many)))] |= rows
    return held


def weight_formats(workload: Workload, catalog: Catalog, model: Model) -> tuple[WeightFormat, ...]:
    """The formats named by the workload, or every one of known quality; best quality first.

    A format that is made for models trained in it (gpt-oss in MXFP4) is not offered to other models.
    """
    if workload.weight_dtypes is not None:
        return tuple(catalog.formats[name] for name in workload.weight_dtypes)
    known = [
        (quality, f)
        for f in catalog.formats.values()
        if (quality := _quality_of_weights(f, model)) is not None
        and (f.native_quality is None or _is_published(f, model))
    ]
    return tuple(f for _, f in sorted(known, key=lambda pair: (-pair[0], -pair[1].bits_per_weight, pair[1].id)))


def kv_formats(workload: Workload, catalog: Catalog) -> tuple[KvFormat, ...]:
    """The types named by the workload, or every one of known quality; `auto` first."""
    if workload.kv_cache_dtypes is not None:
        return tuple(catalog.kv_formats[name] for name in workload.kv_cache_dtypes)
    known = [f for f in catalog.kv_formats.values() if f.quality.typical_fraction is not None]
    return tuple(sorted(known, key=lambda f: (f.id != "auto", -f.bytes_per_value, f.id)))


def quality_fraction(weights: WeightFormat, kv: KvFormat, model: Model) -> float:
    """Weights and cache lose quality independently; what is unknown was named by the user and is let through."""
    return weight_quality(weights, model) * kv_quality(kv)


def _qualities(weights: Sequence[WeightFormat], kv: Sequence[KvFormat], model: Model) -> FloatArray:
    """[weights, kv]"""
    return np.outer([weight_quality(f, model) for f in weights], [kv_quality(f) for f in kv])


def weight_quality(weights: WeightFormat, model: Model) -> float:
    """Of the weights alone."""
    known = _quality_of_weights(weights, model)
    return 1.0 if known is None else known


def kv_quality(kv: KvFormat) -> float:
    """Of the cache alone."""
    known = kv.quality_fraction()
    return 1.0 if known is None else known


def _quality_of_weights(weights: WeightFormat, model: Model) -> float | None:
    billions = _BILLIONS.get((model,), lambda: architecture_of(model).parameters / BILLION)
    return weights.quality_fraction(billions, native=_is_published(weights, model))


def _is_published(weights: WeightFormat, model: Model) -> bool:
    """Whether the engine loads the model's own checkpoint in this format."""
    return effective_format(model, weights) == model.checkpoint.weight_format


def _degrees(workload: Workload, architecture: Architecture) -> list[tuple[int, int, int, int]]:
    """(tp, pp, dp, ep) worth trying, smallest first.

    dp > 1 shares nothing but the experts, so it is tried only where experts exist and tensor parallelism would copy the
    cache instead of splitting it: one latent head (MLA), or fewer key/value heads than ranks.
    """
    shared_cache = any(layer.cache.kind == "latent" for layer in architecture.layers)
    degrees = []
    for tp in workload.tp or TENSOR_DEGREES:
        for pp in workload.pp or PIPELINE_DEGREES:
            for dp in workload.dp or DATA_DEGREES:
                gpus = tp * pp * dp
                copies_cache = shared_cache or tp * dp > architecture.n_kv_heads
                if gpus > workload.max_gpus_per_replica or architecture.n_heads % tp:
                    continue
                if dp > 1 and not (workload.dp or (architecture.n_experts and copies_cache)):
                    continue
                experts = architecture.n_experts and tp * dp > 1 and architecture.n_experts % (tp * dp) == 0
                degrees += [(tp, pp, dp, 1), (tp, pp, dp, tp * dp)] if experts else [(tp, pp, dp, 1)]
    return sorted(degrees, key=lambda t: (t[0] * t[1] * t[2], t[1], t[2], t[3]))


def batch_sizes(workload: Workload) -> IntArray:
    """Batch sizes to choose from: the workload's own, else about eight an octave from 1 to 1024."""
    if workload.max_batch_size is not None:
        return np.array(sorted(workload.max_batch_size), np.int64)
    return np.unique(np.round(2.0 ** np.arange(0, 10.0625, 0.125)).astype(np.int64))
