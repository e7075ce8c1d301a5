"""What is loaded beside a model: a head that drafts tokens ahead, adapters that are swapped a request at a time."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Literal

import numpy as np

from catalog.errors import InputError
from catalog.schema import Model, TensorRole
from catalog.schema.drafted import DraftedModel
from catalog.schema.layers import expand_layers, parse_word
from catalog.schema.model import COMPRESSED_MIXERS, LATENT_MIXERS, SOFTMAX_MIXERS, OtherTensor
from optimizer.memory.job import Job
from optimizer.memory.stages import Stage
from optimizer.scenario.speculation import DraftMethod
from optimizer.serving_config import Configurations, FloatArray

Speculative = Literal["mtp", "eagle"]
SPECULATIVE: tuple[Speculative, ...] = ("mtp", "eagle")
_ATTENDING = (*SOFTMAX_MIXERS, *LATENT_MIXERS, *COMPRESSED_MIXERS)
ADAPTER_BYTES = 2.0
"""Of one weight of an adapter: they are kept in the activation type."""


@lru_cache(maxsize=64)
def with_draft(model: Model, speculative: Speculative) -> Model:
    """The model with its drafting layers behind the last one; embedding and output matrix are shared.

    `mtp` takes the multi-token-prediction layers that the checkpoint has; `eagle` one dense layer of the model's own
    sizes. Each reads the last hidden state beside the embedding of the next token through one matrix of its own, and
    caches keys and values like any other layer (EAGLE on Llama-3.1-8B: 135,168 bytes a token instead of 131,072).
    InputError where the model has no such layers.
    """
    words = expand_layers(model.layers)
    attended = [word for word in words if parse_word(word).mixer in _ATTENDING]
    if speculative == "mtp" and not model.mtp_layers:
        raise InputError(f"{model.id} has no layers for multi-token prediction (mtp_layers); use eagle or none")
    if not attended or (speculative == "eagle" and (model.mlp is None or model.attention is None)):
        raise InputError(f"{model.id} has no layer that a {speculative} head could be made of; leave speculative out")
    layer = _without_compression(attended[-1]) if speculative == "mtp" else "full/dense"
    count = model.mtp_layers if speculative == "mtp" else 1
    fuse = OtherTensor(
        what=f"{speculative}: next embedding and last hidden state into one",
        parameters_once=count * 2 * model.hidden_size**2,
        role=TensorRole.NORM,
    )
    layers = " ".join([model.layers, *[layer] * count])
    drafting = count if speculative == "mtp" else 0
    changed = {"layers": layers, "draft_layers": drafting, "other_tensors": (*model.other_tensors, fuse)}
    return Model.model_validate({**model.model_dump(), **changed})


def has_draft_head(model: Model) -> bool:
    """Whether `with_draft` gave the model a head."""
    return any(tensor.what.startswith(tuple(f"{method}:" for method in SPECULATIVE)) for tensor in model.other_tensors)


def _without_compression(word: str) -> str:
    """The layer that drafts: of DeepSeek-V4 one that sees its window only (compress_ratios of mtp layers are 0)."""
    mixer, rest = parse_word(word).mixer, word.split("/", 1)[1]
    return f"window/{rest}" if mixer in COMPRESSED_MIXERS else word


@lru_cache(maxsize=64)
def with_tables_on_host(model: Model) -> Model:
    """The model without the tables that tokens are only looked up in: host memory holds them.

    Engines that always keep them there say so (`EngineRules.tables_on_host`); vLLM does with
    `--engram-config '{"cpu_offload": true}'`. InputError where the model has none.
    """
    kept = tuple(tensor for tensor in model.other_tensors if tensor.role is not TensorRole.TABLE)
    if len(kept) == len(model.other_tensors):
        raise InputError(f"{model.id} has no tables beside its layers; leave tables_on_host out")
    return Model.model_validate({**model.model_dump(), "other_tensors": kept})


@lru_cache(maxsize=64)
def with_drafter(model: Model, drafter: Model | None) -> Model:
    """The model with a small one beside it: its weights in 16 bit, its KV cache at the model's type, divided alike.

    vLLM loads drafts so (https://github.com/vllm-project/vllm/pull/24322): the same vocabulary and ranks, quantization
    of each its own, blocks for the layers of both. InputError where they do not go together, or have caches of several
    kinds, of which engines make groups that we have seen no log of.
    """
    if drafter is None:
        raise InputError(f"{model.id}: the model that is to draft is not in the catalog; add it, or leave it out")
    if drafter.vocab_size != model.vocab_size:
        sizes = f"{drafter.vocab_size:,} and {model.vocab_size:,}"
        raise InputError(f"{drafter.id} does not draft for {model.id}: vocabularies of {sizes} tokens; they must agree")
    for one in (model, drafter):
        if {kind.mixer for kind in one.layer_kinds} != {"full"}:
            raise InputError(f"{one.id} has layers other than full attention; planned with a drafting model it is not")
    if drafter.is_moe:
        raise InputError(f"{drafter.id} is a mixture of experts; name a dense model that drafts")
    return DraftedModel.of(model, drafter)


def loaded(configurations: Configurations) -> Configurations:
    """The same with the model as the engine loads it: what drafts tokens belongs to it."""
    drafts = configurations.speculation
    if drafts is None or drafts.method == "ngram":
        return configurations
    return replace(configurations, model=_drafting(configurations.model, drafts.method, configurations.drafter))


def _drafting(model: Model, method: DraftMethod, drafter: Model | None) -> Model:
    """The model as it is loaded; InputError where it cannot draft so."""
    if method == "ngram":
        return model
    return with_drafter(model, drafter) if method == "draft_model" else with_draft(model, method)


def may_draft(model: Model, method: DraftMethod, drafter: Model | None = None, context_tokens: int = 0) -> bool:
    """Whether the model has, or could be given, what drafts tokens, in requests of that length."""
    if drafter is not None and drafter.max_context_tokens < context_tokens:
        return False
    try:
        _drafting(model, method, drafter)
    except InputError:
        return False
    return True


def adapter_bytes(job: Job, stage: Stage, *, on_experts: bool) -> FloatArray:
    """[n] slots for low-rank adapters, kept free for `max_loras` at once.

    Of a matrix divided by columns the down-projection is whole on every rank and the up-projection divided; of one
    divided by rows the other way round (vllm/lora/layers/column_parallel_linear.py, row_parallel_linear.py).
    """
    total = np.zeros(len(job.tp))
    if not job.max_loras:
        return total
    hidden = job.model.hidden_size
    for matrix, times in stage.matrices:
        width = (matrix.parameters + matrix.kv_parameters) / hidden
        if matrix.by_rows:
            values = hidden + width / job.tp
        elif matrix.slices:
            values = matrix.slices * hidden + width / job.tp
        else:
            continue  # latent projections take none, experts have a layout of their own
        total += times * job.lora_rank * values
    if on_experts:
        total += stage.expert_layers * job.lora_rank * _expert_adapter_values(job)
    return total * job.max_loras * ADAPTER_BYTES


def _expert_adapter_values(job: Job) -> FloatArray:
    """[n] values of rank 1 on the experts of a rank, in one layer: of the matrices up (and gate) and of the one down.

    Every local expert has its own, with whole rows as wide as the model and its share of the expert's width
    (vllm/lora/layers/fused_moe.py, FusedMoEWithLoRA.create_lora_weights).
    """
    moe = job.model.moe
    assert moe is not None
    ranks = job.tp * job.dp
    slices, upward = np.maximum(ranks // np.maximum(job.ep, 1), 1), 2 if moe.gated else 1
    ends = (moe.latent_size or job.model.hidden_size) + moe.intermediate_size / slices
    values: FloatArray = moe.experts / job.ep * (upward + 1) * ends
    return values
