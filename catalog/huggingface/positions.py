"""Reads how positions enter attention: how much of a head they turn, and whether they are those of images as well."""

from __future__ import annotations

from collections.abc import Mapping

from catalog.huggingface.pieces import Facts
from catalog.huggingface.reader import ConfigReader

_WITHOUT = ("jamba", "nemotron_h")
"""Families whose attention has no positions."""
_DEFAULT_PARTS: Mapping[str, float] = {
    "glm4": 0.5,
    "glm4_moe": 0.5,
    "nemotron": 0.5,
    "qwen3_5_moe_text": 0.25,
    "qwen3_5_text": 0.25,
    "qwen3_next": 0.25,
    "qwen4_exp_text": 0.25,
}
"""`partial_rotary_factor` of the configuration class, where a file need not state it."""
_OF_IMAGES = (
    "qwen2_5_vl_text",
    "qwen2_vl_text",
    "qwen3_5_moe_text",
    "qwen3_5_text",
    "qwen3_vl_moe_text",
    "qwen3_vl_text",
    "qwen4_exp_text",
)
"""Families with an `mrope_section`, stated or by default."""


def positions(config: ConfigReader, facts: Facts) -> Facts:
    """`rotary_dim` where it is not the whole head, and `mrope`."""
    found: Facts = {"mrope": True} if config.model_type in _OF_IMAGES else {}
    if "attention" not in facts:
        return found
    head_dim = facts["attention"]["head_dim"]
    turned = _turned(config, head_dim)
    return found if turned == head_dim else {**found, "rotary_dim": turned}


def _turned(config: ConfigReader, head_dim: int) -> int:
    if config.model_type in _WITHOUT or config.values.get("position_embedding_type") == "nope":
        return 0
    if config.has("rotary_dim"):
        return config.count("rotary_dim")
    part = config.values.get("partial_rotary_factor")
    for name in ("rope_parameters", "rope_scaling"):
        nested = config.values.get(name)
        if part is None and isinstance(nested, Mapping):
            part = nested.get("partial_rotary_factor")
    if part is None:
        part = _DEFAULT_PARTS.get(config.model_type, 1.0)
    if isinstance(part, bool) or not isinstance(part, int | float) or not 0 < part <= 1:
        config.fault("partial_rotary_factor", f"{str(part)[:60]} is no part between 0 and 1")
        return head_dim
    return int(head_dim * part)
