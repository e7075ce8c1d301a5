"""Catalog files as plain data, each with its place: a YAML or JSON document an entry, CSV tables of instances, prices.

A catalog folder looks like `catalog/data`: `models/ gpus/ formats/ kv_formats/ engines/ calibration/` with one file an
entry; `instances/` (hardware) and `prices/` (dated) with one table a provider, named after it. Dates stay text here.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalog.errors import Fault, InputError, Location

if TYPE_CHECKING:
    import yaml

KIND_OF_FOLDER = {
    "models": "model",
    "gpus": "gpu",
    "formats": "weight_format",
    "kv_formats": "kv_format",
    "engines": "engine",
    "calibration": "calibration",
    "instances": "instance",
}
HARDWARE_TABLES, PRICE_TABLES = "instances", "prices"
FOLDERS = (*KIND_OF_FOLDER, PRICE_TABLES)
ENTRY_SUFFIXES = (".yaml", ".yml", ".json")
TABLE_SUFFIX = ".csv"

_DEEPEST = 50
"""Levels of nesting; the deepest entries have eight."""

_Files = Mapping[Path, bytes]


@dataclass(frozen=True, slots=True)
class Document:
    """One entry as it was written."""

    kind: str
    data: dict[str, Any]
    path: Path
    line: int | None = None
    """Of a table's row."""
    replaces: bool = False
    """It says `replaces: true`: it takes the place of the entry with its id."""

    def place(self, *keys: str | int, at_key: bool = False) -> Location:
        """Where a value (or its key) stands in the file; as near as it can be found."""
        if self.line is not None:
            return _place_of_line(self.path, self.line)
        return _place_of_keys(self.path, keys, at_key)


def read_files(root: Path) -> dict[Path, bytes]:
    """Content of every catalog file below a folder, in order."""
    names = (path for folder in FOLDERS for path in sorted((root / folder).glob("*")))
    return {path: path.read_bytes() for path in names if path.suffix in (*ENTRY_SUFFIXES, TABLE_SUFFIX)}


def digest_of(content: bytes) -> str:
    """Fingerprint of a file's content."""
    return hashlib.sha256(content).hexdigest()


def documents_in(files: _Files, parsed: Mapping[Path, Any]) -> list[Document]:
    """The entries of a catalog folder; `parsed` spares the reading of files whose data is known already."""
    documents: list[Document] = []
    faults: list[Fault] = []
    for path, content in files.items():
        folder = path.parent.name
        if path.suffix == TABLE_SUFFIX and folder in (HARDWARE_TABLES, PRICE_TABLES):
            continue
        try:
            if path.suffix == TABLE_SUFFIX or folder not in KIND_OF_FOLDER:
                raise InputError([Fault(f"a {path.suffix} file has no place in {folder}/", Location(str(path)))])
            data = parsed[path] if path in parsed else parse_entry(path, content)
            documents.append(document(data, path, KIND_OF_FOLDER[folder]))
        except InputError as error:
            faults += error.faults
    try:
        documents += _instances(files)
    except InputError as error:
        faults += error.faults
    if faults:
        raise InputError(faults)
    return documents


def parse_entry(path: Path, content: bytes) -> dict[str, Any]:
    """The mapping that a YAML or JSON file holds; nothing in it is executed, and a key may stand only once."""
    text = _text_of(path, content)
    try:
        data = _parse_json(text) if path.suffix == ".json" else _parse_yaml(path, text)
    except json.JSONDecodeError as error:
        raise InputError([Fault(f"not JSON: {error.msg}", _place(path, text, error.lineno, error.colno))]) from error
    except RecursionError as error:
        raise InputError([Fault("cannot be read: nested too deeply", Location(str(path)))]) from error
    except ValueError as error:
        raise InputError([Fault(f"cannot be read: {error}", Location(str(path)))]) from error
    if not isinstance(data, dict):
        raise InputError([Fault("one catalog entry is expected: a mapping with kind, id …", Location(str(path)))])
    return data


def document(data: Mapping[str, Any], path: Path, kind: str, line: int | None = None) -> Document:
    """An entry of that kind; `replaces` belongs to the file, not to the entry."""
    facts = dict(data)
    replaces = facts.pop("replaces", False)
    entry = Document(kind, facts, path, line, replaces in (True, "true"))
    faults = []
    if facts.get("kind", kind) != kind:
        message = f"kind: '{facts['kind']}' in a folder for entries of kind '{kind}'"
        faults.append(Fault(message, entry.place("kind")))
    if replaces not in (True, False, "true", "false"):
        faults.append(Fault(f"replaces: true or false is expected, not '{replaces}'", entry.place("replaces")))
    if faults:
        raise InputError(faults)
    return entry


