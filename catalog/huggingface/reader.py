"""Reads the fields of a Hugging Face configuration and collects what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from catalog.errors import Fault
from catalog.schema.layers import MAX_LAYERS

_MAX_COUNT = 2**53
_PLACEHOLDER = 1
"""Stands for a value at fault, so that reading goes on and finds the other faults."""


class ConfigReader:
    """Typed access to one (text) configuration; a field at fault is noted and read as a placeholder."""

    def __init__(self, values: Mapping[str, Any], model_type: str, prefix: str, faults: list[Fault]) -> None:
        self.values = values
        self.model_type = model_type
        self.prefix = prefix
        self.faults = faults

    def fault(self, name: str, message: str) -> None:
        """Notes what is wrong with a field."""
        key = f"{self.prefix}{name}"
        self.faults.append(Fault(f"{key}: {message}", key=key))

    def has(self, *names: str) -> bool:
        """Whether any of these fields has a value."""
        return any(self.values.get(name) is not None for name in names)

    def count(self, *names: str, default: int | None = None) -> int:
        """The first of these fields that has a value, a positive whole number."""
        for name in names:
            value = self.values.get(name)
            if value is None:
                continue
            if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _MAX_COUNT:
                return value
            self.fault(name, f"{_shown(value)} is not a positive whole number")
            return _PLACEHOLDER
        if default is None:
            self.fault(names[0], f"missing; a {self.model_type} configuration must state it (a positive whole number)")
            return _PLACEHOLDER
        return default

    def count_or_none(self, *names: str) -> int | None:
        """Like `count` for a field that may be absent, null or 0."""
        if any(self.values.get(name) for name in names):
            return self.count(*names)
        return None

    def flag(self, name: str, default: bool = False) -> bool:
        """A true-or-false field; `default` is that of the configuration class in transformers."""
        value = self.values.get(name)
        if value is None:
            return default
        if isinstance(value, bool):
            return value
        self.fault(name, f"{_shown(value)} is not true or false")
        return default

    def reject(self, name: str, why: str) -> None:
        """Faults a field whose being set means tensors that this family does not describe."""
        value = self.values.get(name)
        if value is not None and value is not False and value != 0 and value != []:
            self.fault(name, f"{_shown(value)} is not supported for {self.model_type}: {why}")

    def words(self, name: str, known: Mapping[str, str]) -> list[str] | None:
        """A list of one word a layer, each translated by `known`; null when absent."""
        values = self.values.get(name)
        if values is None:
            return None
        if not isinstance(values, list | tuple):
            self.fault(name, f"{_shown(values)} is not a list")
            return None
        unknown = sorted({_shown(value) for value in values if not isinstance(value, str) or value not in known})
        if unknown:
            self.fault(name, f"{', '.join(unknown[:3])} unknown for {self.model_type}; known: {', '.join(known)}")
            return None
        return [known[value] for value in values]

    def switches(self, name: str) -> list[bool] | None:
        """A list of one 0 or 1 a layer; null when absent."""
        values = self.values.get(name)
        if values is None:
            return None
        if not isinstance(values, list | tuple) or any(value not in (0, 1) for value in values):
            self.fault(name, f"{_shown(values)} is not a list of zeros and ones")
            return None
        return [bool(value) for value in values]

    def numbers(self, name: str) -> list[int] | None:
        """A list of whole numbers; null when absent or empty."""
        values = self.values.get(name)
        if not values:
            return None
        if not isinstance(values, list | tuple) or any(type(value) is not int for value in values):
            self.fault(name, f"{_shown(values)} is not a list of whole numbers")
            return None
        return list(values)

    def group(self, name: str) -> ConfigReader:
        """A nested mapping; an absent one reads as empty."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, Mapping):
            self.fault(name, f"{_shown(value)} is not a mapping")
            value = None
        return ConfigReader(value or {}, self.model_type, f"{self.prefix}{name}.", self.faults)

    @property
    def n_layers(self) -> int:
        """`num_hidden_layers`, bounded."""
        n_layers = self.count("num_hidden_layers")
        if n_layers > MAX_LAYERS:
            self.fault("num_hidden_layers", f"{n_layers} is more than the {MAX_LAYERS} layers that are believable")
            return _PLACEHOLDER
        return n_layers


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
