"""Answers as plain data, for `-o json` and `-o yaml`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Literal

from pydantic import BaseModel

from optimizer.yaml_text import block_yaml

Form = Literal["json", "yaml"]
SCHEMA_VERSION = 1
"""Of the answers of memory, perf, catalog, check, verify and compare; plans and topologies carry their own."""


def plain(value: Any) -> Any:
    """Mappings, lists, text and finite numbers; an infinite or undefined figure is null, as JSON has none."""
    if isinstance(value, BaseModel):
        return plain(value.model_dump(mode="json"))
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(one) for one in value]
    return value


def dump(answer: Mapping[str, Any], form: Form) -> str:
    """The text of an answer as `json` or `yaml`, `schema_version` first, ending in a newline."""
    return dump_document({"schema_version": SCHEMA_VERSION, **answer}, form)


def dump_document(document: Mapping[str, Any], form: Form) -> str:
    """The text of a document that is complete as it is, such as a catalog entry or a JSON Schema."""
    data = plain(document)
    return (
        block_yaml(data) if form == "yaml" else json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    )
