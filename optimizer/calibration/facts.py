"""Completes what result files state with flags and a side file, in the catalog's words; asks for what is missing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from catalog.entries import did_you_mean
from catalog.loader import Catalog
from optimizer.calibration.measurement import Measurement
from optimizer.calibration.run import Run
from optimizer.errors import Fault, InputError, Location
from optimizer.yaml_text import parse_yaml

NEEDED = ("engine", "model", "gpu", "weight_dtype", "tp", "input_tokens", "output_tokens", "concurrency")
"""What a prediction cannot do without; other degrees are 1 where nobody says otherwise."""
_VENDOR_WORDS = re.compile(r"\b(nvidia|geforce|amd|instinct|intel)\b|\(r\)|\(tm\)", re.IGNORECASE)
_QUANTIZED = {"fp8": "fp8", "awq": "awq-int4", "gptq-int4": "gptq-int4", "gptq-int8": "int8-w8a16", "nvfp4": "nvfp4"}
"""Endings of published checkpoints' names -> the format they are in."""


class Facts(BaseModel):
    """What a user says of runs beyond their files; None = as the file states it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: str | None = None
    """Engine id."""
    engine_version: str | None = None
    """Such as `0.11.0`; default: the newest that the catalog describes."""
    model: str | None = None
    """Model id."""
    gpu: str | None = None
    """GPU id."""
    weight_dtype: str | None = None
    """Weight format id."""
    kv_cache_dtype: str | None = None
    """KV cache format id; default `auto`."""
    tp: int | None = Field(default=None, ge=1)
    """Tensor parallelism."""
    pp: int | None = Field(default=None, ge=1)
    """Pipeline parallelism; default 1."""
    dp: int | None = Field(default=None, ge=1)
    """Attention data parallelism; default 1."""
    ep: int | None = Field(default=None, ge=1)
    """Expert parallelism; default 1."""
    input_tokens: float | None = Field(default=None, ge=1, allow_inf_nan=False)
    """Mean of a request."""
    output_tokens: float | None = Field(default=None, ge=1, allow_inf_nan=False)
    """Mean of a request."""
    concurrency: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Requests in flight, on average."""
    prefix_hit_fraction: float | None = Field(default=None, ge=0, le=1)
    """Part of the input found in the prefix cache; default 0."""

    def stated(self) -> dict[str, Any]:
        """What is said, by name."""
        return self.model_dump(exclude_none=True)


class SideFile(Facts):
    """Facts about all results, and about single files by name."""

    files: Mapping[str, Facts] = {}
    """File name, with or without its folder -> facts about its runs."""


def read_side_file(path: Path) -> SideFile:
    """A YAML or JSON file with the keys of `Facts`; InputError lists what is wrong with it."""
    where = Location(str(path))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError([Fault(f"cannot be read: {getattr(error, 'strerror', None) or error}", where)]) from error
    try:
        return SideFile.model_validate(parse_yaml(text, str(path)) or {})
    except ValidationError as error:
        raise InputError(
            Fault(_message(one["type"], one["loc"], one["msg"]), where, ".".join(map(str, one["loc"])))
            for one in error.errors(include_url=False)
        ) from error


def _message(kind: str, keys: Sequence[int | str], what: str) -> str:
    if kind == "extra_forbidden":
        known = SideFile.model_fields if len(keys) == 1 else Facts.model_fields
        what = f"unknown key{did_you_mean(str(keys[-1]), known)}; known are {', '.join(known)}"
    return ": ".join((".".join(map(str, keys)), what)) if keys else what


def measurements(runs: Sequence[Run], flags: Facts, side: SideFile, catalog: Catalog) -> tuple[Measurement, ...]:
    """Runs as measurements of catalog entries; flags win over the side file, that over the results.

    InputError lists, for every file, what it lacks and which ids the catalog does not have.
    """
    faults: list[Fault] = []
    unused = set(side.files)
    found: list[Measurement] = []
    for run in runs:
        name = run.location.file
        of_file = next((key for key in (name, Path(name).name) if key in side.files), None)
        unused.discard(str(of_file))
        facts = side.stated() | (side.files[of_file].stated() if of_file else {}) | flags.stated()
        facts.pop("files", None)
        try:
            found.append(_measurement(run, facts, catalog))
        except InputError as error:
            faults += error.faults
    faults += [Fault(f"the side file describes '{name}', which is none of the results") for name in sorted(unused)]
    if faults:
        raise InputError(dict.fromkeys(faults))
    return tuple(found)


