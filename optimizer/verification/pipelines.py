"""Are stages that differ a pipeline that the engine can run, and one that the workload allows?"""

from __future__ import annotations

from collections.abc import Iterator

from catalog import Catalog
from optimizer.layout import ReplicaGroup
from optimizer.scenario import Workload
from optimizer.scenario.pipelines import (
    ENGINES_OF_SINGLE_GPU_STAGES,
    ENGINES_OF_UNEQUAL_STAGES,
    FORMATS_BY_LAYER,
)


def broken_stages(group: ReplicaGroup, catalog: Catalog) -> list[str]:
    """What keeps a group's stages from being computed again; none where it has none."""
    if group.stages is None:
        return []
    found = [
        f"stage {number} names {key} {name}, which the catalog does not have"
        for number, stage in enumerate(group.stages)
        for key, name, known in (("gpu", stage.gpu, catalog.gpus), ("format", stage.weight_dtype, catalog.formats))
        if name not in known
    ]
    if group.pp != len(group.stages) or any(stage.tp != group.tp for stage in group.stages):
        degrees = " + ".join(str(stage.tp) for stage in group.stages)
        found.append(f"stages of {degrees} GPUs, expected pp {group.pp} of them with tp {group.tp} each")
    if len({stage.offer for stage in group.stages}) < 2:
        found.append("its stages are on one offer, where they would be alike")
    if group.dp != 1 or group.ep != 1:
        found.append(f"dp is {group.dp} and ep {group.ep}; stages that differ have 1 of both")
    edges = [-1, *(edge for stage in group.stages for edge in stage.layers)]
    model = catalog.models.get(str(group.model))
    if model is not None and not _covers(edges, model.n_layers):
        layers = ", ".join(f"{first}-{last}" for first, last in (stage.layers for stage in group.stages))
        found.append(f"stages hold the layers {layers}; {model.id} has {model.n_layers}")
    return found


def _covers(edges: list[int], n_layers: int) -> bool:
    """Whether spans, given as −1, first, last, first, last …, hold every layer once and in order, none being empty."""
    ends, starts = edges[0::2], edges[1::2]
    follow = all(start == end + 1 for end, start in zip(ends, starts, strict=False))
    none_empty = all(last >= first for first, last in zip(starts, ends[1:], strict=True))
    return follow and none_empty and ends[-1] == n_layers - 1


def unlawful_stages(workload: Workload, group: ReplicaGroup, catalog: Catalog) -> Iterator[str]:
    """What of a group's stages the workload or the engine does not allow."""
    if group.stages is None:
        return
    if not workload.heterogeneous_pipelines:
        yield "its stages differ, the workload does not ask for heterogeneous_pipelines"
    if group.engine not in ENGINES_OF_UNEQUAL_STAGES:
        yield f"its stages differ; {group.engine} runs no such pipeline"
    if group.engine in ENGINES_OF_SINGLE_GPU_STAGES and group.tp != 1:
        yield f"its stages have {group.tp} GPUs each; {group.engine} gives a stage one"
    first = group.stages[0]
    if (group.offer, group.gpu) != (first.offer, first.gpu):
        yield f"offer and gpu are {group.offer} and {group.gpu}, the first stage is on {first.offer} and {first.gpu}"
    formats = list(dict.fromkeys(stage.weight_dtype for stage in group.stages))
    if group.weight_dtype != "+".join(formats):
        yield f"weight_dtype is {group.weight_dtype}, its stages are in {', '.join(formats)}"
    together = FORMATS_BY_LAYER.get(str(group.engine), ())
    if len(formats) > 1 and (alone := [name for name in formats if name not in together]):
        yield f"one checkpoint does not hold {', '.join(alone)} beside another format"
    vendors = {catalog.gpus[stage.gpu].vendor for stage in group.stages}
    if len(vendors) > 1:
        yield f"its stages are on cards of {' and '.join(sorted(vendors))}, which no engine joins"
