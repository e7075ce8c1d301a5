"""Which of our weight formats a checkpoint's `quantization_config` is, and what it leaves in 16 bit."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from catalog.errors import Fault, InputError
from catalog.schema import TensorRole
from catalog.schema.checkpoint import Checkpoint

_DTYPES = ("bfloat16", "float16", "float32")
_ROLE_PATTERNS: tuple[tuple[TensorRole, str], ...] = (
    (TensorRole.ATTENTION, r"self_attn|\battn\b"),
    (TensorRole.LINEAR_ATTENTION, r"linear_attn|mamba|\bmixer\b"),
    (TensorRole.MLP, r"mlp\W*\((gate|up|down)|mlp\.(gate|up|gate_up|down)_proj|layers\.0\*"),
    (TensorRole.SHARED_EXPERT, r"shared_experts?(?!_gate)"),
)
"""Module names in the checkpoints of transformers, compressed-tensors and ModelOpt; `layers.0*` is the one dense layer
in front of layers with experts."""
_NOT_THE_LAYERS = re.compile(r"norm|gate$|bias$|indexer|^mtp|visual|vision|projector|embed|head$")
"""Modules that no format quantizes or that are not counted as language model."""


def checkpoint_of(config: Mapping[str, Any]) -> Checkpoint:
    """How the published weights are stored; InputError names the field of a quantization that we have no format for."""
    dtype = config.get("dtype", config.get("torch_dtype"))
    if dtype is not None:
        dtype = str(dtype).removeprefix("torch.")
        if dtype not in _DTYPES:
            raise InputError(
                [Fault(f"torch_dtype: {dtype[:40]!r} is not one of {', '.join(_DTYPES)}", key="torch_dtype")]
            )
    quantization = config.get("quantization_config")
    if quantization is None:
        return Checkpoint(dtype=dtype)
    if not isinstance(quantization, Mapping):
        raise _unsupported("", f"{quantization!r:.40} is not a mapping")
    method = str(quantization.get("quant_method", quantization.get("quant_algo", "")))
    if "quant_algo" in quantization:
        method = "modelopt"  # over an fp8 checkpoint ModelOpt leaves quant_method: fp8
    reader = METHODS.get(method)
    if reader is None:
        raise _unsupported(".quant_method", f"{method[:40]!r} is not one of {', '.join(METHODS)}")
    weight_format, expert_format, said = reader(quantization)
    if expert_format is None and config.get("expert_dtype") == "fp4":
        expert_format, said = "mxfp4", f"{said}; routed experts fp4"
    kv_format, kv_said = _kv_format(quantization)
    return Checkpoint(
        dtype=dtype,
        weight_format=weight_format,
        expert_format=expert_format,
        kept_16bit=_kept_roles(quantization, expert_format),
        kv_format=kv_format,
        quantization=said + kv_said,
    )


Formats = tuple[str, str | None, str]
"""Our format, that of routed experts where it differs, and the configuration said in a line."""


def _fp8(quantization: Mapping[str, Any]) -> Formats:
    block = quantization.get("weight_block_size")
    if block is not None:
        if block not in ([128, 128], (128, 128)):
            raise _unsupported(".weight_block_size", f"{block!r:.40} is not [128, 128]")
        scales = f", {quantization['scale_fmt']} scales" if quantization.get("scale_fmt") else ""
        return "fp8-block", None, f"fp8 e4m3 in blocks of 128 x 128, dynamic activations{scales}"
    if quantization.get("activation_scheme") == "static":
        return "fp8-static", None, "fp8 e4m3 per tensor, static activations"
    return "fp8", None, "fp8 e4m3, dynamic activations"


def _mxfp4(_: Mapping[str, Any]) -> Formats:
    return "mxfp4", None, "mxfp4 (blocks of 32, e8m0 scale)"


def _awq(quantization: Mapping[str, Any]) -> Formats:
    _require(quantization, "bits", 4)
    _require(quantization, "group_size", 128)
    return "awq-int4", None, "AWQ, 4 bit in groups of 128"


def _gptq(quantization: Mapping[str, Any]) -> Formats:
    if quantization.get("bits") == 8:
        return "int8-w8a16", None, "GPTQ, 8 bit weights"
    _require(quantization, "bits", 4)
    _require(quantization, "group_size", 128)
    return "gptq-int4", None, "GPTQ, 4 bit in groups of 128"


def _bitsandbytes(quantization: Mapping[str, Any]) -> Formats:
    if quantization.get("load_in_8bit"):
        return "bnb-int8", None, "bitsandbytes LLM.int8"
    if quantization.get("load_in_4bit") and quantization.get("bnb_4bit_quant_type") == "nf4":
        return "bnb-nf4", None, "bitsandbytes nf4"
    raise _unsupported(".bnb_4bit_quant_type", "neither nf4 (with load_in_4bit) nor load_in_8bit")


def _compressed_tensors(quantization: Mapping[str, Any]) -> Formats:
    scheme = _first_group(quantization)
    weights, activations = _group(scheme, "weights"), scheme.get("input_activations")
    kind = (weights.get("type"), weights.get("num_bits"), weights.get("group_size"))
    written = str(scheme.get("format") or quantization.get("format") or "")
    said = f"compressed-tensors {written}, {kind[1]} bit" + (f" in groups of {kind[2]}" if kind[2] else "")
    static = activations is not None and not _group(scheme, "input_activations").get("dynamic")
    match kind:
        case ("float", 4, 32) if written.startswith("mxfp4"):
            return "mxfp4", None, said
        case ("float", 4, 16):
            return ("nvfp4-a16" if activations is None else "nvfp4"), None, said
        case ("float", 8, _) if weights.get("strategy") == "block":
            return "fp8-block", None, said
        case ("float", 8, _):
            return ("fp8-w8a16" if activations is None else "fp8-static" if static else "fp8"), None, said
        case ("int", 8, _):
            return ("int8-w8a16" if activations is None else "int8"), None, said
        case ("int", 4, 32):
            return "int4-g32", None, said
        case ("int", 4, 128) if activations is None:
            return ("gptq-int4" if weights.get("symmetric", True) else "awq-int4"), None, said
        case ("int", 4, 128):
            return "w4a8", None, said
    raise _unsupported(".config_groups", f"{kind!r} (type, bits, group size) is none of our formats")


def _modelopt(quantization: Mapping[str, Any]) -> Formats:
    algorithm = str(quantization.get("quant_algo", ""))
    match algorithm.upper():
        case "NVFP4":
            return "nvfp4", None, "ModelOpt NVFP4 in groups of 16"
        case "NVFP4_AWQ" | "W4A16_NVFP4":
            return "nvfp4-a16", None, f"ModelOpt {algorithm}"
        case "FP8":
            return "fp8-static", None, "ModelOpt FP8 per tensor, static activations"
        case "W4A16_AWQ":
            return "awq-int4", None, "ModelOpt AWQ, 4 bit"
        case "W4A8_AWQ":
            return "w4a8", None, "ModelOpt AWQ, 4 bit weights, fp8 activations"
        case "MIXED_PRECISION" if quantization.get("moe_quant_algo") == "NVFP4" and quantization.get("fmt") == "e4m3":
            return (
                "fp8-block",
                "nvfp4",
                "ModelOpt mixed precision: routed experts NVFP4, the rest fp8 as in the original",
            )
    raise _unsupported(".quant_algo", f"{algorithm[:40]!r} is none of our formats")


METHODS: Mapping[str, Callable[[Mapping[str, Any]], Formats]] = {
    "fp8": _fp8,
    "mxfp4": _mxfp4,
    "awq": _awq,
    "gptq": _gptq,
    "bitsandbytes": _bitsandbytes,
    "compressed-tensors": _compressed_tensors,
    "modelopt": _modelopt,
    "modelopt_fp4": _modelopt,
}
"""`quant_method` of a configuration -> how it is read."""


def _kept_roles(quantization: Mapping[str, Any], expert_format: str | None) -> tuple[TensorRole, ...]:
    if expert_format is not None:
        return ()  # what ModelOpt ignores keeps the format of the original, not 16 bit
    modules = (
        quantization.get("ignore") or quantization.get("modules_to_not_convert") or quantization.get("exclude_modules")
    )
    if not isinstance(modules, list | tuple):
        return ()
    text = " ".join(str(module) for module in modules if not _NOT_THE_LAYERS.search(str(module)))
    roles = [role for role, pattern in _ROLE_PATTERNS if re.search(pattern, text)]
    return tuple(roles)


def _kv_format(quantization: Mapping[str, Any]) -> tuple[str | None, str]:
    scheme = _group(quantization, "kv_cache_scheme")
    algorithm = str(quantization.get("kv_cache_quant_algo") or "")
    if algorithm == "FP8" or (scheme.get("type") == "float" and scheme.get("num_bits") == 8):
        return "fp8", "; fp8 KV cache"
    return None, ""


def _first_group(quantization: Mapping[str, Any]) -> Mapping[str, Any]:
    groups = _group(quantization, "config_groups")
    if not groups:
        raise _unsupported(".config_groups", "missing; compressed-tensors states its weights there")
    schemes = [_group(groups, name) for name in groups]
    if len({repr(scheme.get("weights")) for scheme in schemes}) != 1:
        raise _unsupported(".config_groups", f"{len(schemes)} groups with different weights are not one format")
    return schemes[0]


def _group(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A nested mapping; an absent one reads as empty."""
    value = values.get(name)
    if value is not None and not isinstance(value, Mapping):
        raise _unsupported(f".{name}", f"{value!r:.40} is not a mapping")
    return value or {}


def _require(quantization: Mapping[str, Any], name: str, expected: int) -> None:
    if quantization.get(name, expected) != expected:
        raise _unsupported(f".{name}", f"{quantization[name]!r:.40}; we have a format for {expected} only")


def _unsupported(name: str, what: str) -> InputError:
    key = f"quantization_config{name}"
    return InputError([Fault(f"{key}: {what}", key=key)])
