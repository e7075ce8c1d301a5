"""Which of several ways to run a replica an engineer takes where all cost the same."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from catalog import Catalog
from catalog.schema import Engine, KvFormat, Model, WeightFormat
from optimizer.candidates.enumerate import quality_fraction
from optimizer.candidates.spec import ReplicaSpec
from optimizer.checkpoints import checkpoint_of
from optimizer.scenario import Scenario
from optimizer.serving_config import BoolArray, Configurations

DIGITS = 9
"""Of quality, beyond which two are equal: products of the same factors differ in their last digits."""


class Reluctance(NamedTuple):
    """Why one would rather run something else, the gravest first; less is preferred, compared as a tuple."""

    lacks_checkpoint: bool
    """None is published in the format, named by the scenario, or made by the engine while it loads."""
    is_experimental: bool
    """The engine's makers call its support of the format so."""
    lost_quality_fraction: float
    n_departures: int = 0
    """Settings that are not the engine's defaults."""


class Preference:
    """Compares what may serve the workloads of a scenario."""

    def __init__(self, scenario: Scenario, catalog: Catalog) -> None:
        self._scenario, self._catalog = scenario, catalog
        self._known: dict[tuple[str, ...], Reluctance] = {}

    def of(self, spec: ReplicaSpec) -> Reluctance:
        """Of a predicted replica whose layers are all in one format."""
        catalog = self._catalog
        formats = self._of_formats(
            catalog.models[str(spec.model)],
            catalog.formats[str(spec.weight_dtype)],
            catalog.kv_formats[str(spec.kv_cache_dtype)],
            catalog.engines[str(spec.engine)],
        )
        departures = (
            spec.kv_cache_dtype != "auto",
            spec.max_num_batched_tokens is not None,
            spec.speculation is not None,
            spec.pp != 1,
            spec.dp != 1,
            spec.ep != 1,
        )
        return formats._replace(n_departures=sum(departures))

    def no_worse(self, c: Configurations, than: Reluctance) -> BoolArray:
        """[n] whether formats of weights and cache stand in the way no more."""
        formats = np.array([
            [self._of_formats(c.model, weights, kv, c.engine) <= than for kv in c.kv_formats]
            for weights in c.weight_formats
        ])  # fmt: skip
        return np.asarray(formats[c.weight_format, c.kv_format], bool)

    def _of_formats(self, model: Model, weights: WeightFormat, kv: KvFormat, engine: Engine) -> Reluctance:
        key = model.id, weights.id, kv.id, engine.id
        if key not in self._known:
            self._known[key] = Reluctance(
                checkpoint_of(model, weights.id, engine, self._scenario) is None,
                weights.id in engine.experimental_formats,
                round(1.0 - quality_fraction(weights, kv, model), DIGITS),
            )
        return self._known[key]
