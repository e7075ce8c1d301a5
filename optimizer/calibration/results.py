"""Result files to runs: finds out which tool wrote a file and has its reader tell what it states."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from optimizer.calibration.readers import aiperf, guidellm, inferencex, llama_bench, serving_bench, trtllm_bench
from optimizer.calibration.records import Record, read_records
from optimizer.calibration.run import Run
from optimizer.errors import Fault, InputError, Location


@dataclass(frozen=True, slots=True)
class Reader:
    """One format."""

    name: str
    recognises: Callable[[Record], bool]
    runs: Callable[[Sequence[Record]], Iterator[Run]]


READERS = tuple(
    Reader(module.NAME, module.recognises, module.runs)
    for module in (serving_bench, guidellm, aiperf, inferencex, llama_bench, trtllm_bench)
)


def read_results(paths: Iterable[Path]) -> list[Run]:
    """The runs of all files; InputError with the faults of all of them together."""
    found: list[Run] = []
    faults: list[Fault] = []
    for path in paths:
        try:
            found += _runs(path)
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(faults)
    return found


def _runs(path: Path) -> list[Run]:
    records = read_records(path)
    if not records:
        raise InputError([Fault("no run in this file", Location(str(path)))])
    readers = [_reader(record) for record in records]
    for record, reader in zip(records, readers, strict=True):
        if reader is not readers[0]:
            raise record.fault(f"this is of {reader.name}, the file starts with {readers[0].name}; split the file")
    return list(readers[0].runs(records))


def _reader(record: Record) -> Reader:
    for reader in READERS:
        if reader.recognises(record):
            return reader
    known = ", ".join(reader.name for reader in READERS)
    raise record.fault(f"not a benchmark result that gpuplan reads ({known})")
