"""Lays entries that stand in no catalog file (in a scenario, in a plan) over a catalog."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from catalog.documents import Document
from catalog.entries import did_you_mean, validated
from catalog.errors import Fault, InputError, Location
from catalog.loader import Catalog
from catalog.schema import Engine, Gpu, KvFormat, Model, WeightFormat
from catalog.schema.calibration import Calibration

AnyEntry = Model | Gpu | WeightFormat | KvFormat | Engine | Calibration
"""What a scenario may bring; the prices of an instance become part of its offers instead."""
_ATTRIBUTES = {
    "model": "models",
    "gpu": "gpus",
    "weight_format": "formats",
    "kv_format": "kv_formats",
    "engine": "engines",
    "calibration": "calibrations",
}
"""Kind of an entry -> where the catalog keeps it."""


class _Given(Document):
    """An entry whose place is known to who gave it."""

    __slots__ = ()

    def place(self, *keys: str | int, at_key: bool = False) -> Location:  # noqa: ARG002
        return Location("")


def entry_of(data: Mapping[str, Any]) -> AnyEntry:
    """The entry that data with `kind` and `id` describes; InputError, without places, lists what is wrong with it."""
    kind = str(data.get("kind"))
    if kind not in _ATTRIBUTES:
        hint = did_you_mean(kind, _ATTRIBUTES)
        raise InputError(f"kind: one of {', '.join(_ATTRIBUTES)} is expected, not '{kind}'{hint}")
    try:
        return cast("AnyEntry", validated(_Given(kind, dict(data), Path())))
    except InputError as error:
        raise InputError(Fault(fault.message) for fault in error.faults) from None


def lay_over(catalog: Catalog, entries: Iterable[AnyEntry]) -> Catalog:
    """The catalog with these entries, each in the place of the one with its kind and id, if there is one."""
    by_attribute: dict[str, dict[str, Any]] = {}
    for entry in entries:
        by_attribute.setdefault(_ATTRIBUTES[entry.kind], {})[entry.id] = entry
    changed = {name: ChainMap(own, getattr(catalog, name)) for name, own in by_attribute.items()}
    return replace(catalog, **changed)  # type: ignore[arg-type]  # a ChainMap writes to its first mapping alone
