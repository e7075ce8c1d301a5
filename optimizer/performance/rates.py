"""How fast cards multiply at best: rated TFLOPS by type of arithmetic."""

from __future__ import annotations

import numpy as np

from catalog.schema import Gpu, WeightFormat
from optimizer.serving_config import Configurations, FloatArray, of_cards


def compute_rates(configurations: Configurations) -> tuple[FloatArray, FloatArray]:
    """Rated TFLOPS of quantized tensors [gpus, formats] and of the others [gpus]."""
    engine = configurations.engine.id
    formats = configurations.weight_formats
    quantized = of_cards(configurations.gpus, lambda gpu: [_tflops(gpu, one, engine) for one in formats])
    return np.array(quantized), np.array(of_cards(configurations.gpus, _plain_tflops))


def _tflops(gpu: Gpu, weight_format: WeightFormat, engine: str) -> float:
    """Where the engine does not run the format, memory says so; the figures are those of 16-bit arithmetic."""
    dtype = weight_format.compute_dtype(engine, gpu)
    return (gpu.tflops.rate(dtype) if dtype is not None else None) or _plain_tflops(gpu)


def _plain_tflops(gpu: Gpu) -> float:
    rate = gpu.tflops.bf16 or gpu.tflops.fp16 or gpu.tflops.fp32
    assert rate is not None, f"{gpu.id}: no rate in 16 or 32 bit"
    return rate
