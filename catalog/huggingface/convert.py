"""Turns a Hugging Face configuration into a catalog entry, or says which of its fields cannot be."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from catalog.errors import Fault, InputError
from catalog.huggingface.families import CLASS_DEFAULTS, FAMILIES
from catalog.huggingface.positions import positions
from catalog.huggingface.quantization import checkpoint_of
from catalog.huggingface.reader import ConfigReader
from catalog.schema import Model, Source, TensorRole

_TEXT_TYPE_OF = {
    "gemma3": "gemma3_text",
    "gemma4": "gemma4_text",
    "glm5_next": "glm5_next_text",
    "kimi_k25": "kimi_k2",
    "llama4": "llama4_text",
    "qwen2_5_vl": "qwen2_5_vl_text",
    "qwen2_vl": "qwen2_vl_text",
    "qwen3_5": "qwen3_5_text",
    "qwen3_5_moe": "qwen3_5_moe_text",
    "qwen3_vl": "qwen3_vl_text",
    "qwen3_vl_moe": "qwen3_vl_moe_text",
    "qwen4_exp": "qwen4_exp_text",
}
"""Model type of the language model, where the nested configuration leaves it out or names the whole."""


def model_from_hf_config(
    config: Mapping[str, Any], *, model_id: str, source: Source, family: str | None = None, vision_parameters: int = 0
) -> Model:
    """The catalog entry of a `config.json`; InputError lists every field that is missing, wrong or not supported.

    A vision tower is not described by the language model's configuration: state its size as `vision_parameters`.
    """
    if not isinstance(config, Mapping):
        raise InputError('a Hugging Face configuration is a mapping of fields, such as {"model_type": "llama", …}')
    text, prefix = _text_config(config)
    model_type = _model_type(config, text, prefix)
    faults: list[Fault] = []
    reader = ConfigReader({**CLASS_DEFAULTS.get(model_type, {}), **text}, model_type, prefix, faults)
    facts = {
        "id": model_id,
        "family": family or model_type.removesuffix("_text").replace("_", "-"),
        "architecture": _architecture(config, text, faults),
        "model_type": model_type,
        **_network(config, reader, model_type),
        "vision_parameters": vision_parameters,
        "verification": "unverified",
        "sources": (source,),
        "notes": _notes(config, prefix, vision_parameters),
    }
    try:
        facts["checkpoint"] = checkpoint_of({**config, **{key: text[key] for key in _CHECKPOINT_FIELDS if key in text}})
    except InputError as error:
        faults.extend(error.faults)
    if faults:
        raise InputError(dict.fromkeys(faults))
    return _kept_with_linear(_validated(facts))


def _network(config: Mapping[str, Any], reader: ConfigReader, model_type: str) -> dict[str, Any]:
    """Layers, sizes and vocabulary; faults go to the reader."""
    of_family = FAMILIES[model_type](reader)
    facts = {
        "hidden_size": reader.count("hidden_size"),
        "vocab_size": reader.count("vocab_size"),
        "tied_embeddings": _tied(config, reader),
        **positions(reader, of_family),
        **of_family,
        "mtp_layers": reader.count_or_none("num_nextn_predict_layers", "num_mtp_layers", "mtp_num_hidden_layers") or 0,
    }
    if "max_context_tokens" not in facts:
        facts["max_context_tokens"] = reader.count("max_position_embeddings", "model_max_length")
    return facts


_CHECKPOINT_FIELDS = ("dtype", "torch_dtype", "quantization_config", "expert_dtype")


def _text_config(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The language model's configuration and the prefix of its fields."""
    for name in ("text_config", "llm_config", "language_config"):
        nested = config.get(name)
        if isinstance(nested, Mapping):
            return nested, f"{name}."
    return config, ""


def _model_type(config: Mapping[str, Any], text: Mapping[str, Any], prefix: str) -> str:
    for stated in (text.get("model_type"), config.get("model_type")):
        if isinstance(stated, str):
            model_type = stated if stated in FAMILIES else _TEXT_TYPE_OF.get(stated, stated)
            if model_type in FAMILIES:
                return model_type
    stated = text.get("model_type", config.get("model_type"))
    key = f"{prefix}model_type" if "model_type" in text else "model_type"
    if stated is None:
        raise InputError([Fault(f"{key}: missing; it names the architecture, such as llama or qwen3_moe", key=key)])
    near = get_close_matches(str(stated)[:80], FAMILIES, n=4, cutoff=0.5)
    nearest = f"nearest supported: {', '.join(near)}" if near else f"supported: {', '.join(sorted(FAMILIES))}"
    raise InputError([Fault(f"{key}: architecture {str(stated)[:80]!r} is not supported; {nearest}", key=key)])


def _architecture(config: Mapping[str, Any], text: Mapping[str, Any], faults: list[Fault]) -> str:
    names = config.get("architectures") or text.get("architectures")
    if isinstance(names, list | tuple) and names and isinstance(names[0], str):
        return names[0]
    faults.append(Fault("architectures: missing; engines choose the model class by it", key="architectures"))
    return ""


def _tied(config: Mapping[str, Any], reader: ConfigReader) -> bool:
    """transformers looks into the nested configuration, then into the outer one."""
    outer = config.get("tie_word_embeddings")
    return reader.flag("tie_word_embeddings", outer if isinstance(outer, bool) else False)


def _notes(config: Mapping[str, Any], prefix: str, vision_parameters: int) -> str:
    towers = ("vision_config", "audio_config")
    if prefix and not vision_parameters and any(isinstance(config.get(name), Mapping) for name in towers):
        return "language model only: vision_parameters is not stated"
    return ""


def _kept_with_linear(model: Model) -> Model:
    """In Kimi-Linear both kinds of mixer are called self_attn: a checkpoint that keeps one keeps the other."""
    kept = model.checkpoint.kept_16bit
    if model.recurrent is None or model.recurrent.kind != "kda" or TensorRole.ATTENTION not in kept:
        return model
    checkpoint = model.checkpoint.model_copy(
        update={"kept_16bit": tuple(dict.fromkeys((TensorRole.ATTENTION, TensorRole.LINEAR_ATTENTION, *kept)))}
    )
    return model.model_copy(update={"checkpoint": checkpoint})


def _validated(facts: Mapping[str, Any]) -> Model:
    try:
        return Model.model_validate(facts)
    except ValidationError as error:
        raise InputError(
            Fault(": ".join((*map(str, problem["loc"]), problem["msg"].removeprefix("Value error, "))))
            for problem in error.errors()
        ) from error
