"""What is published of a model: its checkpoint, other formats of it, and what is said about its size."""

from __future__ import annotations

from typing import Literal

from catalog.schema.base import Entry, PositiveInt
from catalog.schema.formats import RoleBits, TensorRole


class Checkpoint(Entry):
    """How the published weights are stored."""

    dtype: Literal["bfloat16", "float16", "float32"] | None = None
    """Type of the tensors that are not quantized; null = not stated by the configuration."""
    weight_format: str | None = None
    """Id of our weight format when the checkpoint is quantized."""
    expert_format: str | None = None
    """Id of the routed experts' weight format where it differs from `weight_format`."""
    kept_16bit: tuple[TensorRole, ...] = ()
    """Roles that this checkpoint leaves in 16 bit although the format would quantize them."""
    other_bits: tuple[RoleBits, ...] = ()
    """Roles with a width of their own in this checkpoint, scales included."""
    kv_format: str | None = None
    """KV cache type that the checkpoint asks for."""
    quantization: str = ""
    """The configuration's `quantization_config`, said in a line."""


class Conversion(Entry):
    """Where the model is published in another format."""

    weight_format: str
    """Id of our weight format."""
    repository: str
    """`owner/name` on Hugging Face, and `:TAG` for a GGUF file in it."""


class Published(Entry):
    """What the vendor or a registry says about the size; never used in a computation."""

    parameters: PositiveInt | None = None
    active_parameters: PositiveInt | None = None
    with_vision: bool = False
    """The count includes `vision_parameters`."""
    difference: int = 0
    """Computed minus published where the two differ for a known reason."""
    difference_reason: str = ""
