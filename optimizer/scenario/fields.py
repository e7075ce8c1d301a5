"""Field types of the scenario: how pydantic reads, writes and describes quantities, choices, ids and lists."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from optimizer.scenario.problems import problem, raise_problems
from optimizer.scenario.quantities import COUNT, Quantity
from optimizer.scenario.words import Suggestions, did_you_mean, key_text, listed, meant, shown

if TYPE_CHECKING:
    from catalog.loader import Catalog
    from catalog.schema import Model

MOST_TOKENS = 10**9
MOST_SERVERS = 10**6
_LONGEST_NAME = 100
_LONGEST_LIST = 1000
_REPOSITORY_PARTS = 2
"""Owner and name."""
_NAME = re.compile(r"\w[\w .+:@()-]*")
_REPOSITORY = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._-]{0,95}|(/[A-Za-z0-9._-]+)+)(/[A-Za-z0-9._-]{1,96}(:[A-Za-z0-9._-]{1,40})?)?"
)
_NAME_PATTERN = r"^[^\s/,\[\]{}\"'][^/,\[\]{}\"']*$"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a part of the scenario may need to know about the rest while it is read."""

    catalog: Catalog
    models: Mapping[str, Model | None]
    """The scenario's own; null = declared, but its configuration could not be read, which is reported elsewhere."""
    horizon_months: float | None
    """Null = not readable, which is reported elsewhere."""
    periods: int | None
    suggestions: Suggestions


@dataclass(frozen=True, slots=True)
class Measured:
    """A number with a unit, within bounds (in the unit that programs compute in)."""

    quantity: Quantity
    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None

    def parse(self, value: object) -> float:
        number = self.quantity.parse(value)
        if self.above is not None and number <= self.above:
            raise ValueError(f"must be more than {self.quantity.text(self.above)}; this is {shown(value)}")
        if self.at_least is not None and number < self.at_least:
            raise ValueError(f"must be at least {self.quantity.text(self.at_least)}; this is {shown(value)}")
        if self.at_most is not None and number > self.at_most:
            raise ValueError(f"must be at most {self.quantity.text(self.at_most)}; this is {shown(value)}")
        return number

    def write(self, value: float) -> str | float:
        return value if "" in self.quantity.units and not self.quantity.currency else self.quantity.text(value)

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.parse, serialization=core_schema.plain_serializer_function_ser_schema(self.write)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        text = {"type": "string", "pattern": self.quantity.pattern(), "examples": list(self.quantity.examples)}
        if "" not in self.quantity.units or self.quantity.currency:
            return text
        bounds = {"exclusiveMinimum": self.above, "minimum": self.at_least, "maximum": self.at_most}
        return {"anyOf": [{"type": "number"} | {key: at for key, at in bounds.items() if at is not None}, text]}


@dataclass(frozen=True, slots=True)
class Count:
    """A whole number within bounds; `16k` is 16,000 and `16Ki` 16,384."""

    at_least: int = 1
    at_most: int = MOST_SERVERS

    def parse(self, value: object) -> int:
        number = value if type(value) is int else self._whole(value)
        if number < self.at_least:
            raise ValueError(f"must be at least {self.at_least:,}; this is {shown(value)}")
        if number > self.at_most:
            raise ValueError(f"must be at most {self.at_most:,}; this is {shown(value)}")
        return number

    @staticmethod
    def _whole(value: object) -> int:
        number = COUNT.parse(value)
        if not number.is_integer():
            raise ValueError(f"must be a whole number; this is {shown(value)}")
        return int(number)

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.parse, serialization=core_schema.plain_serializer_function_ser_schema(int)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        number = {"type": "integer", "minimum": self.at_least, "maximum": self.at_most}
        return {"anyOf": [number, {"type": "string", "pattern": COUNT.pattern(), "examples": list(COUNT.examples)}]}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    def parse(self, value: object) -> str:
        if isinstance(value, str) and value in self.words:
            return str(value)
        hint = did_you_mean(meant(value, self.words)) if isinstance(value, str) else ""
        raise ValueError(f"expected {listed(self.words)}; this is {shown(value)}{hint}")

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.parse)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"enum": list(self.words)}


class Flag:
    """`true` or `false`, and no other spelling."""

    @staticmethod
    def parse(value: object) -> bool:
        if isinstance(value, bool):
            return value
        if value in ("true", "false"):
            return value == "true"
        raise ValueError(f"expected true or false; this is {shown(value)}")

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.parse)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Text:
    """Printable text of limited length."""

    longest: int = _LONGEST_NAME

    def parse(self, value: object) -> str:
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"a text is expected; this is {shown(value)}")
        if len(value) > self.longest:
            raise ValueError(f"must be at most {self.longest} characters long; this has {len(value):,}")
        if not value.isprintable():
            raise ValueError(f"must not hold control characters; this is {shown(value)}")
        return str(value)

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.parse)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "minLength": 1, "maxLength": self.longest}


@dataclass(frozen=True, slots=True)
class Repository:
    """Where a checkpoint is: `owner/name` on Hugging Face (`:TAG` picks a GGUF file), or an absolute folder."""

    def parse(self, value: object) -> str:
        if not isinstance(value, str) or not _REPOSITORY.fullmatch(value) or ".." in value:
            raise ValueError(
                f"a repository such as Qwen/Qwen3-32B-AWQ or an absolute folder is expected, in letters, digits and"
                f" . _ - / :; this is {shown(value)}"
            )
        return str(value)

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.parse)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^{_REPOSITORY.pattern}$", "examples": ["Qwen/Qwen3-32B-AWQ"]}


