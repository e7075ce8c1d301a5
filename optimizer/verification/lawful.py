"""Does every predicted replica keep to what its workload allows?"""

from __future__ import annotations

from collections.abc import Iterator

from catalog import Catalog
from catalog.architecture import architecture_of
from catalog.schema import Model, WeightFormat
from optimizer.layout import ReplicaGroup
from optimizer.memory import may_draft
from optimizer.scenario import Workload
from optimizer.scenario.speculation import ENGINES_THAT_DRAFT
from optimizer.serving_config import drafter_of
from optimizer.verification.claims import NOTHING, Claims, agree, number
from optimizer.verification.pipelines import broken_stages, unlawful_stages

BILLION = 1e9
MOST = dict.fromkeys(("tp", "pp", "dp", "ep"), 4096) | dict.fromkeys(
    ("max_batch_size", "max_model_len", "max_num_batched_tokens"), 10**9
)
"""Largest settings that are computed at all, the same that a scenario may ask for."""


def lawful(claims: Claims) -> Iterator[str]:
    """Models, formats, engines, degrees, batch, context and quality are those the workload accepts."""
    for name, workload, group in claims.groups():
        if workload.measured is None:
            faults = unknown(group, claims.catalog)
            yield from (f"{name}: {what}" for what in faults)
            if not faults:
                yield from (f"{name}: {what}" for what in unlawful_stages(workload, group, claims.catalog))
            yield from _choices(name, workload, group)
            yield from _sizes(name, workload, group)
            yield from _drafts(name, workload, group, claims.catalog)
            yield from _quality(name, workload, group, claims.catalog)


def unknown(group: ReplicaGroup, catalog: Catalog) -> list[str]:
    """What keeps a predicted group from being computed again: names that the catalog lacks, settings left out."""
    found = [
        f"{key} is {name}, which the catalog does not have"
        for key, name, known in (
            ("model", group.model, catalog.models),
            *([("weight_dtype", group.weight_dtype, catalog.formats)] if group.stages is None else ()),
            ("kv_cache_dtype", group.kv_cache_dtype, catalog.kv_formats),
            ("engine", group.engine, catalog.engines),
            ("gpu", group.gpu, catalog.gpus),
        )
        if name not in known
    ]
    found += [
        f"{key} is {getattr(group, key)}, expected 1 to {most}"
        for key, most in MOST.items()
        if not 1 <= (getattr(group, key) or 0) <= most
    ]
    if not 0 < (group.gpu_memory_utilization or 0) <= 1:
        found.append(f"gpu_memory_utilization is {group.gpu_memory_utilization}, expected a fraction between 0 and 1")
    found += broken_stages(group, catalog)
    version = group.engine_version
    if version is not None and not all(part.isdecimal() for part in version.split(".")):
        found.append(f"engine_version is {version}, which is no number such as 0.19")
    return found


def _choices(name: str, workload: Workload, group: ReplicaGroup) -> Iterator[str]:
    for key, planned, accepted in (
        ("model", group.model, workload.models),
        *(("weight_dtype", weights, workload.weight_dtypes) for weights in _formats(group)),
        ("kv_cache_dtype", group.kv_cache_dtype, workload.kv_cache_dtypes),
        ("engine", group.engine, workload.engines),
        ("tp", group.tp, workload.tp),
        ("pp", group.pp, workload.pp),
        ("dp", group.dp, workload.dp),
        ("max_batch_size", group.max_batch_size, workload.max_batch_size),
        ("max_num_batched_tokens", group.max_num_batched_tokens, workload.max_num_batched_tokens),
    ):
        if accepted is not None and planned not in accepted:
            yield f"{name}: {key} is {planned}, the workload accepts {', '.join(map(str, accepted))}"
    asked = workload.gpu_memory_utilization
    if asked is not None and group.gpu_memory_utilization != asked:
        yield f"{name}: gpu_memory_utilization is {group.gpu_memory_utilization}, the workload asks for {asked}"


