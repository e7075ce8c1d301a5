"""What a result file states of one run, before the catalog names its parts."""

from __future__ import annotations

from dataclasses import dataclass, replace

from catalog.units import MS_PER_S
from optimizer.errors import Location


@dataclass(frozen=True, slots=True)
class Run:
    """One benchmark run as its file tells it; None where the file does not say."""

    location: Location
    tool: str
    engine: str | None = None
    engine_version: str | None = None
    model: str | None = None
    """As the file calls it: a Hugging Face id, a path, a file name."""
    gpu: str | None = None
    """As the file calls it."""
    weight_dtype: str | None = None
    kv_cache_dtype: str | None = None
    tp: int | None = None
    pp: int | None = None
    dp: int | None = None
    ep: int | None = None
    input_tokens: float | None = None
    """Mean of a request."""
    output_tokens: float | None = None
    """Mean of a request."""
    concurrency: float | None = None
    """Requests in flight, on average."""
    prefix_hit_fraction: float | None = None
    ttft_ms: float | None = None
    """Mean."""
    tpot_ms: float | None = None
    """Mean of the time between tokens after the first."""
    output_tokens_per_s: float | None = None
    """Of the whole replica."""
    prefill_ms: float | None = None
    """Of one prompt alone."""

    def with_mean_in_flight(self, requests_per_s: float | None) -> Run:
        """Little's law: requests in flight = their rate × their mean time in the system; the stated limit without it.

        A run that ramps up and drains, or whose arrivals are random, has fewer in flight than its limit.
        """
        if requests_per_s is None or self.ttft_ms is None or self.tpot_ms is None or self.output_tokens is None:
            return self
        seconds = (self.ttft_ms + self.tpot_ms * max(self.output_tokens - 1.0, 0.0)) / MS_PER_S
        return replace(self, concurrency=requests_per_s * seconds)
