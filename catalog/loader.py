"""The catalog: every entry by kind and id, from the shipped files and the user's own."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from catalog.documents import (
    ENTRY_SUFFIXES,
    FOLDERS,
    KIND_OF_FOLDER,
    Document,
    digest_of,
    document,
    documents_in,
    parse_entry,
    read_files,
)
from catalog.entries import NOUNS, Entries, did_you_mean, validated
from catalog.errors import Fault, InputError, Location

if TYPE_CHECKING:
    from catalog.schema import Engine, Entry, Gpu, Instance, KvFormat, Model, WeightFormat
    from catalog.schema.calibration import Calibration

DATA = Path(__file__).parent / "data"
INDEX = DATA / "index.json"
"""The shipped entries already parsed, each with the digest of the file it was read from; see `catalog.index`."""

KINDS = tuple(KIND_OF_FOLDER.values())


@dataclass(frozen=True, slots=True)
class Catalog:
    """Facts, by id."""

    models: Mapping[str, Model]
    gpus: Mapping[str, Gpu]
    formats: Mapping[str, WeightFormat]
    """Of weights."""
    kv_formats: Mapping[str, KvFormat]
    engines: Mapping[str, Engine]
    instances: Mapping[str, Instance]
    calibrations: Mapping[str, Calibration]
    version: str
    """Newest date among the facts + short digest of all files, such as `2026-11-22+1f0c9a2be4d5`."""
    shipped_version: str
    """The same of the shipped files alone."""
    own: tuple[Mapping[str, Any], ...] = ()
    """Entries of the user's own as their files hold them, `kind` included."""

    @property
    def calibration(self) -> Calibration:
        """The performance constants in use: the user's where there are any, else the shipped ones."""
        return self.calibrations[next(reversed(tuple(self.calibrations)))]

    @overload
    def find(self, kind: Literal["model"], entry_id: str) -> Model: ...
    @overload
    def find(self, kind: Literal["gpu"], entry_id: str) -> Gpu: ...
    @overload
    def find(self, kind: Literal["weight_format"], entry_id: str) -> WeightFormat: ...
    @overload
    def find(self, kind: Literal["kv_format"], entry_id: str) -> KvFormat: ...
    @overload
    def find(self, kind: Literal["engine"], entry_id: str) -> Engine: ...
    @overload
    def find(self, kind: Literal["instance"], entry_id: str) -> Instance: ...
    @overload
    def find(self, kind: Literal["calibration"], entry_id: str) -> Calibration: ...
    def find(self, kind: str, entry_id: str) -> Entry:
        """The entry; InputError with what was probably meant when there is none."""
        entries: Mapping[str, Entry] = {
            "model": self.models,
            "gpu": self.gpus,
            "weight_format": self.formats,
            "kv_format": self.kv_formats,
            "engine": self.engines,
            "instance": self.instances,
            "calibration": self.calibrations,
        }[kind]
        if entry_id not in entries:
            raise InputError(f"unknown {NOUNS.get(kind, kind)} '{entry_id}'{did_you_mean(entry_id, entries)}")
        return entries[entry_id]


def load_catalog(extra: str | Path | Iterable[str | Path] = ()) -> Catalog:
    """The shipped catalog, overlaid with the user's own entries.

    Each of `extra` is a folder laid out like `catalog/data`, or one YAML or JSON file whose `kind` says what it is. An
    entry whose id is taken already is refused unless it says `replaces: true`; one that says so must replace something.
    Without `extra`, every call returns the one catalog that the first has read.
    """
    sources = (extra,) if isinstance(extra, str | Path) else tuple(extra)
    return _read([Path(source) for source in sources]) if sources else _shipped()


@functools.cache
def _shipped() -> Catalog:
    return _read([])


def _read(overlays: Iterable[Path]) -> Catalog:
    files = read_files(DATA)
    digests = {path: digest_of(content) for path, content in files.items()}
    documents = documents_in(files, _indexed(digests))
    entries: dict[str, dict[str, Document]] = {kind: {} for kind in KINDS}
    _lay_over(entries, documents)
    shipped_version = _version(documents, digests)
    n_shipped = len(documents)
    for overlay in overlays:
        own_files, own = _read_overlay(overlay)
        digests |= {path: digest_of(content) for path, content in own_files.items()}
        documents += own
        _lay_over(entries, own)
        _validate(own, entries)
    return Catalog(
        models=Entries(entries["model"]),
        gpus=Entries(entries["gpu"]),
        formats=Entries(entries["weight_format"]),
        kv_formats=Entries(entries["kv_format"]),
        engines=Entries(entries["engine"]),
        instances=Entries(entries["instance"]),
        calibrations=Entries(entries["calibration"]),
        version=_version(documents, digests),
        shipped_version=shipped_version,
        own=tuple({"kind": given.kind, **given.data} for given in documents[n_shipped:]),
    )