def _measurement(run: Run, given: Mapping[str, Any], catalog: Catalog) -> Measurement:
    stated = {name: getattr(run, name) for name in Facts.model_fields} | _named(run, catalog) | dict(given)
    missing = [name for name in NEEDED if stated[name] is None]
    if missing:
        flags = ", ".join(f"--{name.replace('_', '-')}{_as_the_file_says(run, name)}" for name in missing)
        message = f"{run.tool} result does not say enough; give {flags}, or --facts FILE with these keys"
        raise InputError([Fault(message, run.location)])
    if all(value is None for value in (run.tpot_ms, run.ttft_ms, run.output_tokens_per_s, run.prefill_ms)):
        message = "no mean TTFT, TPOT, throughput or prefill in this run: there is nothing to calibrate on"
        raise InputError([Fault(message, run.location)])
    kinds = {"engine": "engine", "model": "model", "gpu": "gpu", "weight_dtype": "weight_format"}
    kinds["kv_cache_dtype"] = "kv_format"
    stated["kv_cache_dtype"] = stated["kv_cache_dtype"] or "auto"
    for name, kind in kinds.items():
        try:
            catalog.find(kind, stated[name])  # type: ignore[call-overload]
        except InputError as error:
            what = f"{error.faults[0].message}; say which with --{name.replace('_', '-')}"
            raise InputError([Fault(what, run.location)]) from None
    latencies = run.tpot_ms is not None or run.prefill_ms is not None
    return Measurement(
        source=run.location.file,
        engine=stated["engine"],
        engine_version=stated["engine_version"],
        model=stated["model"],
        gpu=stated["gpu"],
        weight_dtype=stated["weight_dtype"],
        kv_cache_dtype=stated["kv_cache_dtype"],
        tp=int(stated["tp"]),
        pp=int(stated["pp"] or 1),
        dp=int(stated["dp"] or 1),
        ep=int(stated["ep"] or 1),
        input_tokens=max(round(stated["input_tokens"]), 1),
        output_tokens=max(round(stated["output_tokens"]), 2),
        concurrency=max(float(stated["concurrency"]), 1.0),
        prefix_hit_fraction=float(stated["prefix_hit_fraction"] or 0.0),
        tpot_ms=run.tpot_ms,
        ttft_ms=run.ttft_ms,
        output_tokens_per_s=None if latencies else run.output_tokens_per_s,
        prefill_ms=run.prefill_ms,
    )


def _as_the_file_says(run: Run, name: str) -> str:
    """The file's own word, where it is one that the catalog does not know."""
    word = getattr(run, name)
    return f" (the file calls it '{word}')" if isinstance(word, str) else ""


def _named(run: Run, catalog: Catalog) -> dict[str, str | None]:
    """Model, card and format of the run as catalog ids; None where they are not unmistakable."""
    model, published = _model(run.model, catalog)
    native = catalog.models[model].checkpoint.weight_format if model else None
    said = run.weight_dtype
    if said == "fp4":
        weights = native if native in ("nvfp4", "mxfp4") else None
    elif said:
        weights = said if said in catalog.formats else None
    else:
        weights = published or native
    return {"model": model, "gpu": _gpu(run.gpu, catalog), "weight_dtype": weights}


def _model(name: str | None, catalog: Catalog) -> tuple[str | None, str | None]:
    """Id of the model that a name means, and the format that the name says it is in."""
    if not name or name in catalog.models:
        return name, None
    short = name.rstrip("/").split("/")[-1].lower()
    ending = next((ending for ending in _QUANTIZED if short.endswith(f"-{ending}")), None)
    base = short.removesuffix(f"-{ending}") if ending else short
    return _only(base, catalog.models, lambda model: [model.split("/")[-1].lower()]), _QUANTIZED.get(ending or "")


def _gpu(name: str | None, catalog: Catalog) -> str | None:
    """Id of the card that a name means; drivers call a DGX Spark GB10 just GB10."""
    if not name or name in catalog.gpus:
        return name
    called = {gpu: catalog.gpus[gpu].name for gpu in catalog.gpus}
    return _only(_words(name), called, lambda gpu: [_words(gpu), _words(called[gpu]), _words(called[gpu].split()[-1])])


def _only(wanted: str, ids: Iterable[str], names: Callable[[str], Sequence[str]]) -> str | None:
    """The one id that goes by this name."""
    matching = [one for one in ids if wanted in names(one)]
    return matching[0] if len(matching) == 1 else None


def _words(name: str) -> str:
    return " ".join(re.sub(r"[-_]", " ", _VENDOR_WORDS.sub(" ", name)).lower().split())
