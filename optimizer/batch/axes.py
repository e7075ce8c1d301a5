"""What a sweep varies: one key of the scenario, and the values that it takes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

AMOUNT = re.compile(r"(?P<before>[-+]?\$?)(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<after>[^0-9]*)")
"""A number between what stands before it and its unit, such as `$2.40/gpu/h`, `4/s` or `16k`."""
_DIGITS = 10
"""Decimals of a value between two others."""


@dataclass(frozen=True)
class Axis:
    """A key of the scenario and its values, in the order of the file."""

    path: str
    """As written, such as `inventory.h100-node.rent.price`."""
    keys: tuple[str | int, ...]
    """The same as keys of mappings and indices of lists."""
    values: tuple[Any, ...]

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The values as text; what is no scalar is JSON."""
        return tuple(value if isinstance(value, str) else json.dumps(value) for value in self.values)

    @cached_property
    def unit(self) -> str | None:
        """What all values have around their numbers, such as `$/gpu/h` or nothing; None when they are no numbers."""
        found = [AMOUNT.fullmatch(text) for text in self.texts]
        units = {f"{one['before']}{one['after'].strip()}" if one else None for one in found}
        return units.pop() if len(units) == 1 else None

    @property
    def column(self) -> str:
        """Its column among the results, with the unit of the numbers in it."""
        return f"{self.path} [{self.unit}]" if self.unit else self.path

    def cell(self, text: str) -> float | str:
        """A value in that column: a number when all are numbers of one unit."""
        amount = AMOUNT.fullmatch(text) if self.unit is not None else None
        return float(amount["number"]) if amount else text


def with_value(data: Any, keys: tuple[str | int, ...], value: Any) -> Any:
    """The data with one value replaced; what lies beside its path is shared, not copied.

    Raises:
        ValueError: a key leads through something that is neither a mapping nor a list.
    """
    if not keys:
        return value
    key, rest = keys[0], keys[1:]
    if isinstance(data, list) and isinstance(key, int) and key < len(data):
        return [*data[:key], with_value(data[key], rest, value), *data[key + 1 :]]
    if data is None:
        data = {}
    if not isinstance(data, Mapping) or not isinstance(key, str):
        raise ValueError(str(key))
    return {**data, key: with_value(data.get(key), rest, value)}


def between(first: str, last: str, steps: int) -> tuple[str, ...]:
    """`steps` values from one amount to another in equal steps, both included.

    Raises:
        ValueError: these are no two amounts of one unit.
    """
    ends = [AMOUNT.fullmatch(text) for text in (first, last)]
    if None in ends or len({(one["before"], one["after"]) for one in ends if one}) > 1:
        raise ValueError(f"'{first}' and '{last}' are not two amounts of the same unit")
    before, after = next((one["before"], one["after"]) for one in ends if one)
    start, end = (Decimal(one["number"]) for one in ends if one)
    amounts = (start + (end - start) * i / max(1, steps - 1) for i in range(steps))
    return tuple(f"{before}{_plain(amount)}{after}" for amount in amounts)


def _plain(amount: Decimal) -> str:
    text = f"{amount:.{_DIGITS}f}"
    return text.rstrip("0").rstrip(".")
