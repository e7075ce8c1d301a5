"""All configurations worth looking at: formats the workload accepts × cards × degrees that divide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from catalog import Catalog
from catalog.architecture import Architecture, architecture_of
from catalog.schema import KvFormat, Model, WeightFormat
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
    of_cards,
)

TENSOR_DEGREES = (1, 2, 4, 8, 16)
PIPELINE_DEGREES = (1, 2, 4, 8)
DATA_DEGREES = (1, 2, 4, 8)
BILLION = 1e9
_BILLIONS = ByIdentity[float]()
"""Parameters of a model."""


def enumerate_configurations(
    workload: Workload,
    offers: Sequence[Offer],
    catalog: Catalog,
    model_id: str,
    engine_id: str,
    rejected: Counter[str],
    speculation: Speculation | None = None,
) -> Configurations:
    """Configurations of one model on one engine over the cards on offer, in the order ties are broken by.

    Formats below the quality floor and formats a card cannot run are counted in `rejected`.
    """
    model, engine = catalog.models[model_id], catalog.engines[engine_id]
    architecture = architecture_of(model)
    places = _places(offers)
    gpus = tuple(catalog.gpus[gpu] for gpu, _ in places)
    weights = weight_formats(workload, catalog, model)
    kv = kv_formats(workload, catalog)
    degrees = np.array(_degrees(workload, architecture), np.int64).reshape(-1, 4)
    holds = _held(offers, places, degrees)
    if speculation is not None:
        holds &= degrees[:, 1] == 1  # engines draft without pipeline stages only
    accepted = _qualities(weights, kv, model) >= workload.min_quality_fraction - 1e-9
    runs_weights = np.array(of_cards(gpus, lambda gpu: [f.compute_dtype(engine_id, gpu) is not None for f in weights]))
    runs_kv = np.array(of_cards(gpus, lambda gpu: [f.supported_on(engine_id, gpu) for f in kv]))
    supported = runs_weights[:, :, None] & runs_kv[:, None, :]
    ways = holds.sum(axis=1)  # to cut a replica, on each card
    rejected["quality"] += int((supported & ~accepted).sum(axis=(1, 2)) @ ways)
    rejected["format"] += int((~supported).sum(axis=(1, 2)) @ ways)
    g, w, k, d = np.nonzero((supported & accepted)[..., None] & holds[:, None, None, :])
    tp, pp, dp, ep = degrees[d].T
    return Configurations(
        model, engine, None, gpus, weights, kv, g, w, k, tp, pp, dp, ep,
        links=tuple(links for _, links in places), speculation=speculation,
        drafter=drafter_of(speculation, catalog.models),
    )  # fmt: skip


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


def quality_fractions(configurations: Configurations) -> FloatArray:
    """[n]"""
    c = configurations
    quality: FloatArray = _qualities(c.weight_formats, c.kv_formats, c.model)[c.weight_format, c.kv_format]
    return quality


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
