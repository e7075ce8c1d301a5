"""Faults in what a user gave us, each with where, what was expected and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class GpuplanError(Exception):
    """The root of every error that gpuplan raises on purpose; `optimizer/errors.py` draws the whole tree."""


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a file: `file:line:column`, both counted from 1, with the text of that line for the caret."""

    file: str
    line: int | None = None
    column: int | None = None
    text: str | None = None

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with an input."""

    message: str
    """What is wrong, what was expected and what to do, in one line."""
    location: Location | None = None
    key: str | None = None
    """Dotted path of the value inside the input, such as `workloads.chat.requests`; shown when there is no line."""


class InputError(GpuplanError):
    """An input that cannot be used; holds every fault found, not only the first."""

    def __init__(self, faults: Iterable[Fault] | str) -> None:
        self.faults: tuple[Fault, ...] = (Fault(faults),) if isinstance(faults, str) else tuple(faults)
        super().__init__("\n".join(fault.message for fault in self.faults))
