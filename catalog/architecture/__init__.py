"""Engine-free arithmetic of a model: which tensors each layer has, and what it caches per token or per sequence."""

from catalog.architecture.build import architecture_of
from catalog.architecture.structure import Architecture, Cache, Layer, Split, Tensor

__all__ = ["Architecture", "Cache", "Layer", "Split", "Tensor", "architecture_of"]
