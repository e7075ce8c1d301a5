"""Catalog entries as lines of a table, and whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from catalog.architecture import architecture_of
from catalog.documents import parse_entry
from catalog.errors import Fault, InputError, Location
from catalog.huggingface import model_from_hf_config
from catalog.loader import Catalog
from catalog.schema import Engine, Gpu, Instance, KvFormat, Label, Model, Source, WeightFormat
from catalog.units import BILLION, BITS_PER_BYTE
from optimizer.report.tables import Justify, table
from optimizer.report.words import UNKNOWN, figure, usd

Row = dict[str, Any]


def catalog_rows(catalog: Catalog, kind: str, words: Sequence[str] = ()) -> list[Row]:
    """The entries of a kind that contain every word (in any column, case ignored), as plain figures with units."""
    rows = _ROWS[kind](catalog)
    wanted = [word.lower() for word in words]
    return [row for row in rows if all(word in " ".join(map(str, row.values())).lower() for word in wanted)]


def catalog_report(kind: str, rows: Iterable[Row]) -> RenderableType:
    """The rows as a table."""
    columns = _COLUMNS[kind]
    cells = [[UNKNOWN if row[key] is None else show(row[key]) for _, key, show in columns] for row in rows]
    headers: list[tuple[str, Justify]] = [(header, "left" if show is str else "right") for header, _, show in columns]
    return table(f"{kind}: {len(cells):,}", headers, cells)


def catalog_entry(catalog: Catalog, kind: str, entry_id: str) -> dict[str, Any]:
    """One entry as its file has it, with what is computed from it; InputError with a suggestion when there is none."""
    if kind == "formats":
        return _format_entry(catalog, entry_id)
    entry = catalog.find(_KINDS[kind], entry_id)
    data = entry.model_dump(mode="json", exclude_defaults=True)
    return {**data, "computed": _model(entry)} if isinstance(entry, Model) else data


def _format_entry(catalog: Catalog, entry_id: str) -> dict[str, Any]:
    """By use: weights and KV cache have formats of the same id."""
    uses = {"weights": catalog.formats.get(entry_id), "kv_cache": catalog.kv_formats.get(entry_id)}
    if not any(uses.values()):
        catalog.find("weight_format", entry_id)  # raises, with what was probably meant
    return {use: entry.model_dump(mode="json", exclude_defaults=True) for use, entry in uses.items() if entry}


def model_entry(config: Path, model_id: str) -> dict[str, Any]:
    """The catalog entry that a Hugging Face config.json becomes; InputError says what of it is not supported."""
    try:
        fields = parse_entry(config, config.read_bytes())
    except OSError as error:
        raise InputError([Fault(f"cannot be read: {error.strerror}", Location(str(config)))]) from error
    source = Source(text=f"{config.name} of {model_id}", label=Label.PUBLISHED)
    try:
        model = model_from_hf_config(fields, model_id=model_id, source=source)
    except InputError as error:
        raise InputError([Fault(fault.message, Location(str(config))) for fault in error.faults]) from error
    return {"kind": model.kind, **model.model_dump(mode="json", exclude_defaults=True)}


_KINDS: Mapping[str, Any] = {"models": "model", "gpus": "gpu", "engines": "engine", "instances": "instance"}


def _model(model: Model) -> Row:
    architecture = architecture_of(model)
    return {
        "id": model.id,
        "family": model.family,
        "parameters_billion": round(architecture.parameters / BILLION, 3),
        "active_parameters_billion": round(architecture.active_parameters / BILLION, 3),
        "layers": model.n_layers,
        "max_context_tokens": model.max_context_tokens,
        "verification": str(model.verification),
    }


def _gpu(gpu: Gpu) -> Row:
    return {
        "id": gpu.id,
        "name": gpu.name,
        "vendor": gpu.vendor,
        "visible_memory_gib": gpu.visible_memory_gib,
        "memory_bandwidth_gb_per_s": gpu.memory_bandwidth_gb_per_s,
        "bf16_tflops": gpu.tflops.bf16,
        "fp16_tflops": gpu.tflops.fp16,
        "fp8_tflops": gpu.tflops.fp8,
        "link_gb_per_s": gpu.link_gb_per_s,
        "link_domain_gpus": gpu.link_domain_gpus,
        "rated_power_w": gpu.rated_power_w,
        "architecture": gpu.architecture,
    }


def _format(fmt: WeightFormat | KvFormat) -> Row:
    weights = isinstance(fmt, WeightFormat)
    return {
        "id": fmt.id,
        "of": "weights" if weights else "KV cache",
        "bits": fmt.bits_per_weight if isinstance(fmt, WeightFormat) else fmt.bytes_per_value * BITS_PER_BYTE,
        "quality_fraction": fmt.quality.typical_fraction,
        "quality_label": str(fmt.quality.label),
        "engines": ", ".join(dict.fromkeys(support.engine for support in fmt.support)) or None,
        "name": fmt.name,
    }


def _engine(engine: Engine) -> Row:
    return {"id": engine.id, "name": engine.name, "versions_from": ", ".join(row.since for row in engine.versions)}


def _instance(instance: Instance) -> Row:
    hourly = instance.on_demand_usd_per_hour
    return {
        "id": instance.id,
        "gpu": instance.gpu,
        "gpus": instance.gpus,
        "on_demand_usd_per_hour": hourly,
        "on_demand_usd_per_gpu_hour": None if hourly is None else round(hourly / instance.gpus, 4),
        "spot_usd_per_hour": instance.spot_usd_per_hour,
        "date": instance.dated,
        "source": instance.source,
    }


_ROWS: Mapping[str, Callable[[Catalog], list[Row]]] = {
    "models": lambda catalog: [_model(model) for model in catalog.models.values()],
    "gpus": lambda catalog: [_gpu(gpu) for gpu in catalog.gpus.values()],
    "formats": lambda catalog: [_format(f) for kind in (catalog.formats, catalog.kv_formats) for f in kind.values()],
    "engines": lambda catalog: [_engine(engine) for engine in catalog.engines.values()],
    "instances": lambda catalog: [_instance(instance) for instance in catalog.instances.values()],
}
_COLUMNS: Mapping[str, Sequence[tuple[str, str, Callable[[Any], str]]]] = {
    "models": (
        ("id", "id", str),
        ("parameters, B", "parameters_billion", figure),
        ("active, B", "active_parameters_billion", figure),
        ("layers", "layers", figure),
        ("context", "max_context_tokens", figure),
        ("count checked", "verification", str),
    ),
    "gpus": (
        ("id", "id", str),
        ("GiB", "visible_memory_gib", figure),
        ("GB/s", "memory_bandwidth_gb_per_s", figure),
        ("bf16 TFLOPS", "bf16_tflops", figure),
        ("fp8 TFLOPS", "fp8_tflops", figure),
        ("link GB/s", "link_gb_per_s", figure),
        ("W", "rated_power_w", figure),
        ("architecture", "architecture", str),
    ),
    "formats": (
        ("id", "id", str),
        ("of", "of", str),
        ("bits", "bits", figure),
        ("quality", "quality_fraction", lambda fraction: f"{fraction:.1%}"),
        ("label", "quality_label", str),
        ("engines", "engines", str),
    ),
    "engines": (("id", "id", str), ("name", "name", str), ("described from", "versions_from", str)),
    "instances": (
        ("id", "id", str),
        ("GPU", "gpu", str),
        ("GPUs", "gpus", figure),
        ("$/h", "on_demand_usd_per_hour", usd),
        ("$/GPU/h", "on_demand_usd_per_gpu_hour", usd),
        ("date", "date", str),
    ),
}
