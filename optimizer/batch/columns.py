"""Rows as Parquet columns; the one module that knows pyarrow."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from optimizer.batch.axes import Axis
from optimizer.batch.row import Row

FIELDS = tuple(field.name for field in fields(Row))
OWN = (*(name for name in FIELDS if name != "values"), "identity")
COUNTS = ("gpus", "servers")
TEXTS = ("scenario", "status", "solver", "scenario_sha256", "catalog_version", "gpuplan_version", "settings")


class DamagedPartError(Exception):
    """A part that is no readable Parquet file of ours."""


def arrow() -> Any:
    """pyarrow with its Parquet module, imported late: it would slow every other command's start."""
    import pyarrow
    import pyarrow.parquet

    return pyarrow


def write_part(path: Path, rows: Sequence[Row], axes: Sequence[Axis]) -> None:
    """Put rows into a file, whole and on the disk or not at all; OSError when there is no room."""
    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in rows] for name in OWN}
    columns |= {name: [list(counts.items()) for counts in columns[name]] for name in COUNTS}
    for i, axis in enumerate(axes):
        columns[axis.column] = [axis.cell(row.values[i]) for row in rows]
    write_table(path, arrow().table(columns, schema=_schema(axes)))


def write_table(path: Path, table: Any) -> None:
    """Put a table of rows into a file, likewise."""
    pq = arrow().parquet
    beside = path.with_name(f".{path.name}.tmp")
    try:
        with beside.open("wb") as file:
            pq.write_table(table, file, compression="zstd", write_page_checksum=True)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def read_part(path: Path) -> Any:
    """The table of a part, its checksums compared.

    Raises:
        DamagedPartError: it cannot be read, or is no part of a batch's results.
    """
    pa = arrow()
    try:
        table = pa.parquet.ParquetFile(path, page_checksum_verification=True).read()
    except (OSError, pa.ArrowException) as error:
        raise DamagedPartError(str(error)) from error
    if not set(OWN) <= set(table.column_names):
        raise DamagedPartError("not a part of a batch's results")
    return table


def axis_columns(table: Any) -> tuple[str, ...]:
    """The columns of a part that hold what the sweep varies."""
    return tuple(name for name in table.column_names if name not in OWN)


def identities(table: Any) -> Iterator[tuple[str, bytes]]:
    """Name and identity of every row."""
    names, found = (table.column(name).to_pylist() for name in ("scenario", "identity"))
    yield from zip(names, found, strict=True)


def _schema(axes: Iterable[Axis]) -> Any:
    pa = arrow()
    types = {name: pa.float64() for name in OWN}
    types |= {"identity": pa.binary()} | {name: pa.string() for name in TEXTS}
    types |= {name: pa.map_(pa.string(), pa.int64()) for name in COUNTS}
    types |= {axis.column: pa.string() if axis.unit is None else pa.float64() for axis in axes}
    return pa.schema(list(types.items()))


def row_data(row: Row) -> dict[str, Any]:
    """A row as JSON has it."""
    return {name: getattr(row, name) for name in FIELDS}


def row_from(data: dict[str, Any]) -> Row:
    """The row that `row_data` made; TypeError or KeyError for anything else."""
    return Row(**{**data, "values": tuple(data["values"])})
