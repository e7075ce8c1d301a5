"""Text to data: YAML 1.2 or JSON as mappings, lists and text, with the place of every key and value.

Plain scalars stay text, so nothing is misread before a field says what it expects: `no` is no false, `12:30` no number
and `2027-01-01` no date. Tags, merge keys, duplicate keys and several documents are refused; nothing here recurses,
executes or fetches.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, NoReturn

import yaml

from optimizer.errors import Fault, InputError, Location
from optimizer.scenario.words import shown

MOST_BYTES = 64 * 2**20
_MOST_VALUES = 1_000_000
_MOST_REPEATED_VALUES = 200_000
"""Values that aliases may add to those written out."""
_DEEPEST = 50
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What YAML does not allow in a file unescaped."""
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""Where the parser counts a new line."""
_SURROGATE_PAIR = re.compile(r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
"""How JSON escapes a character beyond U+FFFF; YAML writes it `\\U0001f600`."""
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_MERGE_KEY = "<<"
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,3})?")


class Plain(str):
    """A scalar without quotes, whose meaning its field decides."""

    __slots__ = ()


class Mark(NamedTuple):
    """Where a key and its value begin, lines and columns from 0, and the same for what is below."""

    key_line: int
    key_column: int
    line: int
    column: int
    below: Marks


Marks = Mapping[str | int, Mark]
"""Key of a mapping or index of a list -> its place."""


@dataclass(frozen=True, slots=True)
class Positions:
    """Where everything stands in a file; without a file, nowhere."""

    file: str = ""
    lines: Sequence[str] = ()
    marks: Marks = field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        """Where things stood in a file makes no difference between scenarios."""
        return isinstance(other, Positions)

    def __hash__(self) -> int:
        return hash(Positions)

    def location(self, path: Sequence[str | int], *, at_key: bool = False) -> Location:
        """The place of the value (or key) at a path; else the key of the nearest mapping or list above.

        What a workload does not say itself is looked up among the defaults.
        """
        found = self._walk(path)
        if path[:1] == ("workloads",) and len(found) == 2 and len(path) > 2:
            of_default = self._walk(("defaults", *path[2:]))
            if len(of_default) > 1:
                found, path = of_default, path[1:]
        if not found:
            return self.place(0, 0)
        mark = found[-1]
        is_above = len(found) < len(path) and mark.below
        if at_key or is_above:
            return self.place(mark.key_line, mark.key_column)
        return self.place(mark.line, mark.column)

    def place(self, line: int, column: int) -> Location:
        """A location from a line and column counted from 0."""
        return Location(self.file, line + 1, column + 1, self.lines[line] if line < len(self.lines) else "")

    def _walk(self, path: Iterable[str | int]) -> list[Mark]:
        """The marks along the path, as far as it exists."""
        marks, found = self.marks, []
        for key in path:
            mark = marks.get(key)
            if mark is None:
                break
            found.append(mark)
            marks = mark.below
        return found


@dataclass(frozen=True, slots=True)
class Document:
    """A file taken apart."""

    root: object
    """Mappings, lists and text; null where there is no value."""
    positions: Positions
    faults: tuple[Fault, ...]
    whole: bool
    """False when reading stopped early, so that what is missing means nothing."""


def read_document(text: str, file: str) -> Document:
    """The document, as far as it can be understood, and what is wrong with it."""
    text = text.removeprefix("\ufeff")
    positions = Positions(file, _LINE_BREAK.split(text))
    if forbidden := _FORBIDDEN.search(text):
        place = positions.place(*_position(text, forbidden.start()))
        fault = Fault(f"control character U+{ord(forbidden[0]):04X} is not allowed in a text file", place)
        return Document(None, positions, (fault,), whole=False)
    composer = _Composer(positions)
    whole = composer.read(_SURROGATE_PAIR.sub(_joined, text) if "\\u" in text else text)
    return Document(composer.root, replace(positions, marks=composer.marks), tuple(composer.faults), whole)


def decode(data: bytes, file: str) -> str:
    """UTF-8 text; InputError with the place of the first byte that is not."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError([Fault("the file is UTF-16; save it as UTF-8", Location(file))])
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        line, column = _position(before, len(before))
        where = Location(file, line + 1, column + 1)
        raise InputError(
            [Fault(f"byte {data[error.start]:#04x} is not UTF-8; save the file as UTF-8", where)]
        ) from None


