"""The scenario file as JSON Schema, for editors and other programs; made from the classes that read it."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from optimizer.scenario.scenario import Scenario

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SCHEMA_ID = "urn:gpuplan:schema:scenario:1"


def scenario_schema() -> dict[str, Any]:
    """Keys and values as in the file. It accepts every valid scenario; how values fit together it cannot say."""
    schema = Scenario.model_json_schema(schema_generator=_FileSyntax)
    return {"$schema": DIALECT, "$id": SCHEMA_ID, **schema, "title": "gpuplan scenario"}


class _FileSyntax(GenerateJsonSchema):
    """A key is left out rather than null; defaults stand in descriptions, as a file would write them."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False
