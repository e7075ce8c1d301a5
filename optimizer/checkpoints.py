"""Which checkpoint a weight format is loaded from: a published or named one, or 16 bit that the engine quantizes."""

from __future__ import annotations

from typing import NamedTuple

from catalog.schema import Engine, Model
from optimizer.scenario import Scenario

SIXTEEN_BIT = ("bf16", "fp16")


class CheckpointSource(NamedTuple):
    """Where the weights of a model come from."""

    repository: str
    """On Hugging Face, or a folder."""
    is_quantized: bool = False
    """While it loads: the engine makes the format itself."""


def checkpoint_of(model: Model, weight_dtype: str, engine: Engine, scenario: Scenario) -> CheckpointSource | None:
    """What the scenario names, else what is published in the format, else what the engine can make of 16 bit.

    None where we know of none of these: then somebody must make the checkpoint first.
    """
    own = scenario.models.get(model.id)
    if own is not None and weight_dtype in own.checkpoints:
        return CheckpointSource(own.checkpoints[weight_dtype])
    published = model.checkpoint.weight_format
    if engine.loads_published:
        # fp8 on a model published in block FP8 means that checkpoint.
        if weight_dtype == published or (weight_dtype == "fp8" and published == "fp8-block"):
            return CheckpointSource(model.id)
        if published is None and weight_dtype in SIXTEEN_BIT:
            return CheckpointSource(model.id)
    if converted := model.converted_to(weight_dtype):
        return CheckpointSource(converted)
    if published is None and weight_dtype in engine.formats_made_while_loading:
        return CheckpointSource(model.id, is_quantized=True)
    return None
