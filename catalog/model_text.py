"""The YAML text of a model entry, laid out for reading: facts in the order of the schema, short groups on one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from catalog.schema import Model

if TYPE_CHECKING:
    import yaml

_LINE_CHARACTERS = 116


def model_text(model: Model) -> str:
    """A catalog file that loads to an equal model; defaults are left out."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
            super().increase_indent(flow, indentless=False)

        def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:  # noqa: ARG002
            node = super().represent_mapping(tag, mapping, flow_style=False)
            node.flow_style = _fits_on_a_line(node)
            return node

        def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:  # noqa: ARG002
            node = super().represent_sequence(tag, sequence, flow_style=False)
            node.flow_style = all(item.id == "scalar" for item in node.value)
            return node

    Dumper.add_representer(tuple, Dumper.represent_list)
    Dumper.add_multi_representer(str, lambda dumper, text: dumper.represent_str(str(text)))  # TensorRole, Label
    facts = {"kind": model.kind, **model.model_dump(exclude_defaults=True)}
    return yaml.dump(facts, Dumper=Dumper, width=_LINE_CHARACTERS, sort_keys=False, allow_unicode=True)


def _fits_on_a_line(node: yaml.MappingNode) -> bool:
    """Groups of scalars that leave room for their key; the entry itself never does."""
    if any(part.id != "scalar" for pair in node.value for part in pair):
        return False
    characters = sum(len(part.value) + 2 for pair in node.value for part in pair)
    return characters < _LINE_CHARACTERS - 16
