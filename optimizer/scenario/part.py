"""The base of every mapping in a scenario: reads it whole and reports everything that is wrong with it at once."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    model_serializer,
    model_validator,
)
from pydantic_core import InitErrorDetails

from optimizer.scenario.fields import Surroundings
from optimizer.scenario.problems import problem, problems_in, raise_problems
from optimizer.scenario.words import Suggestions, did_you_mean, foreign_letter, key_text, listed, shown


class Part(BaseModel):
    """Frozen and closed. Keys of the file are aliases; attributes carry their unit."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @classmethod
    @functools.cache
    def keys(cls) -> dict[str, str]:
        """Key in the file -> what it means."""
        return {field.alias or name: field.description or "" for name, field in cls.model_fields.items()}

    @classmethod
    def from_scalar(cls, value: object) -> object:
        """What a value that is no mapping stands for; a ValueError says that a mapping is expected."""
        raise ValueError(
            f"a mapping is expected, with keys such as {listed(list(cls.keys())[:4])}; this is {shown(value)}"
        )

    @classmethod
    def together(cls, keys: frozenset[str]) -> Iterator[InitErrorDetails]:  # noqa: ARG003
        """What is wrong with these keys standing together, whatever their values."""
        yield from ()

    def consistent(self, surroundings: Surroundings) -> Iterator[InitErrorDetails]:  # noqa: ARG002
        """What is wrong with values that are right one by one."""
        yield from ()

    @model_validator(mode="wrap")
    @classmethod
    def _collect(cls, given: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        if isinstance(given, cls):
            return given
        if not isinstance(given, Mapping):
            given = cls.from_scalar(given)
        keys = cls.keys()
        suggestions = info.context.suggestions if isinstance(info.context, Surroundings) else Suggestions()
        problems, intended = cls._unknown_keys(given, suggestions)
        empty = [key for key in keys if key in given and given[key] is None]
        problems += [problem(f"'{key}' has no value; give it one, or delete the key", key) for key in empty]
        problems += cls.together(frozenset(given) | frozenset(intended))
        usable = {key: value for key, value in given.items() if key in keys and value is not None}
        try:
            part = handler(usable)
        except ValidationError as error:
            reported = {(key,) for key in (*empty, *intended)}
            problems += [found for found in problems_in(error, keys) if found.get("loc") not in reported]
        else:
            if isinstance(info.context, Surroundings) and not problems:
                problems += part.consistent(info.context)
        raise_problems(problems)
        return part

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler) -> Any:
        """What is not there is not written."""
        return {key: value for key, value in handler(self).items() if value not in (None, [], {})}

    @classmethod
    def _unknown_keys(
        cls, given: Mapping[Any, Any], suggestions: Suggestions
    ) -> tuple[list[InitErrorDetails], list[str]]:
        """A problem for each unknown key, and the keys that were probably meant and are not given."""
        known = cls.keys()
        problems, intended = [], []
        for key in given:
            if key in known:
                continue
            name = key_text(key)
            if near := suggestions.meant(name, cls.__name__, known):
                intended += [other for other in near[:1] if other not in given]
                message = f"unknown key {shown(key)}{foreign_letter(name)}{did_you_mean(near)}"
            else:
                message = f"unknown key {shown(key)}; the keys here are {listed(known, 'and')}"
            problems.append(problem(message, name, at_key=True))
        return problems, intended
