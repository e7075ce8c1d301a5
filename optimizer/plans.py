"""Plan files: read, written, identified by a hash, and described by a JSON Schema."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from optimizer.errors import Fault, InputError, Location
from optimizer.layout import Layout
from optimizer.yaml_text import block_yaml, parse_yaml

WHAT_TO_DO = "expected what `gpuplan solve -o json` wrote"


def load_plan(source: str | Path | Mapping[str, Any]) -> Layout:
    """The plan of a JSON or YAML file, or of a mapping of its keys; anything else raises InputError, saying why."""
    if isinstance(source, Mapping):
        return _layout(source, "plan")
    try:
        text = Path(source).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError([Fault(f"cannot read the plan: {error.strerror}", Location(str(source)))]) from error
    except UnicodeDecodeError as error:
        raise InputError([Fault(f"not a text file; {WHAT_TO_DO}", Location(str(source)))]) from error
    return parse_plan(text, str(source))


def parse_plan(text: str, file_name: str) -> Layout:
    """The plan in a text, JSON or YAML; `file_name` is for messages."""
    return _layout(_mapping(text, file_name), file_name)


def dump_plan(layout: Layout, form: Literal["json", "yaml"] = "json") -> str:
    """The plan as a file's text, keys in the order of the schema; the same plan gives the same bytes."""
    if form == "json":
        return layout.model_dump_json(indent=2) + "\n"
    return block_yaml(layout.model_dump(mode="json"))


def plan_sha256(layout: Layout) -> str:
    """Hex SHA-256 of the plan's canonical JSON without `solve_seconds`: equal plans, equal hashes."""
    keys = layout.model_dump(mode="json", exclude={"solve_seconds"})
    return hashlib.sha256(canonical_json(keys).encode()).hexdigest()


def canonical_json(value: object) -> str:
    """JSON with sorted keys and no blanks, so that equal values give equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def plan_schema() -> dict[str, Any]:
    """JSON Schema of plan files."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Layout.model_json_schema()}


def _mapping(text: str, file_name: str) -> Mapping[str, Any]:
    """The top-level keys of a JSON or YAML text."""
    value: object
    if text.lstrip().startswith("{"):
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            location = Location(file_name, error.lineno, error.colno)
            raise InputError([Fault(f"not JSON: {error.msg}; {WHAT_TO_DO}", location)]) from error
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, or brackets nested as deep
            raise InputError([Fault(f"not a plan: {error}; {WHAT_TO_DO}", Location(file_name))]) from error
    else:
        value = parse_yaml(text, file_name)
    if not isinstance(value, Mapping):
        raise InputError([Fault(f"not a plan but {_kind(value)}; {WHAT_TO_DO}", Location(file_name))])
    return value


def _layout(keys: Mapping[str, Any], file_name: str) -> Layout:
    where = Location(file_name)
    if "schema_version" not in keys:
        hint = " (this looks like a scenario: solve it first)" if "inventory" in keys else ""
        raise InputError([Fault(f"not a plan: schema_version is missing{hint}; {WHAT_TO_DO}", where)])
    if keys["schema_version"] != 1:
        message = f"plan of schema_version {keys['schema_version']!r}; this gpuplan reads version 1: solve again"
        raise InputError([Fault(message, where, key="schema_version")])
    try:
        return Layout.model_validate(keys)
    except ValidationError as error:
        raise InputError(
            Fault(
                f"plan is damaged: {'.'.join(map(str, one['loc']))}: {one['msg']}; {WHAT_TO_DO}",
                where,
                key=".".join(map(str, one["loc"])),
            )
            for one in error.errors(include_url=False)
        ) from error


def _kind(value: object) -> str:
    return {"NoneType": "an empty file", "list": "a list", "str": "text"}.get(type(value).__name__, "a single value")
