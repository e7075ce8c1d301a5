"""The program as a file that other solvers read: LP or MPS, every row and column named, every number exact."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from typing import Literal

from optimizer.formulation import (
    FAMILIES,
    Family,
    Instance,
    Program,
    build_program,
    column_names,
    lay_out,
    row_names,
)

FORBIDDEN = re.compile(r"[^A-Za-z0-9_.(),]")
"""What names in LP and MPS files must not hold; it becomes an underscore. HiGHS reads no `/` in a name, CPLEX does."""
PARENTHESES = str.maketrans("[]", "()")
"""In LP files a bracket opens a quadratic expression, so `family[index]` is written `family(index)`."""
TERMS_PER_LINE = 6


def program_text(inst: Instance, form: Literal["lp", "mps"], families: Sequence[Family] = FAMILIES) -> str:
    """The program of an instance in CPLEX LP or free MPS format."""
    var = lay_out(inst)
    program = build_program(inst, var, families)
    write = _lp if form == "lp" else _mps
    return "\n".join(write(program, _unique(column_names(inst)), _unique(row_names(inst, var, families)))) + "\n"


def _lp(program: Program, columns: Sequence[str], rows: Sequence[str]) -> Iterator[str]:
    yield "\\ gpuplan: USD per hour"
    yield "Minimize"
    yield from _expression("cost", program.objective.tolist(), columns)
    yield "Subject To"
    entries = zip(program.row.tolist(), program.column.tolist(), program.coefficient.tolist(), strict=True)
    by_row = {row: list(terms) for row, terms in itertools.groupby(entries, key=lambda entry: entry[0])}
    for row, (name, lower, upper) in enumerate(zip(rows, program.row_lower, program.row_upper, strict=True)):
        terms = by_row.get(row) or [(row, 0, 0.0)]  # the format knows no row without terms
        *lines, last = _expression(name, [c for _, _, c in terms], [columns[n] for _, n, _ in terms])
        yield from lines
        yield f"{last} {_SIGN[_sense(lower, upper)]} {_number(_side(lower, upper))}"
    yield "Bounds"
    yield from (f" 0 <= {name} <= {_number(upper)}" for name, upper in zip(columns, program.upper, strict=True))
    yield "General"
    yield from (f" {name}" for name, is_integer in zip(columns, program.is_integer, strict=True) if is_integer)
    yield "End"


def _expression(name: str, coefficients: Sequence[float], columns: Sequence[str]) -> Iterator[str]:
    """` name: + 2 x - 3 y`, folded into lines."""
    pairs = [(c, x) for c, x in zip(coefficients, columns, strict=True) if c] or [(0.0, columns[0])]
    terms = [f"{'-' if c < 0 else '+'} {_number(abs(c))} {x}" for c, x in pairs]
    for i in range(0, len(terms), TERMS_PER_LINE):
        yield f"{'' if i else f' {name}:'}  {' '.join(terms[i : i + TERMS_PER_LINE])}"


def _mps(program: Program, columns: Sequence[str], rows: Sequence[str]) -> Iterator[str]:
    yield "NAME gpuplan"
    yield "ROWS"
    yield " N cost"
    bounds = list(zip(program.row_lower.tolist(), program.row_upper.tolist(), strict=True))
    yield from (f" {_sense(*bound)} {name}" for name, bound in zip(rows, bounds, strict=True))
    yield "COLUMNS"
    by_column = sorted(zip(program.column.tolist(), program.row.tolist(), program.coefficient.tolist(), strict=True))
    entries = {column: list(found) for column, found in itertools.groupby(by_column, key=lambda entry: entry[0])}
    for is_integer, group in itertools.groupby(enumerate(columns), key=lambda pair: bool(program.is_integer[pair[0]])):
        if is_integer:
            yield " MARKER 'MARKER' 'INTORG'"
        for column, name in group:
            yield f" {name} cost {_number(program.objective[column])}"
            yield from (f" {name} {rows[row]} {_number(c)}" for _, row, c in entries.get(column, []))
        if is_integer:
            yield " MARKER 'MARKER' 'INTEND'"
    yield "RHS"
    yield from (f" rhs {name} {_number(_side(*bound))}" for name, bound in zip(rows, bounds, strict=True))
    yield "BOUNDS"
    yield from (f" UP bound {name} {_number(upper)}" for name, upper in zip(columns, program.upper, strict=True))
    yield "ENDATA"


_SIGN = {"E": "=", "G": ">=", "L": "<="}


def _sense(lower: float, upper: float) -> str:
    """MPS's letter of a row; every row has one side, or two equal ones."""
    return "E" if lower == upper else "L" if math.isinf(lower) else "G"


def _side(lower: float, upper: float) -> float:
    return lower if math.isinf(upper) else upper


def _number(value: float) -> str:
    """The shortest text that reads back to the same number."""
    return str(int(value)) if math.isfinite(value) and value == int(value) else repr(float(value))


def _unique(names: Sequence[str]) -> list[str]:
    """Names with forbidden characters replaced; those that then coincide get a number."""
    seen: dict[str, int] = {}
    result = []
    for name in (FORBIDDEN.sub("_", name.translate(PARENTHESES)) for name in names):
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return result