def _drafts(name: str, workload: Workload, group: ReplicaGroup, catalog: Catalog) -> Iterator[str]:
    """Tokens are drafted only as the workload allows, where engine, stages and model can."""
    asked, planned = workload.speculative, group.speculative
    if planned is None:
        return
    if asked is None:
        yield f"{name}: speculative is {planned.method}, the workload allows no drafts"
        return
    for key, claimed, true in (
        ("method", planned.method, asked.method),
        ("tokens", planned.tokens, asked.tokens),
        ("acceptance_fraction", planned.acceptance_fraction, asked.likely_fraction),
        ("estimated", planned.estimated, asked.acceptance_fraction is None),
        ("draft", planned.draft, asked.draft),
    ):
        if claimed != true:
            yield f"{name}: speculative.{key} is {claimed}, the workload says {true}"
    if group.engine not in ENGINES_THAT_DRAFT or group.pp != 1:
        yield f"{name}: {group.engine} with pp {group.pp} drafts no tokens"
    model = catalog.models.get(str(group.model))
    drafter, longest = drafter_of(asked, catalog.models), workload.max_context_tokens
    if model is not None and not may_draft(model, asked.method, drafter, longest):
        yield f"{name}: {group.model} has nothing to draft with by {asked.method}"


def _sizes(name: str, workload: Workload, group: ReplicaGroup) -> Iterator[str]:
    degrees = (group.tp or 1) * (group.pp or 1) * (group.dp or 1)
    if group.gpus_per_replica != degrees:
        yield f"{name}: gpus_per_replica is {group.gpus_per_replica}, tp × pp × dp is {degrees}"
    ranks = (group.tp or 1) * (group.dp or 1)
    if group.engine == "vllm" and group.ep not in (1, ranks):  # --enable-expert-parallel takes all ranks of a stage
        yield f"{name}: ep is {group.ep}, vllm spreads experts over none or all of tp × dp = {ranks} ranks"
    if group.gpus_per_replica > workload.max_gpus_per_replica:
        yield (
            f"{name}: {group.gpus_per_replica} GPUs a replica, max_gpus_per_replica is {workload.max_gpus_per_replica}"
        )
    if (group.max_model_len or 0) < workload.max_context_tokens:
        yield (
            f"{name}: max_model_len is {group.max_model_len}, "
            f"requests of {workload.max_context_tokens} tokens must be accepted"
        )


def _is_published(model: Model, weights: WeightFormat) -> bool:
    """Whether the model's own checkpoint is in this format; `fp8` stands for a published block FP8."""
    published = model.checkpoint.weight_format
    return weights.id == published or (weights.id == "fp8" and published == "fp8-block")


def _quality(name: str, workload: Workload, group: ReplicaGroup, catalog: Catalog) -> Iterator[str]:
    """Weights and cache lose quality independently; an unknown loss is let through where the format was named."""
    if unknown(group, catalog):
        return
    model, kv = catalog.models[str(group.model)], catalog.kv_formats[str(group.kv_cache_dtype)]
    billions = architecture_of(model).parameters / BILLION
    of_kv = kv.quality_fraction()
    of_weights = 0.0
    formats, layers = _formats(group), _layers(group)
    for weights, n_layers in zip((catalog.formats[one] for one in formats), layers, strict=True):
        known = weights.quality_fraction(billions, native=_is_published(model, weights))
        if known is None and workload.weight_dtypes is None:
            yield f"{name}: the quality of {weights.id} is not known, and the workload does not name it"
        of_weights += n_layers / sum(layers) * (1.0 if known is None else known)
    if of_kv is None and workload.kv_cache_dtypes is None:
        yield f"{name}: the quality of the KV cache in {kv.id} is not known, and the workload does not name it"
    quality = of_weights * (1.0 if of_kv is None else of_kv)
    if group.quality is None or not agree(group.quality, quality):
        yield f"{name}: quality is {group.quality}, the catalog gives {number(quality)}"
    if quality < workload.min_quality_fraction - NOTHING:
        yield f"{name}: quality is {number(quality)}, min_quality is {number(workload.min_quality_fraction)}"


def _formats(group: ReplicaGroup) -> list[str]:
    """Of the weights, or where stages differ of those of each."""
    return [str(group.weight_dtype)] if group.stages is None else [stage.weight_dtype for stage in group.stages]


def _layers(group: ReplicaGroup) -> list[int]:
    """Layers in each of these: the mean over layers stands for the quality of all."""
    return [1] if group.stages is None else [stage.layers[1] - stage.layers[0] + 1 for stage in group.stages]
