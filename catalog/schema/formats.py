"""Number formats of weights and of the KV cache: width, where they run, and what they cost in quality."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from functools import cached_property
from typing import Literal

from pydantic import Field

from catalog.schema.base import Entry, Label, PositiveFloat, PositiveInt, Source
from catalog.schema.gpu import Gpu

UNQUANTIZED_BITS = 16.0
"""Width of a tensor that a format leaves alone: bf16 or fp16."""


class TensorRole(StrEnum):
    """What a weight tensor is for; formats say which roles they quantize."""

    EMBEDDING = "embedding"
    LM_HEAD = "lm_head"
    NORM = "norm"
    ROUTER = "router"
    ATTENTION = "attention"
    LINEAR_ATTENTION = "linear_attention"
    """Projections of recurrent mixers (Mamba, gated DeltaNet, KDA, lightning)."""
    STATE = "state"
    """Small recurrent parameters (A, D, dt, convolutions), never quantized."""
    MLP = "mlp"
    SHARED_EXPERT = "shared_expert"
    EXPERT = "expert"
    TABLE = "table"
    """Rows that hashed n-grams look up: large, read a few rows a token, and kept in host memory by some engines."""
    HYPER_CONNECTION = "hyper_connection"
    """Full matrices that mix several residual streams, never quantized."""
    DRAFT = "draft"
    """Matrices of multi-token-prediction layers, which many quantized checkpoints leave whole."""


FULL_WIDTH_ROLES = (TensorRole.HYPER_CONNECTION,)
"""In 32 bit wherever no format quantizes them: hc_attn_fn and the like of DeepSeek-V4 and GLM-5.3-Flash, which vLLM
allocates as float32 (vllm/models/glm5next/nvidia/model.py)."""


class FormatSupport(Entry):
    """An engine runs a format on these cards."""

    engine: str
    min_compute_capability: PositiveFloat | None = None
    """NVIDIA cards from here on; null = none."""
    native_compute_capability: PositiveFloat | None = None
    """From here on matrix products run in the format's own 8- or 4-bit type; below, weights are expanded to 16 bit."""
    targets: tuple[str, ...] = ()
    """Cards of other vendors, by `Gpu.compute_capability`."""
    native_targets: tuple[str, ...] = ()
    """Those of them with the format's own type."""
    note: str = ""

    def runs_on(self, gpu: Gpu) -> bool:
        """Whether the engine runs the format on this card at all."""
        return _holds(gpu, self.min_compute_capability, self.targets)

    def is_native_on(self, gpu: Gpu) -> bool:
        """Whether it does so in the format's own type."""
        return _holds(gpu, self.native_compute_capability, self.native_targets)


def _holds(gpu: Gpu, least: float | None, targets: tuple[str, ...]) -> bool:
    if gpu.cuda_capability is None:
        return gpu.compute_capability in targets
    return least is not None and gpu.cuda_capability >= least


def _support_of(rows: Iterable[FormatSupport], engine_id: str, gpu: Gpu) -> FormatSupport | None:
    return next((row for row in rows if row.engine == engine_id and row.runs_on(gpu)), None)


class QualityBySize(Entry):
    """Typical quality of models up to a size."""

    up_to_billions: PositiveFloat | None = None
    """Billions of parameters; null = all larger ones. A gap between the sizes measured counts as the smaller size."""
    typical_fraction: PositiveFloat


class Quality(Entry):
    """Benchmark average relative to bf16; all null = not known."""

    low_fraction: PositiveFloat | None = None
    typical_fraction: PositiveFloat | None = None
    high_fraction: PositiveFloat | None = None
    by_size: tuple[QualityBySize, ...] = ()
    """Ascending; where given, it is used in place of `typical_fraction`."""
    label: Label
    note: str = ""

    def of_size(self, billions: float) -> float | None:
        """Typical quality of a model with that many billions of parameters; null = not known."""
        for row in self.by_size:
            if row.up_to_billions is None or billions <= row.up_to_billions:
                return row.typical_fraction
        return self.typical_fraction


