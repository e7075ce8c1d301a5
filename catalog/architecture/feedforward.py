"""Feed-forward parts: the tensors of one layer's dense MLP or experts."""

from __future__ import annotations

from catalog.architecture.structure import Split, Tensor
from catalog.schema import Model, TensorRole


def dense(model: Model, intermediate_size: int | None) -> tuple[Tensor, ...]:
    """A dense MLP, of the model's width unless this layer has its own."""
    mlp = model.mlp
    gated, bias = (mlp.gated, mlp.bias) if mlp else (True, False)
    width = intermediate_size or (mlp.intermediate_size if mlp else 0)
    tensors = [Tensor(TensorRole.MLP, _matrices(model.hidden_size, width, gated), Split.TP)]
    if bias:
        tensors.append(Tensor(TensorRole.NORM, width * (2 if gated else 1), Split.TP))
        tensors.append(Tensor(TensorRole.NORM, model.hidden_size, Split.REPLICATED))
    return tuple(tensors)


def mixture_of_experts(model: Model, intermediate_size: int | None) -> tuple[Tensor, ...]:
    """Router, routed experts, shared experts."""
    moe, hidden = model.moe, model.hidden_size
    assert moe is not None
    outer = moe.latent_size or hidden
    width = intermediate_size or moe.intermediate_size
    tensors = [
        Tensor(TensorRole.ROUTER, (hidden + moe.bias) * moe.experts, Split.REPLICATED),
        Tensor(TensorRole.EXPERT, moe.experts * _matrices(outer, width, moe.gated), Split.EXPERTS),
    ]
    if moe.bias:  # vectors count as norms: no format quantizes either
        biases = moe.experts * (width * (2 if moe.gated else 1) + outer)
        tensors.append(Tensor(TensorRole.NORM, biases, Split.EXPERTS))
    if moe.latent_size:
        tensors.append(Tensor(TensorRole.MLP, 2 * hidden * moe.latent_size, Split.REPLICATED))
        if moe.latent_norm:
            tensors.append(Tensor(TensorRole.NORM, moe.latent_size, Split.REPLICATED))
    if moe.shared_intermediate_size:
        shared = _matrices(hidden, moe.shared_intermediate_size, moe.gated)
        tensors.append(Tensor(TensorRole.SHARED_EXPERT, shared, Split.TP))
    if moe.shared_gate:
        tensors.append(Tensor(TensorRole.ROUTER, hidden, Split.REPLICATED))
    if moe.beside_mlp:
        tensors += dense(model, None)
    return tuple(tensors)


def _matrices(outer: int, inner: int, gated: bool) -> int:
    return outer * inner * (3 if gated else 2)
