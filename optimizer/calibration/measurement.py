"""One measured configuration with what was measured of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measurement:
    """Catalog ids, degrees and sizes of one benchmark run; figures that it does not state are None."""

    source: str
    """Family of published sources, or the user's file."""
    model: str
    gpu: str
    weight_dtype: str
    engine: str
    engine_version: str | None
    tp: int
    pp: int
    dp: int
    ep: int
    input_tokens: int
    output_tokens: int
    concurrency: float
    """Requests in flight on the whole replica, on average."""
    kv_cache_dtype: str = "auto"
    prefix_hit_fraction: float = 0.0
    tpot_ms: float | None = None
    """Mean."""
    ttft_ms: float | None = None
    """Mean."""
    output_tokens_per_s: float | None = None
    """Whole replica."""
    prefill_ms: float | None = None
    """Of one prompt, alone on the replica."""

    @property
    def group(self) -> tuple[str, str, str]:
        """What is held out together."""
        return self.model, self.gpu, self.engine
