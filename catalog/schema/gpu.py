"""Accelerators."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from catalog.schema.base import Entry, PositiveFloat, PositiveInt, Source


class Tflops(Entry):
    """Dense peak rates in 10^12 operations per second, never with sparsity; null = the card has no such type."""

    fp32: PositiveFloat | None = None
    tf32: PositiveFloat | None = None
    bf16: PositiveFloat | None = None
    fp16: PositiveFloat | None = None
    fp8: PositiveFloat | None = None
    int8: PositiveFloat | None = None
    int4: PositiveFloat | None = None
    fp4: PositiveFloat | None = None

    def rate(self, dtype: str) -> float | None:
        """Rate of one of the types above."""
        value: float | None = getattr(self, dtype)
        return value


class Names(Entry):
    """What other systems call the card; null = not known, or they have no name for it."""

    kubernetes: str | None = None
    """Value of the node label `nvidia.com/gpu.product`, which GPU feature discovery sets."""
    skypilot: str | None = None
    """Accelerator in SkyPilot's catalog."""
    ray: str | None = None
    """`accelerator_type` of Ray."""


class Gpu(Entry):
    """One accelerator as an engine sees it."""

    kind: Literal["gpu"] = "gpu"
    id: str
    name: str
    called: Names = Names()
    vendor: str
    architecture: str
    """Generation, such as `Hopper GH100`."""
    compute_capability: str
    """NVIDIA's number (`9.0`), AMD's target (`gfx942`) or another vendor's (`metal`, `xe2`, `hpu`, `tpu`, `neuron`)."""
    nominal_memory_gb: PositiveFloat
    """The number on the box."""
    visible_memory_gib: PositiveFloat
    """What an engine can see before it allocates anything."""
    visible_memory_basis: str
    """What that figure is: the total that CUDA reports, the driver's total, or an estimate."""
    driver_memory_mib: PositiveInt | None = None
    """What nvidia-smi, rocm-smi or hl-smi shows: a little more than an engine sees."""
    memory_type: str
    unified_memory: bool = False
    """Host and GPU share one memory, and the host needs some of it."""
    memory_bandwidth_gb_per_s: PositiveFloat
    tflops: Tflops
    link_gb_per_s: PositiveFloat | None
    """Scale-up link (NVLink, Infinity Fabric …) per direction; null = PCIe only."""
    link_domain_gpus: PositiveInt
    """GPUs that the fast link joins; 1 = none."""
    link_needs_bridge: bool = False
    """The link is a bridge bought apart, which not every server has."""
    host_link: str
    """Such as `PCIe 4.0 x16`."""
    pcie_gb_per_s: PositiveFloat
    """Host link per direction, computed from generation and lanes."""
    form_factor: Literal["sxm", "pcie", "other"]
    rated_power_w: PositiveFloat | None
    launch: str | None = None
    """Year, or year and month."""
    purchase_usd: PositiveFloat | None = None
    """Rough price of one card; an orientation, never used in a plan unless the scenario says so."""
    sources: tuple[Source, ...] = Field(min_length=1)
    notes: str = ""

    @property
    def cuda_capability(self) -> float | None:
        """NVIDIA's compute capability as a number; null for other vendors."""
        return float(self.compute_capability) if self.vendor == "NVIDIA" else None
