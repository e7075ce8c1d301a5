"""Reads a request trace (CSV, plain or gzipped) down to its statistics; never repeats what a wrong file holds."""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from optimizer.scenario.quantities import RATE
from optimizer.scenario.traffic import MOST_CV, POISSON_CV
from optimizer.scenario.words import listed

COLUMNS = ("arrived_at", "num_prefill_tokens", "num_decode_tokens")
_MOST_REQUESTS = 2_000_000
"""A day of a busy service."""
_LONGEST_LINE = 10_000
"""Characters; a longer one is no line of a table."""
_CHUNK_LINES = 50_000
_MOST_FAULTS = 5


class TraceError(ValueError):
    """What is wrong with a trace, one line a fault."""

    def __init__(self, *faults: str) -> None:
        self.faults = faults
        super().__init__("\n".join(faults))


def trace_statistics(path: Path) -> dict[str, object]:
    """Count, mean rate and token sizes of a trace, as they stand in a normalised scenario."""
    table = read_trace(path)
    arrived_at_s = table[:, 0]
    span_s = float(arrived_at_s.max() - arrived_at_s.min()) if len(table) else 0.0
    if span_s <= 0:
        raise TraceError("at least two requests at different times are needed to know their rate")
    return {
        "requests": len(table),
        "rate": RATE.text((len(table) - 1) / span_s),
        "input_tokens": _sizes(table[:, 1]),
        "output_tokens": _sizes(table[:, 2]),
        "cv": arrival_cv(arrived_at_s),
    }


def arrival_cv(arrived_at_s: NDArray[np.float64]) -> float:
    """Coefficient of variation of gamma distributed gaps that vary as these do from one to the next; 1 at least.

    Shinomoto's local variation (Neural Computation 15, 2003, p. 2823) compares each gap with the next one only, so that
    days and nights do not count as bursts: Lv = 3 ⟨((a − b) / (a + b))²⟩ = 3 / (2 · shape + 1), and cv² = 1 / shape.
    """
    gaps = np.diff(_apart(np.sort(arrived_at_s)))
    both = gaps[1:] + gaps[:-1]
    ratios = ((gaps[1:] - gaps[:-1])[both > 0] / both[both > 0]) ** 2
    if not len(ratios):
        return POISSON_CV
    local = 3.0 * float(ratios.mean())
    cv = math.sqrt(2.0 * local / max(3.0 - local, 1e-9))
    return round(min(max(cv, POISSON_CV), MOST_CV), 3)


def _apart(times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Requests with one time stamp at random within the clock's tick, of which it says nothing; ascending."""
    steps = np.diff(times_s)
    if not (steps == 0).any():
        return times_s
    tick_s = float(steps[steps > 0].min())
    return np.sort(times_s + tick_s * np.random.default_rng(0).random(len(times_s)))


def read_trace(path: Path) -> NDArray[np.float64]:
    """[n, 3]: arrived_at in seconds, input and output tokens of each request; TraceError for a wrong file."""
    if not path.is_file():
        raise TraceError("this is not a file" if path.exists() else "no such file")
    return _table(_lines(path))


def _lines(path: Path) -> Iterator[str]:
    """Lines of the file, none of them endless."""
    try:
        with path.open("rb") as file, gzip.open(file) if path.suffix == ".gz" else file as plain:
            text = io.TextIOWrapper(plain, encoding="utf-8-sig", newline="")
            while line := text.readline(_LONGEST_LINE + 1):
                if len(line) > _LONGEST_LINE:
                    raise TraceError("not a CSV file: a line is too long")
                yield line
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise TraceError("not a complete gzip file, though its name ends in .gz") from None
    except UnicodeDecodeError:
        raise TraceError("not a CSV file in UTF-8") from None
    except OSError as error:
        raise TraceError(f"cannot be read: {error.strerror or 'unknown reason'}") from None


def _table(lines: Iterator[str]) -> NDArray[np.float64]:
    """[n, 3]: arrived_at in seconds, input and output tokens."""
    header = [name.strip().strip('"') for name in next(lines, "").split(",")]
    if lacking := [name for name in COLUMNS if name not in header]:
        missing = f"column {lacking[0]} is" if len(lacking) == 1 else f"columns {listed(lacking, 'and')} are"
        raise TraceError(f"{missing} missing; expected {', '.join(COLUMNS)}")
    chosen = [header.index(name) for name in COLUMNS]
    tables: list[NDArray[np.float64]] = []
    line = 1
    while chunk := list(islice(lines, _CHUNK_LINES)):
        table = _parsed(chunk, chosen)
        if table is None or not _sound(table):
            faults = list(islice(_faults(chunk, line + 1, chosen), _MOST_FAULTS))
            raise TraceError(*faults or [f"lines {line + 1} to {line + len(chunk)}: not all are rows of plain numbers"])
        tables.append(table)
        line += len(chunk)
        if line > _MOST_REQUESTS:
            raise TraceError(f"more than {_MOST_REQUESTS:,} requests; a part of it tells as much")
    return np.concatenate(tables) if tables else np.empty((0, len(COLUMNS)))


def _parsed(chunk: list[str], chosen: list[int]) -> NDArray[np.float64] | None:
    """The chosen columns of some lines; None when one of them is not of numbers."""
    if not any(line.strip() for line in chunk):
        return np.empty((0, len(chosen)))
    try:
        return np.loadtxt(chunk, delimiter=",", usecols=chosen, comments=None, quotechar='"', ndmin=2)
    except ValueError:
        return None


def _sound(table: NDArray[np.float64]) -> bool:
    tokens = table[:, 1:]
    return bool(np.isfinite(table).all() and (tokens >= 0).all() and (tokens == np.floor(tokens)).all())


def _faults(chunk: list[str], first_line: int, chosen: list[int]) -> Iterator[str]:
    """What is wrong with each line, named by column and never by content."""
    for line, text in enumerate(chunk, first_line):
        cells = [cell.strip().strip('"') for cell in text.split(",")]
        if not text.strip():
            continue
        if len(cells) <= max(chosen):
            yield f"line {line}: too few columns"
            continue
        for name, index in zip(COLUMNS, chosen, strict=True):
            if reason := _fault_of_cell(cells[index], name):
                yield f"line {line}: {name} is {reason}"
                break


def _fault_of_cell(cell: str, column: str) -> str | None:
    try:
        number = float(cell)
    except ValueError:
        return "not a number"
    if not math.isfinite(number):
        return "not a number"
    if column != COLUMNS[0] and (number < 0 or not number.is_integer()):
        return "not a whole number of tokens"
    return None


def _sizes(tokens: NDArray[np.float64]) -> dict[str, float]:
    p50, p95, p99 = np.percentile(tokens, (50, 95, 99))
    return {"mean": float(tokens.mean()), "p50": float(p50), "p95": float(p95), "p99": float(p99)}
