"""Entries of one kind by id, validated when they are first asked for; what is wrong with one is said at its place."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from catalog.documents import Document
from catalog.errors import Fault, InputError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from catalog.schema import Entry

E = TypeVar("E", bound="Entry")

NOUNS = {"gpu": "GPU", "weight_format": "weight format", "kv_format": "KV cache format"}
"""How messages call the kinds whose key is no word."""


class Entries(Mapping[str, E], Generic[E]):
    """Entries of one kind by id, in order; each is validated when it is first asked for."""

    def __init__(self, documents: Mapping[str, Document]) -> None:
        self._documents = documents
        self._entries: dict[str, E] = {}

    def __getitem__(self, entry_id: str) -> E:
        if entry_id not in self._entries:
            self._entries[entry_id] = cast("E", validated(self._documents[entry_id]))
        return self._entries[entry_id]

    def __contains__(self, entry_id: object) -> bool:
        return entry_id in self._documents

    def __iter__(self) -> Iterator[str]:
        return iter(self._documents)

    def __len__(self) -> int:
        return len(self._documents)


def validated(given: Document) -> Entry:
    """The entry that a document describes; InputError with all that is wrong with it."""
    from pydantic import ValidationError

    schema = _schema_of(given.kind)
    try:
        return schema.model_validate(given.data)
    except ValidationError as error:
        raise InputError(_fault(schema, given, found) for found in error.errors(include_url=False)) from error


def _schema_of(kind: str) -> type[Entry]:
    """The class of a kind; imported with the first entry: building the classes takes longer than reading all files."""
    from catalog import schema
    from catalog.schema.calibration import Calibration

    kinds: dict[str, type[Entry]] = {
        "model": schema.Model,
        "gpu": schema.Gpu,
        "weight_format": schema.WeightFormat,
        "kv_format": schema.KvFormat,
        "engine": schema.Engine,
        "instance": schema.Instance,
        "calibration": Calibration,
    }
    return kinds[kind]


def _fault(schema: type[Entry], given: Document, found: ErrorDetails) -> Fault:
    keys, what = found["loc"], f"{found['msg'][:1].lower()}{found['msg'][1:]}"
    unknown = found["type"] == "extra_forbidden"
    if unknown:
        what = f"unknown key{did_you_mean(str(keys[-1]), schema.model_fields) if len(keys) == 1 else ''}"
    elif found["type"] == "value_error":
        what = str(found["ctx"]["error"])
    elif found["type"] == "missing":
        what = "is missing"
    entry = f"{NOUNS.get(given.kind, given.kind)} '{given.data.get('id')}'"
    message = ": ".join((entry, ".".join(str(key) for key in keys), what) if keys else (entry, what))
    return Fault(message, given.place(*keys, at_key=unknown))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'h100-sxm'?`, or nothing when no known word is near."""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1)
    return f"; did you mean '{by_lower[near[0]]}'?" if near else ""
