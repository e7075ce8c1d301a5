"""What the allocator adds to weights: the unused ends of the segments that large matrices are given.

PyTorch's caching allocator gives a tensor of 10 MiB or more a segment of whole 2 MiB, and splits off what is left only
beyond 1 MiB (c10/cuda/CUDACachingAllocator.cpp, `kMinLargeAlloc`, `kRoundLarge`, `should_split`). The rest counts as
allocated: 2 MiB a layer of Qwen2.5-7B, whose logged 14.2487 GiB exceed its tensors by 56 MiB.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from catalog.architecture import Layer, Split, Tensor
from catalog.schema import Model, TensorRole
from catalog.units import MEBI
from optimizer.serving_config import FloatArray

_SEGMENT_BYTES = 2 * MEBI
_SMALLEST_BYTES = 10 * MEBI
"""Smaller tensors share segments."""
_KEPT_BYTES = 1 * MEBI
"""At most this much stays with a tensor."""
_GATED = (TensorRole.MLP, TensorRole.SHARED_EXPERT, TensorRole.EXPERT)


class Matrix(NamedTuple):
    """One tensor as an engine allocates it: the parts that are fused into it, by how they are divided."""

    role: TensorRole
    split: Split
    parameters: int
    kv_parameters: int = 0
    """Further ones, divided by key/value head."""
    kv_heads: int = 0
    by_rows: bool = False
    """Divided by its inputs: the output of attention, the way down of a dense feed-forward part."""
    slices: int = 0
    """Matrices that are one here and have adapters of their own; 0 = takes none."""


def matrices_of(model: Model, layers: Mapping[Layer, int]) -> Counter[Matrix]:
    """The large matrices of so many layers of each kind, as engines fuse them, and how many of each."""
    counted: Counter[Matrix] = Counter()
    for layer, times in layers.items():
        for matrix in _layer_matrices(model, layer):
            counted[matrix] += times
    return counted


def segment_rest_bytes(size_bytes: FloatArray, reserved: bool) -> FloatArray:
    """Bytes of their segments that tensors of these sizes leave unused: all that is reserved, or what stays theirs."""
    rest = np.ceil(size_bytes / _SEGMENT_BYTES) * _SEGMENT_BYTES - size_bytes
    kept = rest <= (_SEGMENT_BYTES if reserved else _KEPT_BYTES)
    return np.where((size_bytes >= _SMALLEST_BYTES) & kept, rest, 0.0)


def _layer_matrices(model: Model, layer: Layer) -> Iterator[Matrix]:
    attention = [tensor for tensor in layer.tensors if tensor.role is TensorRole.ATTENTION]
    if any(tensor.split is Split.KV_HEADS for tensor in attention):
        yield from _fused_attention(attention, layer.cache.kv_heads)
    else:
        yield from (Matrix(t.role, t.split, t.parameters) for t in attention)
    for tensor in layer.tensors:
        if tensor.role in _GATED:
            yield from _up_and_down(model, tensor)
        elif tensor.role is TensorRole.LINEAR_ATTENTION:
            yield Matrix(tensor.role, tensor.split, tensor.parameters)


def _fused_attention(tensors: list[Tensor], kv_heads: int) -> Iterator[Matrix]:
    """Query (with its gate), key and value in one matrix, the output in another."""
    query, key_value, output, *others = tensors
    gate = sum(tensor.parameters for tensor in others if tensor.split is Split.TP)
    yield Matrix(query.role, Split.TP, query.parameters + gate, key_value.parameters, kv_heads, slices=3)
    yield Matrix(output.role, Split.TP, output.parameters, by_rows=True)


def _up_and_down(model: Model, tensor: Tensor) -> Iterator[Matrix]:
    """Gate and up in one matrix, down in another; of all experts of a layer together."""
    part = model.mlp if tensor.role is TensorRole.MLP and model.mlp is not None else model.moe
    gated = part is None or part.gated
    down = tensor.parameters // (3 if gated else 2)
    adapted = tensor.role is TensorRole.MLP and tensor.split is Split.TP
    yield Matrix(tensor.role, tensor.split, tensor.parameters - down, slices=(2 if gated else 1) if adapted else 0)
    yield Matrix(tensor.role, tensor.split, down, by_rows=adapted)
