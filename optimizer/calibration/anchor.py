"""Anchors: factors on the shipped constants that one's own benchmarks call for, shrunk to what the data can tell.

Benchmarks of an engine on a card say how much faster or slower its decode steps, its prefills and its waiting are, for
every model and for the measured ones in particular; single constants move only where many runs agree. How far each may
move before data say so are the spreads of the shipped calibration's held-out errors, so that one run corrects the
figures of its own model on its card most, of other models on that card less, and of other cards not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np

from catalog.schema import Calibration
from catalog.schema.calibration import Metric, Traits
from optimizer.calibration.least_squares import Problem, minimise
from optimizer.calibration.observations import FIGURES, Observations, log_errors
from optimizer.performance.constants import RowConstants
from optimizer.serving_config import FloatArray

CONSTANTS = tuple(field.name for field in fields(RowConstants))
STEP, PREFILL, WAITING = "step", "prefill", "waiting"
SLOWED_BY: dict[str, dict[str, float]] = {
    STEP: {
        "weight_read_efficiency": -1, "expert_read_efficiency": -1, "kv_read_efficiency": -1, "compute_efficiency": -1,
        "expert_compute_efficiency": -1, "link_efficiency": -1, "step_ms": 1, "layer_ms": 1, "moe_layer_ms": 1,
        "latent_layer_ms": 1, "recurrent_layer_ms": 1, "sequence_ms": 1, "all_reduce_ms": 1, "all_to_all_ms": 1,
        "pipeline_ms": 1,
    },
    PREFILL: {
        "prefill_efficiency": -1, "expert_prefill_efficiency": -1, "attention_efficiency": -1, "prefill_layer_ms": 1,
        "prefill_moe_layer_ms": 1, "prefill_latent_layer_ms": 1, "prefill_recurrent_layer_ms": 1,
    },
    WAITING: {"request_ms": 1, "ttft_steps": 1, "waited_prefills": 1, "waited_prefills_per_sequence": 1},
}  # fmt: skip
"""Constants that a slower step (prefill, wait) changes, and which way: efficiencies fall, times rise."""
METRIC_OF: dict[str, Metric] = {STEP: "tpot", PREFILL: "ttft", WAITING: "ttft"}
METRIC_OF_FIGURE: dict[str, Metric] = {
    "tpot_ms": "tpot", "ttft_ms": "ttft", "output_tokens_per_s": "tpot", "prefill_ms": "ttft",
}  # fmt: skip
SINGLE_SPREAD = 0.12
"""Of one constant by itself, in the logarithm; as the shipped fit assumes of the rarer traits."""
OUTLIER = 0.5
"""Errors (logarithm) beyond this count about linearly: one's own runs are believed further than published ones."""
FINITE = 1e-4
"""Step of the finite differences, in the logarithm."""


class Place(NamedTuple):
    """Where a factor holds; `model` is None where it holds for every model."""

    engine: str
    era: str
    gpu: str
    model: str | None = None


class Unknown(NamedTuple):
    """The logarithm of one factor."""

    place: Place
    changes: dict[str, float]
    """Constant -> exponent."""
    spread: float


@dataclass(frozen=True, slots=True)
class Anchors:
    """Logarithms of the factors at every place, by constant."""

    logarithms: dict[Place, dict[str, float]]

    def constants(self, observed: Observations, calibration: Calibration) -> RowConstants:
        """The constants of any rows, the factors that hold there multiplied in."""
        shift = np.array([[self._shift(traits, name) for traits in observed.traits] for name in CONSTANTS])
        base = shipped_constants(observed, calibration)
        return RowConstants(*(getattr(base, name) * np.exp(row) for name, row in zip(CONSTANTS, shift, strict=True)))

    def _shift(self, traits: Traits, constant: str) -> float:
        places = (pair_of(traits), pair_of(traits)._replace(model=traits.model))
        return sum(self.logarithms.get(place, {}).get(constant, 0.0) for place in places)


def fit_anchors(observed: Observations, calibration: Calibration) -> Anchors:
    """The anchors of these rows: the likeliest factors, given how far errors spread between cards, models and runs."""
    unknowns = _unknowns(observed.traits, calibration)
    exponents = np.array([[u.changes.get(name, 0.0) for name in CONSTANTS] for u in unknowns])  # [u, constants]
    holds = np.array([[_holds(u.place, traits) for traits in observed.traits] for u in unknowns], float)  # [u, m]
    base = shipped_constants(observed, calibration)

    def at(x: FloatArray) -> RowConstants:
        shift = np.einsum("u,uc,um->cm", x, exponents, holds)
        return RowConstants(*(getattr(base, name) * np.exp(row) for name, row in zip(CONSTANTS, shift, strict=True)))

    def residuals(x: FloatArray) -> FloatArray:
        return log_errors(observed, at(x)).ravel()

    def jacobian(x: FloatArray) -> FloatArray:
        constants, here = at(x), residuals(x)
        slopes = np.zeros((len(CONSTANTS), len(here)))
        for c, name in enumerate(CONSTANTS):
            moved = replace(constants, **{name: getattr(constants, name) * np.exp(FINITE)})
            slopes[c] = (log_errors(observed, moved).ravel() - here) / FINITE
        figures = len(here) // len(observed)
        by_unknown: FloatArray = (exponents @ slopes) * np.tile(holds, figures)
        return by_unknown.T

    noise = np.array([calibration.spreads[METRIC_OF_FIGURE[figure]].run for figure in FIGURES])
    problem = Problem(
        residuals=residuals,
        jacobian=jacobian,
        weight=np.repeat(1.0 / noise, len(observed)),
        pull=np.array([1.0 / u.spread for u in unknowns]),
        outlier=OUTLIER,
    )
    x = minimise(problem, np.zeros(len(unknowns)), np.ones(len(unknowns), np.bool_))
    logarithms: dict[Place, dict[str, float]] = {u.place: dict.fromkeys(CONSTANTS, 0.0) for u in unknowns}
    for unknown, value in zip(unknowns, x.tolist(), strict=True):
        for name, exponent in unknown.changes.items():
            logarithms[unknown.place][name] += exponent * value
    return Anchors(logarithms)


def shipped_constants(observed: Observations, calibration: Calibration) -> RowConstants:
    """The constants of any rows as they are without anchors."""
    table = np.array([calibration.constants_for(traits) for traits in observed.traits])
    return RowConstants(*table.T)


def _unknowns(rows: Sequence[Traits], calibration: Calibration) -> list[Unknown]:
    """Of every pair of engine and card, then of every model there; in the order in which the rows name them."""
    spreads = calibration.spreads
    unknowns = []
    for pair in dict.fromkeys(pair_of(traits) for traits in rows):
        unknowns += [Unknown(pair, slowed, spreads[METRIC_OF[part]].pair) for part, slowed in SLOWED_BY.items()]
        unknowns += [Unknown(pair, {name: 1.0}, SINGLE_SPREAD) for name in CONSTANTS]
        for model in dict.fromkeys(traits.model for traits in rows if pair_of(traits) == pair):
            place = pair._replace(model=model)
            unknowns += [Unknown(place, slowed, spreads[METRIC_OF[part]].model) for part, slowed in SLOWED_BY.items()]
    return unknowns


def pair_of(traits: Traits) -> Place:
    """Where a factor for every model of a row's engine and card holds."""
    return Place(traits.engine, traits.era, traits.gpu)


def _holds(place: Place, traits: Traits) -> bool:
    return place in (pair_of(traits), pair_of(traits)._replace(model=traits.model))