class RoleBits(Entry):
    """Width of one role's tensors."""

    role: TensorRole
    bits: PositiveFloat


class WeightFormat(Entry):
    """How weights are stored and with what arithmetic they are used."""

    kind: Literal["weight_format"] = "weight_format"
    id: str
    name: str
    bits_per_weight: PositiveFloat
    """Effective bits of a quantized weight, scales included."""
    quantizes: tuple[TensorRole, ...]
    """Roles stored at `bits_per_weight`; all others stay at 16 bit. Empty = nothing is quantized (bf16, fp16)."""
    other_bits: tuple[RoleBits, ...] = ()
    """Roles with a width of their own (GGUF: lm_head at 6.5625)."""
    group_size: PositiveInt | None = None
    """Weights along the input that share a scale; a tensor-parallel shard must hold whole groups."""
    activation_dtype: Literal["bf16", "fp16", "fp8", "int8", "fp4"]
    """Type the matrix products run in where the card supports the format natively."""
    support: tuple[FormatSupport, ...]
    """Empty = none of our engines runs it today."""
    quality: Quality
    """Of a model converted to this format."""
    native_quality: Quality | None = None
    """Of a model published in this format, where that differs: it is then its own reference."""
    sources: tuple[Source, ...] = Field(min_length=1)
    notes: str = ""

    def bits_of(self, role: TensorRole) -> float:
        """Bits per parameter of a tensor of this role; a tied embedding has the wider of embedding's and lm_head's."""
        for other in self.other_bits:
            if other.role == role:
                return other.bits
        if role in self.quantizes:
            return self.bits_per_weight
        return 2 * UNQUANTIZED_BITS if role in FULL_WIDTH_ROLES else UNQUANTIZED_BITS

    def compute_dtype(self, engine_id: str, gpu: Gpu) -> str | None:
        """Type in `Gpu.tflops` that the engine's matrix products run at on this card; null = it does not run there."""
        key = (engine_id, id(gpu))
        if key not in self._dtypes:
            self._dtypes[key] = (gpu, self._compute_dtype(engine_id, gpu))
        return self._dtypes[key][1]

    @cached_property
    def _dtypes(self) -> dict[tuple[str, int], tuple[Gpu, str | None]]:
        """Answers of `compute_dtype`, which is asked for every card time and again; each keeps its card alive."""
        return {}

    def _compute_dtype(self, engine_id: str, gpu: Gpu) -> str | None:
        support = _support_of(self.support, engine_id, gpu)
        if support is None:
            return None
        expanded: tuple[str, ...] = ("bf16", "fp16")
        native = self.activation_dtype in expanded or support.is_native_on(gpu)
        candidates = (self.activation_dtype, *expanded) if native else expanded
        return next((dtype for dtype in candidates if gpu.tflops.rate(dtype) is not None), None)

    def quality_fraction(self, billions: float, *, native: bool = False) -> float | None:
        """Benchmark average relative to bf16, of a model with that many billions of parameters; null = not known.

        `native` says that the model's own checkpoint is in this format.
        """
        quality = self.native_quality if native and self.native_quality is not None else self.quality
        return quality.of_size(billions)


class KvFormat(Entry):
    """How keys and values are cached."""

    kind: Literal["kv_format"] = "kv_format"
    id: str
    name: str
    bytes_per_value: PositiveFloat
    """Scales included; `auto` is the activation type: 2."""
    support: tuple[FormatSupport, ...]
    quality: Quality
    sources: tuple[Source, ...] = Field(min_length=1)
    notes: str = ""

    def supported_on(self, engine_id: str, gpu: Gpu) -> bool:
        """Whether the engine can cache in this format on this card."""
        return _support_of(self.support, engine_id, gpu) is not None

    def quality_fraction(self) -> float | None:
        """Typical benchmark average relative to a 16-bit cache; null = not known."""
        return self.quality.typical_fraction
