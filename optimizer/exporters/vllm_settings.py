"""How `vllm serve` must be started so that it runs a replica as planned: options, checkpoint, container image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from catalog import Catalog
from catalog.schema import Model
from optimizer.errors import InputError
from optimizer.layout import ReplicaGroup
from optimizer.memory import ReplicaMemory, replica_memory
from optimizer.serving_config import one_configuration

VLLM_VERSION: Final = "0.33.0"
"""The release whose option table the tests hold."""

IMAGES: Final = {"nvidia": "vllm/vllm-openai", "amd": "vllm/vllm-openai-rocm"}
"""Official images by vendor (https://docs.vllm.ai/en/stable/deployment/docker/)."""

ONLINE_QUANTIZATION: Final = {
    "fp8": "fp8_per_tensor",
    "fp8-block": "fp8_per_block",
    "bnb-nf4": "bitsandbytes",
}
"""Weight formats that vLLM itself makes of a 16-bit checkpoint while loading it -> `--quantization`
(https://docs.vllm.ai/en/v0.29.0/features/quantization/online/ and …/features/quantization/bnb/). Every other format
needs a checkpoint that was converted beforehand."""

KV_CACHE_DTYPES: Final = {"auto": "auto", "fp8": "fp8", "fp8-e5m2": "fp8_e5m2"}
"""Our ids -> `--kv-cache-dtype` (https://docs.vllm.ai/en/stable/features/quantization/quantized_kvcache/)."""

SIXTEEN_BIT: Final = ("bf16", "fp16")

Setting = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Weights:
    """Where the weights come from."""

    checkpoint: str | None
    """Hugging Face id; null = the user must name a checkpoint, see `needs`."""
    needs: str = ""
    """What that checkpoint must be, in words."""
    quantization: str | None = None
    """`--quantization`: the format is made while loading."""


def weights_of(group: ReplicaGroup, catalog: Catalog) -> Weights:
    """The published checkpoint if it is in the planned format or vLLM can make it so, else what the user must find."""
    model = _model(group, catalog)
    planned = group.weight_dtype
    published = model.checkpoint.weight_format
    # fp8 on a model published in block FP8 means that checkpoint.
    if planned == published or (planned == "fp8" and published == "fp8-block"):
        return Weights(model.id)
    if published is None and planned in SIXTEEN_BIT:
        return Weights(model.id)
    if published is None and planned in ONLINE_QUANTIZATION:
        return Weights(model.id, quantization=ONLINE_QUANTIZATION[planned])
    return Weights(None, needs=f"a checkpoint of {model.id} in {planned}")


def vllm_settings(group: ReplicaGroup, catalog: Catalog) -> dict[str, Setting]:
    """Options of `vllm serve` without their dashes, in a fixed order; no `model` when the user must name it."""
    weights = weights_of(group, catalog)
    settings: dict[str, Setting] = {} if weights.checkpoint is None else {"model": weights.checkpoint}
    settings["served-model-name"] = _model(group, catalog).id
    settings["dtype"] = _dtype(group, catalog)
    if weights.quantization is not None:
        settings["quantization"] = weights.quantization
    settings["kv-cache-dtype"] = _kv_cache_dtype(group)
    settings["tensor-parallel-size"] = _known(group.tp)
    settings["pipeline-parallel-size"] = _known(group.pp)
    if _known(group.dp) > 1:
        settings["data-parallel-size"] = _known(group.dp)
    if _known(group.ep) > 1:
        settings["enable-expert-parallel"] = True
    settings["max-model-len"] = _known(group.max_model_len)
    settings["max-num-seqs"] = _known(group.max_batch_size)
    # What the memory of the plan was computed with, said aloud: the defaults depend on card and version.
    memory = _memory(group, catalog)
    settings["max-num-batched-tokens"] = int(memory.max_num_batched_tokens[0])
    settings["gpu-memory-utilization"] = float(memory.utilization_fraction[0])
    return settings


def command_line(settings: dict[str, Setting]) -> list[str]:
    """The settings as words of a command line, all strings."""
    words = []
    for name, value in settings.items():
        words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return words


def image_of(group: ReplicaGroup, catalog: Catalog) -> str | None:
    """Container image with a fixed tag; null when there is none for the card's vendor."""
    image = IMAGES.get(catalog.gpus[group.gpu].vendor.lower())
    return None if image is None else f"{image}:v{release_of(group, catalog)}"


def release_of(group: ReplicaGroup, catalog: Catalog) -> str:
    """The vLLM release to start: VLLM_VERSION where the rules that the plan was computed by still hold for it."""
    planned = group.engine_version or VLLM_VERSION
    engine = catalog.engines["vllm"]
    if engine.at(planned) == engine.at(VLLM_VERSION):
        return VLLM_VERSION
    return planned if planned.count(".") > 1 else f"{planned}.0"


def _memory(group: ReplicaGroup, catalog: Catalog) -> ReplicaMemory:
    assert group.weight_dtype is not None, "measured groups were refused before"
    assert group.kv_cache_dtype is not None, "measured groups were refused before"
    configuration = one_configuration(
        _model(group, catalog),
        catalog.engines["vllm"],
        group.engine_version,
        catalog.gpus[group.gpu],
        catalog.formats[group.weight_dtype],
        catalog.kv_formats[group.kv_cache_dtype],
        tp=_known(group.tp),
        pp=_known(group.pp),
        dp=_known(group.dp),
        ep=_known(group.ep),
    )
    return replica_memory(
        configuration,
        max_model_len=group.max_model_len,
        max_num_seqs=group.max_batch_size,
        max_num_batched_tokens=group.max_num_batched_tokens,
        gpu_memory_utilization=group.gpu_memory_utilization,
    )


def _dtype(group: ReplicaGroup, catalog: Catalog) -> str:
    """Type of activations; cards without bf16 compute in fp16."""
    if group.weight_dtype == "fp16" or catalog.gpus[group.gpu].tflops.bf16 is None:
        return "float16"
    return "bfloat16" if group.weight_dtype == "bf16" else "auto"


def _kv_cache_dtype(group: ReplicaGroup) -> str:
    planned = group.kv_cache_dtype or "auto"
    if planned not in KV_CACHE_DTYPES:
        raise InputError(f"vLLM has no KV cache type {planned}; plan with {', '.join(KV_CACHE_DTYPES)}")
    return KV_CACHE_DTYPES[planned]


def _model(group: ReplicaGroup, catalog: Catalog) -> Model:
    assert group.model is not None, "measured groups were refused before"
    return catalog.models[group.model]


def _known(setting: int | None) -> int:
    assert setting is not None, "measured groups were refused before"
    return setting
