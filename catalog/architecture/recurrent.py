"""Recurrent mixers: the tensors and the constant state of one layer whose memory does not grow with the sequence."""

from __future__ import annotations

from catalog.architecture.attention import Mixer
from catalog.architecture.structure import Cache, Split, Tensor
from catalog.schema import Model, TensorRole
from catalog.schema.model import GatedDeltaNet, KimiDelta, LightningAttention, Mamba1, Mamba2

_LINEAR, _STATE, _NORM = TensorRole.LINEAR_ATTENTION, TensorRole.STATE, TensorRole.NORM


def mamba1(model: Model) -> Mixer:
    """Selective state space: per channel a state of `state_size`."""
    part = model.recurrent
    assert isinstance(part, Mamba1)
    hidden, inner = model.hidden_size, part.inner_size
    low_rank = part.dt_rank + 2 * part.state_size
    tensors = [
        Tensor(_LINEAR, hidden * 2 * inner, Split.TP),
        Tensor(_LINEAR, inner * low_rank, Split.TP),
        Tensor(_LINEAR, part.dt_rank * inner, Split.TP),
        Tensor(_LINEAR, inner * hidden, Split.TP),
        Tensor(_STATE, inner * (part.conv_tokens + 1), Split.TP),  # convolution and its bias
        Tensor(_STATE, inner * (part.state_size + 2), Split.TP),  # A, D, dt bias
    ]
    if part.inner_norms:
        tensors.append(Tensor(_NORM, low_rank, Split.REPLICATED))
    return _recurrent(tensors, state_values=inner * part.state_size, conv_values=inner * (part.conv_tokens - 1))


def mamba2(model: Model) -> Mixer:
    """State-space duality: per head a state of head_dim × state_size."""
    part = model.recurrent
    assert isinstance(part, Mamba2)
    hidden, inner = model.hidden_size, part.heads * part.head_dim
    conv_width = inner + 2 * part.groups * part.state_size
    tensors = [
        Tensor(_LINEAR, hidden * (inner + conv_width + part.heads), Split.TP),
        Tensor(_LINEAR, inner * hidden, Split.TP),
        Tensor(_STATE, conv_width * (part.conv_tokens + 1), Split.TP),  # convolution and its bias
        Tensor(_STATE, 3 * part.heads, Split.TP),  # A, D, dt bias
        Tensor(_NORM, inner, Split.TP),
    ]
    return _recurrent(tensors, state_values=inner * part.state_size, conv_values=conv_width * (part.conv_tokens - 1))


def gated_deltanet(model: Model) -> Mixer:
    """Gated delta rule: per value head a state of key_head_dim × value_head_dim."""
    part = model.recurrent
    assert isinstance(part, GatedDeltaNet)
    hidden = model.hidden_size
    key_width, value_width = part.key_heads * part.key_head_dim, part.value_heads * part.value_head_dim
    conv_width = 2 * key_width + value_width
    tensors = [
        Tensor(_LINEAR, hidden * (conv_width + value_width), Split.TP),  # q, k, v and the output gate z
        Tensor(_LINEAR, hidden * 2 * part.value_heads, Split.TP),  # beta and the decay
        Tensor(_LINEAR, value_width * hidden, Split.TP),
        Tensor(_STATE, conv_width * part.conv_tokens, Split.TP),
        Tensor(_STATE, 2 * part.value_heads, Split.TP),  # A, dt bias
        Tensor(_NORM, part.value_head_dim, Split.REPLICATED),
    ]
    return _recurrent(
        tensors,
        state_values=part.value_heads * part.key_head_dim * part.value_head_dim,
        conv_values=conv_width * (part.conv_tokens - 1),
    )


def kimi_delta(model: Model) -> Mixer:
    """Kimi delta attention: per head a state of head_dim × head_dim, with a decay per channel."""
    part = model.recurrent
    assert isinstance(part, KimiDelta)
    hidden, width = model.hidden_size, part.heads * part.head_dim
    low_rank = 1 if part.full_rank_gate else 2  # pairs of thin matrices: of the decay and of the output gate
    tensors = [
        Tensor(_LINEAR, (5 if part.full_rank_gate else 4) * hidden * width, Split.TP),  # q, k, v, o, a full gate
        Tensor(_LINEAR, hidden * part.heads, Split.TP),  # beta
        Tensor(_LINEAR, hidden * part.head_dim * low_rank, Split.REPLICATED),  # down to the rank
        Tensor(_LINEAR, part.head_dim * width * low_rank, Split.TP),  # and up again
        Tensor(_STATE, 3 * width * part.conv_tokens, Split.TP),
        Tensor(_STATE, width + part.heads, Split.TP),  # dt bias, A
        Tensor(_NORM, part.head_dim, Split.REPLICATED),
    ]
    return _recurrent(tensors, state_values=width * part.head_dim, conv_values=3 * width * (part.conv_tokens - 1))


def lightning_attention(model: Model) -> Mixer:
    """Linear attention with a fixed decay: per head a state of head_dim × head_dim."""
    part = model.recurrent
    assert isinstance(part, LightningAttention)
    hidden, width = model.hidden_size, part.heads * part.head_dim
    tensors = [
        Tensor(_LINEAR, 5 * hidden * width, Split.TP),  # q, k, v, the output gate, o
        Tensor(_NORM, width, Split.TP),
    ]
    return _recurrent(tensors, state_values=width * part.head_dim, conv_values=0)


def _recurrent(tensors: list[Tensor], state_values: int, conv_values: int) -> Mixer:
    return Mixer(tuple(tensors), Cache("recurrent", state_values=state_values, conv_values=conv_values))
