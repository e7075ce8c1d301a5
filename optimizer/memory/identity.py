"""Tables of catalog entries, kept as long as the same entries are asked about."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")
MOST_KEPT = 64


class ByIdentity(Generic[Value]):
    """Values by the very objects they were made of: hashing catalog entries costs more than what is made of them."""

    def __init__(self) -> None:
        # The entry keeps its objects alive, so that an id is never another object's.
        self._kept: OrderedDict[tuple[int, ...], tuple[tuple[object, ...], Value]] = OrderedDict()

    def get(self, of: tuple[object, ...], make: Callable[[], Value]) -> Value:
        """The value of these objects, made if it is not there; the oldest goes when there are too many."""
        key = tuple(map(id, of))
        if key not in self._kept:
            self._kept[key] = (of, make())
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return self._kept[key][1]
