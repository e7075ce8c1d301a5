"""Values kept by what they depend on, so that they are made once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")
MOST_KEPT = 64
"""At a time; of the shipped scenarios the largest kind of value, a rating, takes up to 4 MB."""


class Kept(Generic[Value]):
    """Values by what they depend on; the one not used for longest is dropped when there are too many."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._kept: OrderedDict[Hashable, Value] = OrderedDict()
        self._most = most
        self.n_made = 0
        """Values that had to be computed."""

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of that key, made if it is not there."""
        if key not in self._kept:
            self._kept[key] = make()
            self.n_made += 1
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]
