"""What stages there may be in pipelines of one model, and how long each takes with how many of the layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from catalog.schema import Calibration
from optimizer.candidates.asked import token_mix
from optimizer.candidates.pipelines.grounds import Ground
from optimizer.candidates.pipelines.split import Spans
from optimizer.memory import Basis, flag_defaults, memory_basis, replica_memory
from optimizer.memory.stages import stages_of_spans
from optimizer.performance import capacity_of
from optimizer.performance.pipeline import stage_replicas
from optimizer.scenario import Workload
from optimizer.serving_config import BoolArray, Configurations, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Axes:
    """What pipelines of one model may be made with, apart from places and formats."""

    batch: IntArray  # [V] of the replica
    step_tokens: tuple[int, ...]
    degrees: tuple[int, ...]
    """Of tensor parallelism."""
    max_model_len: int


@dataclass(frozen=True, slots=True)
class Setting:
    """What all stages of a replica share, and the engine is told once."""

    kv_format: int
    """Of the configurations."""
    step_tokens: int
    tp: int
    n_stages: int


class StageTimes:
    """Times of every stage that a ground, a setting and some batches allow."""

    def __init__(
        self, shape: Configurations, ground: Ground, axes: Axes, workload: Workload, calibration: Calibration
    ) -> None:
        """`shape` holds the model, engine and formats, and no rows."""
        self.shape, self.ground, self.axes = shape, ground, axes
        self._mix, self._calibration = token_mix(workload), calibration
        self._asked_fraction = workload.gpu_memory_utilization
        self._fractions = {tp: self._least_fractions(tp) for tp in axes.degrees}  # [places]
        n_layers = shape.model.n_layers
        first, beyond = np.triu_indices(n_layers + 1, k=1)
        spans = np.stack([first, beyond - 1], axis=1)
        _, which = stages_of_spans(shape.model, spans)
        _, example = np.unique(which, return_index=True)
        self._examples: IntArray = spans[example]  # [C, 2] one of each content
        content = np.full((n_layers + 1, n_layers + 1), len(example))  # the last = no layers
        content[beyond, first] = which
        self.spans = Spans(content)
        self._basis_shape = (len(axes.degrees), len(ground.gpus), len(shape.weight_formats), len(example))
        self._bases: dict[int, Basis] = {}
        self._runs: dict[tuple[int, float], BoolArray] = {}

    def fractions_of(self, places: IntArray, tp: int) -> IntArray:
        """[n] of memory, that all of some places [n, P] start with, which of those that `of` has times for."""
        least = self._fractions[tp][places].min(axis=1)
        which: IntArray = np.searchsorted(np.unique(self._fractions[tp]), least)
        return which

    def _least_fractions(self, tp: int) -> FloatArray:
        """[places] as asked, or the engine's own, or what a card starts with whatever the format and batch."""
        n_places, n_formats = len(self.ground.gpus), len(self.shape.weight_formats)
        if self._asked_fraction is not None:
            return np.full(n_places, self._asked_fraction)
        place, weights = np.indices((n_places, n_formats)).reshape(2, -1)
        rows = self._rows(place, weights, np.full(len(place), tp), 2, 0)
        defaults = flag_defaults(rows, max_num_seqs=np.full(len(place), int(self.axes.batch[-1])))
        least: FloatArray = np.minimum(defaults.utilization_fraction, defaults.most_fraction)
        of_places: FloatArray = least.reshape(n_places, n_formats).min(axis=1)
        return of_places

    def of(self, setting: Setting) -> FloatArray:
        """[fractions, places, formats, V, C + 1] ms of a token while the batch is full, if all stages were like it.

        Where stages take turns, what this one adds. Infinite where it does not run with that batch, or has no layers.
        """
        axes = self.axes
        tokens, degree = axes.step_tokens.index(setting.step_tokens), axes.degrees.index(setting.tp)
        fractions = np.unique(self._fractions[setting.tp]).tolist()
        runs = np.stack([self._running(setting.kv_format, fraction)[tokens, degree] for fraction in fractions])
        place, weights, variant, content = np.nonzero(runs.any(axis=0))
        ms = np.full((*runs.shape[:-1], runs.shape[-1] + 1), np.inf)
        if len(place):
            rows = self._rows(place, weights, np.full(len(place), setting.tp), setting.n_stages, setting.kv_format)
            budget, batch = np.full(len(place), setting.step_tokens), axes.batch[variant].astype(np.float64)
            full = stage_replicas(rows, self._examples[content], budget, self._mix, batch, self._calibration)
            ms[:, place, weights, variant, content] = full.at(full.most).tpot_ms
            ms[..., :-1][~runs] = np.inf
        return ms

    def _running(self, kv_format: int, fraction: float) -> BoolArray:
        """[tokens, degrees, places, formats, V, C] whether the stage starts, and its cache holds the batch."""
        if (kv_format, fraction) in self._runs:
            return self._runs[kv_format, fraction]
        axes, n_formats, n_spans = self.axes, len(self.shape.weight_formats), len(self._examples)
        shape = (len(axes.step_tokens), len(axes.degrees), len(self.ground.gpus), n_formats, n_spans)
        tokens, degree, place, weights, content = np.indices(shape).reshape(5, -1)
        # What memory a stage takes does not depend on how many others there are.
        rows = self._rows(place, weights, np.array(axes.degrees)[degree], 2, kv_format)
        basis_row = np.ravel_multi_index((degree, place, weights, content), self._basis_shape)
        basis, budget = self._basis(kv_format).take(basis_row), np.array(axes.step_tokens)[tokens]
        runs = np.zeros((len(place), len(axes.batch)), bool)
        some = np.arange(len(place))
        for variant, batch in enumerate(axes.batch.tolist()):
            if not some.size:  # what runs with a batch runs with every smaller one
                break
            here = rows.take(some)
            memory = replica_memory(
                here,
                max_model_len=axes.max_model_len,
                max_num_seqs=np.full(len(some), batch),
                max_num_batched_tokens=budget[some],
                gpu_memory_utilization=fraction,
                with_margin=True,
                basis=basis.take(some),
                spans=self._examples[content[some]],
            )
            held, _ = capacity_of(here, memory, self._mix, self._calibration)
            some = some[memory.fits & (held.requests >= batch)]
            runs[some, variant] = True
        self._runs[kv_format, fraction] = np.moveaxis(runs.reshape(*shape, -1), -1, -2)
        return self._runs[kv_format, fraction]

    def _basis(self, kv_format: int) -> Basis:
        """What no batch and no flag changes: of degrees × places × formats × C stages."""
        if kv_format not in self._bases:
            axes, shape = self.axes, self._basis_shape
            degree, place, weights, content = np.indices(shape).reshape(4, -1)
            rows = self._rows(place, weights, np.array(axes.degrees)[degree], 2, kv_format)
            self._bases[kv_format] = memory_basis(rows, self._examples[content])
        return self._bases[kv_format]

    def _rows(self, place: IntArray, weights: IntArray, tp: IntArray, n_stages: int, kv_format: int) -> Configurations:
        shape, ones = self.shape, np.ones(len(place), np.int64)
        return Configurations(
            shape.model, shape.engine, shape.engine_version, self.ground.gpus, shape.weight_formats, shape.kv_formats,
            place, weights, kv_format * ones, tp, n_stages * ones, ones, ones, links=self.ground.links,
        )  # fmt: skip


def batches(asked: Sequence[int] | None) -> IntArray:
    """[V] batches of which each is split by itself, ascending: those asked for, else the powers of two up to 512."""
    return np.array(sorted(asked) if asked else [2**i for i in range(10)], np.int64)
