"""`llama-bench -o json`, `-o jsonl` or `-o csv`: prompt processing (pp) and text generation (tg) of one sequence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from catalog.units import MS_PER_S
from optimizer.calibration.records import Record
from optimizer.calibration.run import Run

NAME = "llama-bench"
_CACHES = {"f16": "auto", "bf16": "auto", "q8_0": "q8_0", "q4_0": "q4_0"}
_QUANTIZATION = re.compile(r"[-._](I?Q\d\w*|BF16|F16|F32)$", re.IGNORECASE)


def recognises(record: Record) -> bool:
    """Whether the fields are those of the tool."""
    return record.has("model_filename", "n_prompt", "n_gen", "avg_ts")


def runs(records: Sequence[Record]) -> Iterator[Run]:
    """A run a record; those of a prompt and its answer in one figure (-pg) say too little and are refused."""
    for record in records:
        prompt, generated = (record.number(key, above=-1.0) or 0.0 for key in ("n_prompt", "n_gen"))
        depth = record.number("n_depth", above=-1.0) or 0.0
        tokens_per_s = record.number("avg_ts")
        if bool(prompt) == bool(generated):
            raise record.fault("a run either reads a prompt (-p) or writes tokens (-n); leave out -pg runs", "n_gen")
        if tokens_per_s is None:
            raise record.fault("the tokens per second are missing", "avg_ts")
        cards = [name.strip() for name in re.split(r"[,+]", record.text("gpu_info") or "") if name.strip()]
        name, weights = _model(record.text("model_filename") or "")
        cache = (record.text("type_k") or "").lower()
        if cache and cache not in _CACHES:
            raise record.fault(f"expected one of {', '.join(_CACHES)}, not '{cache}'", "type_k")
        alone = len(cards) <= 1
        yield Run(
            location=record.location,
            tool=NAME,
            engine="llamacpp",
            model=name,
            gpu=cards[0] if len(set(cards)) == 1 else None,
            weight_dtype=weights,
            kv_cache_dtype=_CACHES.get(cache),
            tp=1,
            pp=1 if alone else None,
            input_tokens=depth + prompt if prompt else max(depth, 1.0),
            output_tokens=2.0 if prompt else generated + 1.0,
            concurrency=1.0,
            prefix_hit_fraction=depth / (depth + prompt) if prompt else 0.0,
            tpot_ms=None if prompt else MS_PER_S / tokens_per_s,
            prefill_ms=MS_PER_S * prompt / tokens_per_s if prompt else None,
        )


def _model(filename: str) -> tuple[str | None, str | None]:
    """Name without folder, ending and quantization; the quantization as we call it."""
    stem = re.sub(r"(-\d{5}-of-\d{5})?\.gguf$", "", filename.replace("\\", "/").split("/")[-1], flags=re.IGNORECASE)
    found = _QUANTIZATION.search(stem)
    if not stem or not found:
        return stem or None, None
    word = found[1].lower()
    return stem[: found.start()], {"f16": "fp16", "bf16": "bf16"}.get(word, f"gguf-{word}")
