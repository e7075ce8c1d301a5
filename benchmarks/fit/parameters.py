"""The unknowns of the fit: every constant's value and its departures by trait, each with a prior that pulls it back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from catalog.schema.calibration import Traits
from optimizer.performance.constants import EFFICIENCIES, TIMES, RowConstants
from optimizer.serving_config import FloatArray, IntArray

Level = tuple[str, ...]
"""A set of traits; each combination of their values found in the data has a factor."""
ENGINE, GENERATION, ERA, PAIR = ("engine",), ("generation",), ("engine", "era"), ("engine", "era", "generation")
WEIGHTS, COMPUTE, ATTENTION, LINK = ("weights",), ("compute",), ("attention",), ("link",)
SPREADS: dict[Level, float] = {ENGINE: 0.35, ERA: 0.35, COMPUTE: 0.25, WEIGHTS: 0.25, ATTENTION: 0.25, LINK: 0.35}
"""Of a departure, in the logarithm: how far constants differ between engines, eras … before data say so."""
OTHER_SPREAD = 0.12


@dataclass(frozen=True, slots=True)
class Prior:
    """Where a constant starts and what it may depend on."""

    start: float
    levels: tuple[Level, ...] = ()
    spread: float = 0.5
    """Of the value around `start`, in the logarithm."""


PRIORS = {
    "weight_read_efficiency": Prior(0.75, (ENGINE, GENERATION, WEIGHTS, PAIR)),
    "expert_read_efficiency": Prior(0.60, (ENGINE, GENERATION, WEIGHTS, PAIR)),
    "kv_read_efficiency": Prior(0.60, (ENGINE, GENERATION, ATTENTION, PAIR, ERA)),
    "compute_efficiency": Prior(0.50, (ENGINE, GENERATION, COMPUTE, WEIGHTS, PAIR)),
    "expert_compute_efficiency": Prior(0.40, (ENGINE, COMPUTE, WEIGHTS, PAIR)),
    "prefill_efficiency": Prior(0.45, (ENGINE, GENERATION, COMPUTE, WEIGHTS, PAIR, ERA)),
    "expert_prefill_efficiency": Prior(0.30, (ENGINE, GENERATION, COMPUTE, WEIGHTS, PAIR)),
    "attention_efficiency": Prior(0.40, (ENGINE, GENERATION)),
    "step_ms": Prior(0.50, (ENGINE, ERA)),
    "layer_ms": Prior(0.02, (ENGINE, GENERATION, PAIR, ERA)),
    "moe_layer_ms": Prior(0.02, (ENGINE, GENERATION, PAIR, ERA)),
    "latent_layer_ms": Prior(0.02, (ENGINE, GENERATION)),
    "recurrent_layer_ms": Prior(0.02, (ENGINE,)),
    "sequence_ms": Prior(0.01, (ENGINE, GENERATION, ERA)),
    "all_reduce_ms": Prior(0.006, (ENGINE, GENERATION, ERA)),
    "link_efficiency": Prior(0.50, (ENGINE, GENERATION, LINK)),
    "all_to_all_ms": Prior(0.02, (ENGINE,)),
    "pipeline_ms": Prior(0.05, (ENGINE,)),
    "expert_imbalance": Prior(0.20, (ENGINE,)),
    "data_parallel_imbalance": Prior(0.30, (ENGINE,)),
    "prefill_layer_ms": Prior(0.20, (ENGINE, GENERATION)),
    "prefill_moe_layer_ms": Prior(0.20, (ENGINE, GENERATION)),
    "prefill_latent_layer_ms": Prior(0.30, (ENGINE, GENERATION)),
    "prefill_recurrent_layer_ms": Prior(0.30, (ENGINE,)),
    "prefill_interference": Prior(0.80, (ENGINE, ERA), 0.2),
    "request_ms": Prior(10.0, (ENGINE,)),
    "ttft_steps": Prior(2.0, (ENGINE, ERA)),
    "waited_prefills": Prior(0.50, (ENGINE, ERA)),
    "waited_prefills_per_sequence": Prior(0.08, (ENGINE, ERA)),
}
"""By field of `Constants`, in its order. What joins the ranks shows in `link_efficiency` alone: a dozen points over
PCIe tell nothing of `all_reduce_ms` there, and a factor for the fast link only would make it the slower one."""

PACE = "pace"
"""The unknown that moves all constants of a generation of cards at once: every time longer, every efficiency lower.
Kernels written for a vendor's cards, or not, show in all of them, and a few points tell it that say little of each."""
PACE_SPREAD = 0.5
PACED = dict.fromkeys(EFFICIENCIES, -1.0) | {name: 1.0 for name in TIMES if name != "request_ms"}
"""Its sign in the logarithm of a constant; what passes on the client's side is not the card's."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The logarithm of a constant over its start (no traits), or of a factor on it."""

    constant: str
    """Or PACE."""
    level: Level
    values: tuple[str, ...]


class Unknowns:
    """Everything that a set of rows can tell something about, in a fixed order."""

    def __init__(self, traits: Sequence[Traits]) -> None:
        self.points: dict[Unknown, int] = {}
        for name, prior in PRIORS.items():
            self.points[Unknown(name, (), ())] = len(traits)
            for level in prior.levels:
                counts = Counter(_values(level, t) for t in traits)
                if level == ERA:  # what holds today is the engine's own factor
                    counts = Counter({v: n for v, n in counts.items() if v[1] != "current"})
                self.points |= {Unknown(name, level, v): counts[v] for v in sorted(counts)}
        counts = Counter(_values(GENERATION, t) for t in traits)
        self.points |= {Unknown(PACE, GENERATION, v): counts[v] for v in sorted(counts)}
        self.index = {unknown: i for i, unknown in enumerate(self.points)}
        self.spreads = np.array([_spread(u) for u in self.points])

    def __len__(self) -> int:
        return len(self.points)

    def design(self, traits: Sequence[Traits]) -> list[Design]:
        """Of every constant in turn."""
        pace = self._column(PACE, GENERATION, traits)
        design = []
        for name, prior in PRIORS.items():
            columns = [self._column(name, level, traits) for level in ((), *prior.levels)]
            signs = [1.0] * len(columns)
            if name in PACED:
                columns, signs = [*columns, pace], [*signs, PACED[name]]
            design.append(Design(np.array(columns), np.array(signs)))
        return design

    def _column(self, constant: str, level: Level, traits: Sequence[Traits]) -> list[int]:
        return [self.index.get(Unknown(constant, level, _values(level, t)), len(self)) for t in traits]


@dataclass(frozen=True, slots=True)
class Design:
    """What the logarithm of a constant over its start is the sum of."""

    unknowns: IntArray  # [levels, m]; the index past the last is none
    signs: FloatArray  # [levels]


def constants_at(x: FloatArray, design: list[Design]) -> RowConstants:
    """The constants of every row at the unknowns x."""
    padded = np.append(x, 0.0)
    return RowConstants(
        *(
            prior.start * np.exp(of.signs @ padded[of.unknowns])
            for prior, of in zip(PRIORS.values(), design, strict=True)
        )
    )


def _spread(unknown: Unknown) -> float:
    if unknown.constant == PACE:
        return PACE_SPREAD
    return SPREADS.get(unknown.level, OTHER_SPREAD) if unknown.level else PRIORS[unknown.constant].spread


def _values(level: Level, traits: Traits) -> tuple[str, ...]:
    return tuple(getattr(traits, name) for name in level)
