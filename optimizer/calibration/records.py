"""Result files as records whose fields are looked up by path, each mistake with its place."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optimizer.errors import Fault, InputError, Location

MOST_BYTES = 256 * 2**20
"""A run of hundreds of thousands of requests with every token's time."""
WORDS_FOR_NOTHING = ("", "inf", "infinity", "nan", "none", "null", "n/a")
"""Texts that tools write where there is no number."""
_SHOWN_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class Record:
    """One object of a result file: a line, a row, a run, or a part of one."""

    value: Mapping[str, Any]
    location: Location
    path: str = ""
    """Keys that lead to it."""

    def has(self, *keys: str) -> bool:
        """Every one of the keys is there."""
        return all(key in self.value for key in keys)

    def fault(self, message: str, key: str = "") -> InputError:
        """What is wrong at a key of this record."""
        place = ".".join(part for part in (self.path, key) if part)
        return InputError([Fault(f"{place}: {message}" if place else message, self.location)])

    def part(self, *keys: str) -> Record:
        """The object under these keys; an empty one where there is none."""
        found = self
        for key in keys:
            value = found.value.get(key)
            if value is not None and not isinstance(value, Mapping):
                raise found.fault(f"expected an object, not {_shown(value)}", key)
            found = Record(value or {}, self.location, ".".join(part for part in (found.path, key) if part))
        return found

    def parts(self, key: str) -> list[Record]:
        """The objects of a list."""
        value = self.value.get(key, [])
        if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
            raise self.fault(f"expected a list of objects, not {_shown(value)}", key)
        path = f"{self.path}.{key}" if self.path else key
        return [Record(one, self.location, f"{path}.{number}") for number, one in enumerate(value)]

    def text(self, key: str) -> str | None:
        """A text, or None where there is none."""
        value = self.value.get(key)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise self.fault(f"expected a text, not {_shown(value)}", key)
        return value.strip()

    def number(self, key: str, *, above: float | None = 0.0) -> float | None:
        """A finite number, or None where the tool wrote none; one not `above` is a fault."""
        value = self.value.get(key)
        if isinstance(value, str):
            if value.strip().lower() in WORDS_FOR_NOTHING:
                return None
            try:
                value = float(value)
            except ValueError:
                raise self.fault(f"expected a number, not {_shown(value)}", key) from None
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300:
            raise self.fault(f"expected a number, not {_shown(value)}", key)
        if above is not None and value <= above:
            raise self.fault(f"expected a number above {above:g}, not {value:g}; is this run complete?", key)
        return float(value)

    def count(self, key: str) -> int | None:
        """A whole number of at least one."""
        value = self.number(key)
        if value is not None and not value.is_integer():
            raise self.fault(f"expected a whole number, not {value:g}", key)
        return None if value is None else int(value)


def read_records(path: Path) -> list[Record]:
    """The objects of a JSON, JSON-lines or CSV file; InputError says where it is none of these."""
    where = Location(str(path))
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise InputError([Fault(f"cannot be read: {getattr(error, 'strerror', None) or error}", where)]) from error
    if len(content) > MOST_BYTES:
        raise InputError(
            [Fault(f"larger than {MOST_BYTES // 2**20} MiB; give the summary that the tool writes", where)]
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError([Fault(f"not UTF-8 text (byte {error.start + 1}); {_EXPECTED}", where)]) from error
    if not text.strip():
        raise InputError([Fault(f"the file is empty; {_EXPECTED}", where)])
    return list(_json_records(text, path) if text.lstrip()[0] in "{[" else _table_records(text, path))


_EXPECTED = "expected a result in JSON, JSON lines or CSV"


def _json_records(text: str, path: Path) -> Iterator[Record]:
    """Of one document, or of one for each line."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as whole:
        lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        try:
            first_is_whole = len(lines) > 1 and isinstance(json.loads(lines[0][1]), dict)
        except (ValueError, RecursionError):
            first_is_whole = False
        if not first_is_whole:
            where = Location(str(path), whole.lineno, whole.colno)
            raise InputError([Fault(f"not JSON: {whole.msg}; was the file cut short?", where)]) from whole
        for number, line in lines:
            yield _object(_line_value(line, path, number), Location(str(path), number))
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, brackets nested as deep
        raise InputError([Fault(f"not a result: {error}", Location(str(path)))]) from error
    else:
        for one in value if isinstance(value, list) else [value]:
            yield _object(one, Location(str(path)))


def _line_value(line: str, path: Path, number: int) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        where = Location(str(path), number, getattr(error, "colno", None))
        message = f"not JSON: {getattr(error, 'msg', error)}; was the file cut short?"
        raise InputError([Fault(message, where)]) from error


def _object(value: object, where: Location) -> Record:
    if not isinstance(value, dict):
        raise InputError([Fault(f"expected an object with the figures of a run, not {_shown(value)}", where)])
    return Record(value, where)


def _table_records(text: str, path: Path) -> Iterator[Record]:
    """Rows of a CSV file under its header."""
    rows = csv.reader(io.StringIO(text))
    try:
        header = next(rows)
        for row in rows:
            if not row:
                continue
            where = Location(str(path), rows.line_num)
            if len(row) != len(header):
                said = f"{len(row)} cells under a header of {len(header)}: which belongs to which cannot be told"
                raise InputError([Fault(f"{said}; have the tool write it again, or write JSON", where)])
            yield Record(dict(zip(header, row, strict=True)), where)
    except csv.Error as error:
        raise InputError([Fault(f"not CSV: {error}; {_EXPECTED}", Location(str(path), rows.line_num))]) from error


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
