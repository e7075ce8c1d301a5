"""Memory of a single replica: ids in, plain numbers and a sentence out."""

from __future__ import annotations

from catalog.errors import InputError
from catalog.loader import Catalog
from optimizer.memory.estimate import replica_memory
from optimizer.memory.extras import Speculative, with_draft, with_tables_on_host
from optimizer.memory.reasons import REASONS, SENTENCES
from optimizer.memory.result import MemoryEstimate, ReplicaMemory
from optimizer.serving_config import Configurations, one_configuration


def estimate_memory(
    catalog: Catalog,
    *,
    model: str,
    gpu: str,
    weight_dtype: str,
    kv_cache_dtype: str = "auto",
    tp: int = 1,
    pp: int = 1,
    dp: int = 1,
    ep: int = 1,
    engine: str = "vllm",
    engine_version: str | None = None,
    gpu_memory_utilization: float | None = None,
    gpu_memory_gib: float | None = None,
    max_model_len: int | None = None,
    max_num_seqs: int | None = None,
    max_num_batched_tokens: int | None = None,
    enforce_eager: bool = False,
    speculative: Speculative | None = None,
    tables_on_host: bool = False,
    max_loras: int = 0,
    lora_rank: int = 16,
) -> MemoryEstimate:
    """Memory of one replica as the engine would count it, per GPU, of the rank that limits.

    None = the engine version's own default (max_model_len: the model's maximum). InputError for an unknown id and for a
    number that cannot be; an unlawful configuration is an answer, `fits=False` with its reason. `speculative` loads a
    head that drafts tokens, `tables_on_host` keeps n-gram tables off the card, `max_loras` keeps slots for adapters of
    `lora_rank`.
    """
    _check_numbers(
        positive={"tp": tp, "pp": pp, "dp": dp, "ep": ep, "max_model_len": max_model_len, "max_num_seqs": max_num_seqs,
                  "max_num_batched_tokens": max_num_batched_tokens, "gpu_memory_gib": gpu_memory_gib,
                  "max_loras": max_loras or None, "lora_rank": lora_rank},
        fractions={"gpu_memory_utilization": gpu_memory_utilization},
    )  # fmt: skip
    network = catalog.find("model", model)
    if tables_on_host:
        network = with_tables_on_host(network)
    configuration = one_configuration(
        network if speculative is None else with_draft(network, speculative),
        catalog.find("engine", engine),
        engine_version,
        catalog.find("gpu", gpu),
        catalog.find("weight_format", weight_dtype),
        catalog.find("kv_format", kv_cache_dtype),
        tp=tp,
        pp=pp,
        dp=dp,
        ep=ep,
    )
    memory = replica_memory(
        configuration,
        max_model_len=max_model_len,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        gpu_memory_utilization=gpu_memory_utilization,
        gpu_memory_gib=gpu_memory_gib,
        enforce_eager=enforce_eager,
        max_loras=max_loras,
        lora_rank=lora_rank,
    )
    length = configuration.model.max_context_tokens if max_model_len is None else max_model_len
    return MemoryEstimate.of(memory, 0, max_model_len=length, reason=reason_text(configuration, memory, 0, length))


def reason_text(configurations: Configurations, memory: ReplicaMemory, row: int, max_model_len: int) -> str:
    """Why a row does not fit, with its numbers; empty when it fits."""
    key = REASONS[int(memory.reason[row])]
    return SENTENCES[key] + _numbers(key, configurations, memory, row, max_model_len) if key else ""


def _numbers(key: str, configurations: Configurations, memory: ReplicaMemory, row: int, max_model_len: int) -> str:
    model, tp = configurations.model, int(configurations.tp[row])
    gpu = configurations.gpus[configurations.gpu[row]]
    match key:
        case "format":
            fmt = configurations.weight_formats[configurations.weight_format[row]]
            return f": {configurations.engine.name} does not run {fmt.id} on {gpu.name}"
        case "kv_format":
            fmt = configurations.kv_formats[configurations.kv_format[row]].id
            return f": {configurations.engine.name} does not cache in {fmt} on {gpu.name}"
        case "layers":
            return f": {model.n_layers} layers, pp={int(configurations.pp[row])}"
        case "heads":
            return f": {model.heads} heads, {model.kv_heads} key/value heads, tp={tp}"
        case "vocabulary":
            return f": {model.vocab_size} is not divisible by {tp}"
        case "context_limit":
            return f": {max_model_len} > {model.max_context_tokens} tokens"
        case "weights":
            return f": {memory.weights_gib[row]:.2f} GiB on a card that shows {gpu.visible_memory_gib:.2f} GiB"
        case "memory":
            return f": {-memory.kv_cache_gib[row]:.2f} GiB short of a budget of {memory.budget_gib[row]:.2f} GiB"
        case "context":
            return (
                f": it holds {int(memory.max_concurrency[row] * max_model_len)} of {max_model_len} tokens "
                f"({memory.kv_cache_gib[row]:.2f} GiB)"
            )
        case "slots":
            held = int(memory.max_concurrency[row])
            return f": {int(memory.max_num_seqs[row])} of {max_model_len} tokens, and it holds {held}"
        case "state":
            return f": {int(memory.max_num_seqs[row])} sequences"
        case _:
            return ""


def _check_numbers(positive: dict[str, float | None], fractions: dict[str, float | None]) -> None:
    for name, value in positive.items():
        if value is not None and not value > 0:
            raise InputError(f"{name} must be greater than 0, not {value}")
    for name, value in fractions.items():
        if value is not None and not 0 < value <= 1:
            raise InputError(f"{name} is a fraction between 0 and 1, not {value}")
