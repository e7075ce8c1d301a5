"""How well each part of an engine's memory is known."""

from __future__ import annotations

from enum import StrEnum

from catalog.schema.base import Entry, NonNegative


class Certainty(StrEnum):
    """How well a part of the memory is known, best first."""

    EXACT = "exact"
    """Follows from the configuration alone."""
    FITTED = "fitted"
    """A formula whose constants were fitted on start-up logs."""
    ESTIMATED = "estimated"
    """Few or no logs: the engine's own rule of thumb, or ours."""


class Uncertainty(Entry):
    """How far one part may be off, about nine times in ten."""

    certainty: Certainty
    plus_minus_gib: NonNegative = 0.0
    plus_minus_fraction: NonNegative = 0.0
    """Of the part itself; the larger of the two holds."""
    basis: str
    """What it rests on."""


class Uncertainties(Entry):
    """Of each part of the memory; what is left for the KV cache carries the errors of all of them."""

    weights: Uncertainty
    activation: Uncertainty
    non_torch: Uncertainty
    cuda_graph: Uncertainty