def typed(value: object, depth: int = 0) -> Any:
    """Data whose plain scalars mean what YAML 1.2's core schema says, for content that no field describes.

    A mapping from elsewhere may contain itself: InputError when it is nested too deep.
    """
    if depth > _DEEPEST:
        raise InputError(f"nested deeper than {_DEEPEST} levels")
    if isinstance(value, Mapping):
        return {key: typed(one, depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [typed(one, depth + 1) for one in value]
    if not isinstance(value, Plain):
        return value
    if value in ("true", "false"):
        return value == "true"
    if _INTEGER.fullmatch(value):
        return int(value)
    return float(value) if _FLOAT.fullmatch(value) else str(value)


class _Open:
    """A mapping or list that is being read."""

    __slots__ = ("anchor", "key", "key_place", "marks", "merged", "merges", "size", "values")

    def __init__(self, values: dict[str, object] | list[object], anchor: str | None) -> None:
        self.values = values
        self.anchor = anchor
        self.marks: dict[str | int, Mark] = {}
        self.key: str | None = None  # of a mapping, while its value is awaited
        self.key_place = (0, 0)
        self.merges = False  # the key is a refused merge key
        self.size = 1  # values in it, aliases expanded
        self.merged: tuple[object, Marks] = (
            {},
            {},
        )  # under a refused merge key, so that nothing is missed because of it


class _Anchor(NamedTuple):
    """What an alias repeats."""

    value: object
    marks: Marks
    size: int


class _StopReadingError(Exception):
    """Reading on would be useless or dangerous; the fault is recorded."""


class _Composer:
    """Builds data from YAML's events with a stack of its own, so that depth costs no recursion."""

    def __init__(self, positions: Positions) -> None:
        self.positions = positions
        self.root: object = None
        self.marks: Marks = {}
        self.faults: list[Fault] = []
        self.stack: list[_Open] = []
        self.anchors: dict[str, _Anchor | None] = {}  # null = still open
        self.documents = 0
        self.written = 0
        self.repeated = 0

    def read(self, text: str) -> bool:
        """Whether the text could be read to its end."""
        take: dict[type, Callable[[Any], None]] = {
            yaml.DocumentStartEvent: self._document,
            yaml.ScalarEvent: self._scalar,
            yaml.MappingStartEvent: lambda event: self._begin({}, event),
            yaml.SequenceStartEvent: lambda event: self._begin([], event),
            yaml.MappingEndEvent: lambda _: self._end(),
            yaml.SequenceEndEvent: lambda _: self._end(),
            yaml.AliasEvent: self._alias,
        }
        loader: Any = getattr(yaml, "CLoader", yaml.Loader)
        try:
            for event in yaml.parse(text, Loader=loader):
                if handle := take.get(type(event)):
                    handle(event)
        except yaml.YAMLError as error:
            self.faults.append(_syntax_fault(error, self.positions))
            return False
        except _StopReadingError:
            return False
        if self.documents == 0:
            message = "the file is empty; a scenario needs name, workloads and inventory"
            self.faults.append(Fault(message, self.positions.place(0, 0)))
        return self.documents > 0

    def _document(self, event: yaml.DocumentStartEvent) -> None:
        self.documents += 1
        if self.documents > 1:
            self._stop("a second document begins here; a scenario is one document", event)

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        self._refuse_tag(event)
        if self._awaits_key():
            self._key(event)
            return
        value: str | None = event.value
        if event.implicit[0]:
            value = None if value in _NULLS else Plain(value)
        if event.anchor:
            self.anchors[event.anchor] = _Anchor(value, {}, 1)
        self._place(value, {}, event)

    def _key(self, event: Any) -> None:
        parent, key, start = self.stack[-1], event.value, event.start_mark
        if event.anchor:
            self.anchors[event.anchor] = _Anchor(Plain(key), {}, 1)
        parent.merges = event.implicit[0] and key == _MERGE_KEY
        if parent.merges:
            self._fault("merge keys (<<) are not part of YAML 1.2; use `defaults:` for what workloads share", event)
        elif key in parent.marks:
            first = parent.marks[key].key_line + 1
            self._fault(f"duplicate key {shown(key)}; it is already given on line {first}", event)
        parent.key, parent.key_place = key, (start.line, start.column)

    def _begin(self, values: dict[str, object] | list[object], event: Any) -> None:
        self._refuse_tag(event)
        if self._awaits_key():
            self._stop("a key must be a word, not a mapping or a list", event)
        if len(self.stack) >= _DEEPEST:
            self._stop(f"nested deeper than {_DEEPEST} levels", event)
        opened = _Open(values, event.anchor)
        if event.anchor:
            self.anchors[event.anchor] = None
        self._place(values, opened.marks, event)
        self.stack.append(opened)

    def _end(self) -> None:
        closed = self.stack.pop()
        values, marks = closed.merged
        if isinstance(values, dict) and isinstance(closed.values, dict):
            closed.values.update({key: value for key, value in values.items() if key not in closed.marks})
            closed.marks |= {key: mark for key, mark in marks.items() if key not in closed.marks}
        if closed.anchor:
            self.anchors[closed.anchor] = _Anchor(closed.values, closed.marks, closed.size)
        if self.stack:
            self.stack[-1].size += closed.size

    def _alias(self, event: yaml.AliasEvent) -> None:
        if self._awaits_key():
            self._stop("an alias cannot be a key", event)
        name = str(event.anchor)
        anchor = self.anchors.get(name)
        if anchor is None:
            inside = "stands inside what it repeats, without end"
            reason = inside if name in self.anchors else "repeats nothing: no such anchor before it"
            self._fault(f"alias {shown(f'*{name}')} {reason}", event)
            anchor = _Anchor(None, {}, 1)
        self.repeated += anchor.size
        if self.repeated > _MOST_REPEATED_VALUES:
            self._stop(f"aliases repeat more than {_MOST_REPEATED_VALUES:,} values", event)
        if self.stack:
            self.stack[-1].size += anchor.size
        self._place(anchor.value, anchor.marks, event)

    def _awaits_key(self) -> bool:
        return bool(self.stack) and isinstance(self.stack[-1].values, dict) and self.stack[-1].key is None

    def _place(self, value: object, below: Marks, event: Any) -> None:
        """Hang a value into the innermost open mapping or list; what stands under a refused key is dropped."""
        self.written += 1
        if self.written > _MOST_VALUES:
            self._stop(f"more than {_MOST_VALUES:,} values", event)
        if not self.stack:
            self.root, self.marks = value, below
            return
        parent, start = self.stack[-1], event.start_mark
        parent.size += 1
        if isinstance(parent.values, list):
            parent.marks[len(parent.values)] = Mark(start.line, start.column, start.line, start.column, below)
            parent.values.append(value)
        elif parent.key is not None:
            if parent.merges:
                parent.merged = (value, below)
            elif parent.key not in parent.values:
                parent.marks[parent.key] = Mark(*parent.key_place, start.line, start.column, below)
                parent.values[parent.key] = value
            parent.key = None

    def _refuse_tag(self, event: Any) -> None:
        if event.tag is not None:
            self._fault(f"tag {shown(event.tag)} is not allowed; write the value as it is", event)

    def _fault(self, message: str, event: Any) -> None:
        self.faults.append(Fault(message, self.positions.place(event.start_mark.line, event.start_mark.column)))

    def _stop(self, message: str, event: Any) -> NoReturn:
        self._fault(message, event)
        raise _StopReadingError


def _syntax_fault(error: yaml.YAMLError, positions: Positions) -> Fault:
    """The parser's complaint in words that help, where the mistake begins rather than where it was noticed."""
    problem = str(getattr(error, "problem", None) or error)
    context = str(getattr(error, "context", None) or "")
    noticed, began = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
    if noticed is None:
        return Fault(f"not readable as YAML or JSON: {problem}", positions.place(0, 0))
    here = positions.place(noticed.line, noticed.column)
    if began is not None and "quoted scalar" in context and "end of stream" in problem:
        return Fault("this quote is never closed", positions.place(began.line, began.column))
    if "flow node" in context:
        return Fault("a value or a closing bracket is expected here", here)
    if began is not None and "flow" in context:
        message = f"this bracket is not closed, or a comma is missing before line {here.line}, column {here.column}"
        return Fault(message, positions.place(began.line, began.column))
    if (here.text or "")[noticed.column : noticed.column + 1] == "\t":
        return Fault("a tab cannot indent YAML; use spaces", here)
    if "mapping values are not allowed" in problem:
        return Fault(
            "a colon and a blank begin a value, and none can stand here; put text with a colon in quotes", here
        )
    return Fault(f"not readable as YAML or JSON: {problem} {context}".rstrip(), here)


def _position(text: str, index: int) -> tuple[int, int]:
    """Line and column, from 0, of a character."""
    lines = _LINE_BREAK.split(text[:index])
    return len(lines) - 1, len(lines[-1])


def _joined(pair: re.Match[str]) -> str:
    code = 0x10000 + ((int(pair[2], 16) - 0xD800) << 10) + (int(pair[3], 16) - 0xDC00)
    return f"{pair[1]}\\U{code:08x}"