def _text_of(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"not UTF-8 text (byte {error.start + 1}); save the file as UTF-8"
        raise InputError([Fault(message, Location(str(path)))]) from error


def _parse_json(text: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping = dict(pairs)
        if len(mapping) < len(pairs):
            names = [name for name, _ in pairs]
            raise ValueError(f"the key '{next(name for name in names if names.count(name) > 1)}' stands twice")
        return mapping

    return json.loads(text, object_pairs_hook=once)


def _parse_yaml(path: Path, text: str) -> Any:
    import yaml

    try:
        _refuse_aliases_and_depth(text)
        return yaml.load(text, _yaml_loader())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = _place(path, text, mark.line + 1, mark.column + 1) if mark else Location(str(path))
        raise InputError([Fault(f"cannot be read: {error.problem or error.context}", place)]) from error
    except yaml.YAMLError as error:
        raise InputError([Fault(f"not YAML: {str(error).splitlines()[0]}", Location(str(path)))]) from error


def _refuse_aliases_and_depth(text: str) -> None:
    """Neither has a use in an entry, and both can exhaust memory: aliases multiply, and libyaml recurses in C."""
    import yaml

    opening = (
        yaml.BlockMappingStartToken,
        yaml.BlockSequenceStartToken,
        yaml.FlowMappingStartToken,
        yaml.FlowSequenceStartToken,
    )
    closing = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)
    depth = 0
    for token in yaml.scan(text, _yaml_loader()):
        depth += isinstance(token, opening) - isinstance(token, closing)
        if depth > _DEEPEST or isinstance(token, yaml.AliasToken):
            problem = "nested too deeply" if depth > _DEEPEST else "aliases are not used in catalog files"
            raise yaml.MarkedYAMLError(None, None, problem, token.start_mark)


@functools.cache
def _yaml_loader() -> type[yaml.CSafeLoader]:
    import yaml

    class Loader(yaml.CSafeLoader):
        """Safe; dates stay text, as in JSON, and a repeated key is refused."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen = set()
            for key, _ in node.value:
                text = key.value if isinstance(key, yaml.ScalarNode) else None
                if text is None or text in seen:
                    problem = f"the key '{text}' stands twice" if text is not None else "a key must be text"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(text)
            return super().construct_mapping(node, deep)

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }
    return Loader


def _instances(files: _Files) -> Iterator[Document]:
    """Every price, joined with the hardware of its instance type."""
    hardware: dict[tuple[str, str], dict[str, str]] = {}
    for path, line, row in _rows(files, HARDWARE_TABLES, ("instance_type", "gpu", "gpus")):
        if hardware.setdefault((path.stem, row["instance_type"]), row) is not row:
            raise InputError(
                [Fault(f"instance_type: '{row['instance_type']}' stands twice", _place_of_line(path, line))]
            )
    for path, line, row in _rows(files, PRICE_TABLES, ("instance_type", "region", "date")):
        provider, region, instance_type = path.stem, row["region"], row["instance_type"]
        if (provider, instance_type) not in hardware:
            message = f"instance_type: '{instance_type}' is not in {HARDWARE_TABLES}/{path.name}, which says what it is"
            raise InputError([Fault(message, _place_of_line(path, line))])
        identity = {"id": f"{provider}/{region}/{instance_type}", "provider": provider}
        yield document(identity | hardware[provider, instance_type] | row, path, "instance", line)


def _rows(files: _Files, folder: str, needed: Sequence[str]) -> Iterator[tuple[Path, int, dict[str, str]]]:
    """Rows of the tables in a folder with their line; empty cells are left out."""
    for path, content in files.items():
        if path.parent.name != folder or path.suffix != TABLE_SUFFIX:
            continue
        reader = csv.DictReader(io.StringIO(_text_of(path, content), newline=""), restkey="", restval="")
        try:
            for cells in reader:
                row = {column: cell for column, cell in cells.items() if cell}
                if "" in row or any(column not in row for column in needed):
                    message = f"a row needs {', '.join(needed)}, and no more cells than the first line has columns"
                    raise InputError([Fault(message, _place_of_line(path, reader.line_num))])
                yield path, reader.line_num, row
        except csv.Error as error:
            raise InputError([Fault(f"not CSV: {error}", _place_of_line(path, reader.line_num))]) from error


def _place_of_line(path: Path, line: int) -> Location:
    return _place(path, _text_of(path, path.read_bytes()), line, 1)


def _place(path: Path, text: str, line: int, column: int) -> Location:
    lines = text.splitlines()
    return Location(str(path), line, column, lines[line - 1] if line <= len(lines) else None)


def _place_of_keys(path: Path, keys: Sequence[str | int], at_key: bool) -> Location:
    import yaml

    text = _text_of(path, path.read_bytes())
    try:
        node = yaml.compose(text, _yaml_loader())
    except yaml.YAMLError:
        node = None
    if node is None:
        return Location(str(path))
    mark = node.start_mark
    for key in keys:
        if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            mark = node.start_mark
        elif isinstance(node, yaml.MappingNode):
            for name, value in node.value:
                if name.value == key:
                    node, mark = value, (name if at_key else value).start_mark
                    break
    return _place(path, text, mark.line + 1, mark.column + 1)
