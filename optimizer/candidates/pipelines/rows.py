"""Replicas of unequal stages as rows, a stage each."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from catalog import Catalog
from optimizer.candidates.spec import ReplicaSpec
from optimizer.memory import flag_defaults
from optimizer.serving_config import Configurations, FloatArray, IntArray

Value = TypeVar("Value", bound=Hashable)


class StageRows(NamedTuple):
    """n stages of replicas of one model on one engine, replica after replica."""

    configurations: Configurations  # [n]
    spans: IntArray  # [n, 2] first and last layer
    replica: IntArray  # [n] counted from 0


def least_fractions(rows: StageRows, batch: IntArray) -> FloatArray:
    """[n] of memory, where none is asked for: the engine's own, or less where a card of the replica does not start so.

    All stages of a replica are told the same. `batch` [n] is of the replica.
    """
    defaults = flag_defaults(rows.configurations, max_num_seqs=batch)
    least = np.full(1 + rows.replica.max(initial=-1), np.inf)
    np.minimum.at(least, rows.replica, np.minimum(defaults.utilization_fraction, defaults.most_fraction))
    return least[rows.replica]


def stage_rows(specs: Sequence[ReplicaSpec], catalog: Catalog) -> StageRows:
    """The stages of some replicas."""
    rows = [(number, spec, stage) for number, spec in enumerate(specs) for stage in spec.stages]
    places, place = _numbered([(stage.gpu, stage.links) for _, _, stage in rows])
    weights, weight = _numbered([stage.weight_dtype for _, _, stage in rows])
    caches, cache = _numbered([str(spec.kv_cache_dtype) for _, spec, _ in rows])
    columns = (
        *(place, weight, cache),
        *([getattr(spec, degree) for _, spec, _ in rows] for degree in ("tp", "pp", "dp", "ep")),
    )
    configurations = Configurations(
        catalog.models[str(specs[0].model)],
        catalog.engines[str(specs[0].engine)],
        None,
        tuple(catalog.gpus[gpu] for gpu, _ in places),
        tuple(catalog.formats[name] for name in weights),
        tuple(catalog.kv_formats[name] for name in caches),
        *(np.array(column, np.int64) for column in columns),
        links=tuple(links for _, links in places),
    )
    spans = np.array([(stage.first_layer, stage.last_layer) for _, _, stage in rows], np.int64)
    return StageRows(configurations, spans, np.array([number for number, _, _ in rows], np.int64))


def _numbered(values: Sequence[Value]) -> tuple[list[Value], list[int]]:
    """Each once, in order of their first appearance, and which of these each is."""
    position = {value: number for number, value in enumerate(dict.fromkeys(values))}
    return list(position), [position[value] for value in values]