def _indexed(digests: Mapping[Path, str]) -> dict[Path, Any]:
    """Data of the shipped files, where the index was made from exactly the bytes that are there now."""
    index = json.loads(INDEX.read_bytes()) if INDEX.exists() else {}
    made = {DATA / name: cached for name, cached in index.items()}
    return {path: made[path]["entry"] for path, digest in digests.items() if made.get(path, {}).get("sha256") == digest}


def _read_overlay(source: Path) -> tuple[dict[Path, bytes], list[Document]]:
    """The files that a user gave, and the entries in them."""
    try:
        if source.is_dir():
            files = _read_folder(source)
            return files, documents_in(files, {})
        content = source.read_bytes()
    except OSError as error:
        raise InputError([Fault(f"cannot be read: {error.strerror}", Location(str(source)))]) from error
    if source.suffix not in ENTRY_SUFFIXES:
        message = f"expected a folder laid out like catalog/data, or one entry ({', '.join(ENTRY_SUFFIXES)})"
        raise InputError([Fault(message, Location(str(source)))])
    data = parse_entry(source, content)
    kind = str(data.get("kind", ""))
    if kind not in KINDS:
        message = f"kind: one of {', '.join(KINDS)} is expected, not '{kind}'{did_you_mean(kind, KINDS)}"
        raise InputError([Fault(message, Document(kind, data, source).place("kind"))])
    return {source: content}, [document(data, source, kind)]


def _read_folder(source: Path) -> dict[Path, bytes]:
    unknown = [path for path in sorted(source.iterdir()) if path.is_dir() and path.name not in FOLDERS]
    faults = [
        Fault(f"unknown catalog folder '{path.name}'{did_you_mean(path.name, FOLDERS)}", Location(str(path)))
        for path in unknown
    ]
    files = read_files(source)
    if not files and not faults:
        message = f"no catalog entries here; a catalog folder has the folders {', '.join(FOLDERS)}"
        faults.append(Fault(message, Location(str(source))))
    if faults:
        raise InputError(faults)
    return files


def _lay_over(entries: dict[str, dict[str, Document]], documents: Iterable[Document]) -> None:
    """Add entries; one may take another's place only if it says so."""
    faults: list[Fault] = []
    for added in documents:
        entry_id, noun = added.data.get("id"), NOUNS.get(added.kind, added.kind)
        present = entries[added.kind]
        if not isinstance(entry_id, str):
            faults.append(Fault(f"id: a text that names this {noun} is expected", added.place("id")))
        elif entry_id in present and not added.replaces:
            other = Location(str(present[entry_id].path), present[entry_id].line)
            message = f"{noun} '{entry_id}' stands in {other} already; with `replaces: true` this entry takes its place"
            faults.append(Fault(message, added.place("id")))
        elif added.replaces and entry_id not in present:
            message = f"replaces: there is no {noun} '{entry_id}' to replace{did_you_mean(entry_id, present)}"
            faults.append(Fault(message, added.place("replaces")))
        else:
            present[entry_id] = added
    if faults:
        raise InputError(faults)


def _validate(documents: Iterable[Document], entries: Mapping[str, Mapping[str, Document]]) -> None:
    """Report every fault of these entries together."""
    faults: list[Fault] = []
    for given in documents:
        try:
            validated(given)
        except InputError as error:
            faults += error.faults
            continue
        if given.kind == "instance" and (gpu := given.data["gpu"]) not in entries["gpu"]:
            message = f"instance '{given.data['id']}': gpu: unknown GPU '{gpu}'{did_you_mean(gpu, entries['gpu'])}"
            faults.append(Fault(message, given.place("gpu")))
    if faults:
        raise InputError(faults)


def _version(documents: Iterable[Document], digests: Mapping[Path, str]) -> str:
    dates = [given.data["date"] for given in documents if "date" in given.data]
    dates += [source.get("retrieved") or "" for given in documents for source in given.data.get("sources", ())]
    content = "\n".join(sorted(f"{path.parent.name}/{path.name} {digest}" for path, digest in digests.items()))
    return f"{max(dates, default='')}+{hashlib.sha256(content.encode()).hexdigest()[:12]}"
