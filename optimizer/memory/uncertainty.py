"""How far each part of the memory may be off, and what that leaves uncertain of the KV cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from catalog.schema import Model
from catalog.schema.engine import EngineRules, VllmRules
from catalog.schema.uncertainty import Uncertainty
from optimizer.memory.job import Sized
from optimizer.serving_config import FloatArray

PARTS = ("weights", "activation", "non_torch", "cuda_graph")
"""Of the stack, bottom up; the KV cache is what is left."""


def certainties(rules: EngineRules) -> Mapping[str, Uncertainty]:
    """Part -> how well it is known under these rules."""
    return {part: getattr(rules.uncertainty, part) for part in PARTS}


def plus_minus_gib(rules: EngineRules, model: Model, sized: Sized) -> Mapping[str, FloatArray]:
    """Part -> [n] GiB by which it may be off, about nine times in ten."""
    known = certainties(rules)
    of_parts = {
        part: np.maximum(one.plus_minus_gib, one.plus_minus_fraction * getattr(sized, f"{part}_gib"))
        for part, one in known.items()
    }
    return {**of_parts, "activation": of_parts["activation"] + _vision_gib(rules, model)}


def _vision_gib(rules: EngineRules, model: Model) -> float:
    """What a vision tower adds to the doubt: its peak depends on the images that it is profiled with."""
    if not model.vision_parameters or not isinstance(rules, VllmRules):
        return 0.0
    activation = rules.activation
    tower = activation.vision_by_architecture_gib.get(model.architecture, activation.vision_gib)
    return tower * activation.vision_plus_minus_fraction


def margin_gib(of_parts: Mapping[str, FloatArray], counted: Sequence[str]) -> FloatArray:
    """[n] GiB by which the KV cache may be off: the parts it is left by err independently."""
    squares: FloatArray = sum((of_parts[part] ** 2 for part in counted), np.zeros(()))
    return np.sqrt(squares)