@dataclass(frozen=True, slots=True)
class Known:
    """An id of the catalog (or, for models, of the scenario's own)."""

    noun: str
    ids: Callable[[Surroundings], Sequence[Collection[str]]]
    """Where the ids are, own ones first."""
    listed_by: str
    """Of `gpuplan catalog`."""
    examples: tuple[str, ...]

    def parse(self, value: object, info: ValidationInfo) -> str:
        if not isinstance(value, str):
            raise ValueError(
                f"the id of a {self.noun} is expected, such as {listed(self.examples)}; this is {shown(value)}"
            )
        assert isinstance(info.context, Surroundings)
        known = self.ids(info.context)
        if not any(value in ids for ids in known):
            near = info.context.suggestions.meant(value, self.noun, chain(*known))
            hint = did_you_mean(near) or f"; `gpuplan catalog {self.listed_by}` lists those there are"
            raise ValueError(f"unknown {self.noun} {shown(value)}{hint}")
        return str(value)

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(self.parse)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "minLength": 1, "examples": list(self.examples)}


@dataclass(frozen=True, slots=True)
class JsonObject:
    """Content that another program's files define; a path to it has been replaced by that content before."""

    what: str
    path: str | None = None
    """How a path may look, where one may stand instead."""

    def parse(self, value: object) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise ValueError(f"{self.what} is expected; this is {shown(value)}")
        try:
            content: dict[str, Any] = json.loads(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError, RecursionError):
            raise ValueError(f"{self.what} is expected, of what JSON can hold; this holds more") from None
        return content

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.parse)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        content = {"type": "object"}
        return content if self.path is None else {"anyOf": [{"type": "string", "examples": [self.path]}, content]}


class OneOrMore:
    """A list without repetition; a single value stands for a list of one."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._listed, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        listing = handler(schema) | {"minItems": 1, "uniqueItems": True}
        return {"anyOf": [listing["items"], listing]}

    @staticmethod
    def _listed(value: object) -> object:
        if isinstance(value, str | int | float):
            return [value]
        if isinstance(value, Mapping) or not isinstance(value, Sequence):
            raise ValueError(f"one value or a list is expected; this is {shown(value)}")
        if not value:
            raise ValueError("the list is empty; name at least one, or delete the key for the default")
        if len(value) > _LONGEST_LIST:
            raise ValueError(f"must name at most {_LONGEST_LIST:,}; these are {len(value):,}")
        scalars = [item for item in value if isinstance(item, str | int | float)]
        if len(set(scalars)) < len(scalars):
            twice = next(index for index, item in enumerate(value) if item in value[:index])
            raise_problems([problem(f"{shown(value[twice])} is listed twice", twice)])
        return value


@dataclass(frozen=True, slots=True)
class Several:
    """A list of mappings or of values that may repeat."""

    of: str

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._listed, handler(source))

    def _listed(self, value: object) -> object:
        if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
            raise ValueError(f"a list of {self.of} is expected; this is {shown(value)}")
        if not value:
            raise ValueError(f"the list is empty; name at least one of the {self.of}, or delete the key")
        if len(value) > _LONGEST_LIST:
            raise ValueError(f"must have at most {_LONGEST_LIST:,} {self.of}; these are {len(value):,}")
        return value


@dataclass(frozen=True, slots=True)
class OnceOrEach:
    """A value for all periods, or a list with one for each; a list of one is written as the value."""

    of: str

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        each = handler(source)

        def written(values: tuple[object, ...], write: core_schema.SerializerFunctionWrapHandler) -> object:
            texts = write(values)
            return texts[0] if len(texts) == 1 else texts

        return core_schema.no_info_before_validator_function(
            self._listed, each, serialization=core_schema.wrap_serializer_function_ser_schema(written, schema=each)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        listing = handler(schema) | {"minItems": 1}
        return {"anyOf": [listing["items"], listing]}

    def _listed(self, value: object) -> object:
        if isinstance(value, str | int | float):
            return [value]
        if isinstance(value, Mapping) or not isinstance(value, Sequence) or not value:
            raise ValueError(f"one value or a list of {self.of} is expected; this is {shown(value)}")
        return value


@dataclass(frozen=True, slots=True)
class ByName:
    """A mapping from names that the user chooses to what bears them."""

    of: str
    slashes: bool = False
    """Whether a name may be that of a repository, `owner/name`."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._named, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        pattern = _NAME_PATTERN.replace("/", "") if self.slashes else _NAME_PATTERN
        names = {"pattern": pattern, "maxLength": _LONGEST_NAME}
        return handler(schema) | {"minProperties": 1, "propertyNames": names}

    def _named(self, value: object) -> object:
        if not isinstance(value, Mapping):
            raise ValueError(f"a mapping from names to {self.of} is expected; this is {shown(value)}")
        if not value:
            raise ValueError(f"there are no {self.of}; at least one is needed")
        raise_problems(
            [
                problem(fault, key_text(name), at_key=True)
                for name in value
                if (fault := self._fault_of_name(name)) is not None
            ]
        )
        return value

    def _fault_of_name(self, name: object) -> str | None:
        if not isinstance(name, str):
            return f"a name must be text; this is {shown(name)}"
        if len(name) > _LONGEST_NAME:
            return f"a name may have {_LONGEST_NAME} characters; this has {len(name):,}"
        parts = name.split("/") if self.slashes else [name]
        if not all(_NAME.fullmatch(part) for part in parts) or len(parts) > _REPOSITORY_PARTS or name != name.rstrip():
            return f"{shown(name)} cannot be a name; use letters, digits, blanks and . _ - + : @ ( )"
        return None
