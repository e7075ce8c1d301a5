"""YAML text that readers of YAML 1.1 and of YAML 1.2 understand alike, and the reading of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from optimizer.errors import Fault, InputError, Location

if TYPE_CHECKING:
    import yaml

NUMBER_IN_YAML_1_2 = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?|0o[0-7]+|0x[0-9a-fA-F]+")
"""What the core schema of YAML 1.2 reads as a number; PyYAML follows 1.1 and leaves `1e3` bare
(https://yaml.org/spec/1.2.2/#1032-tag-resolution)."""


def block_yaml(value: object) -> str:
    """A document in block style, keys in the order given, ending in a newline."""
    return _dump(value, flow=False)


def flow_yaml(value: object) -> str:
    """A value on one line, `{a: 1, b: [2, 3]}`, without a newline."""
    return _dump(value, flow=True).removesuffix("\n").removesuffix("\n...").removesuffix("\n")


def parse_yaml(text: str, file_name: str) -> object:
    """The value of one YAML document; a fault in it raises InputError with its line and column."""
    import yaml

    value: object = _parsed(lambda: yaml.safe_load(text), file_name)
    return value


def parse_yaml_documents(text: str, file_name: str) -> list[object]:
    """The values of all documents of a YAML text; a fault raises InputError with its line and column."""
    import yaml

    values: list[object] = _parsed(lambda: list(yaml.safe_load_all(text)), file_name)
    return values


def _parsed(parse: Callable[[], Any], file_name: str) -> Any:
    import yaml

    try:
        return parse()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        location = Location(file_name, mark.line + 1, mark.column + 1) if mark else Location(file_name)
        problem = getattr(error, "problem", None) or "cannot be read"
        raise InputError([Fault(f"not YAML: {problem}", location)]) from error
    except (ValueError, RecursionError) as error:  # an impossible date, or brackets nested thousands deep
        raise InputError([Fault(f"not YAML: {error}", Location(file_name))]) from error


def _dump(value: object, flow: bool) -> str:
    import yaml

    text: str = yaml.dump(
        value,
        Dumper=_dumper(),
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=flow,
        width=10**9 if flow else 120,
    )
    return text


@cache
def _dumper() -> type[yaml.SafeDumper]:
    """PyYAML's safe dumper that quotes what YAML 1.2 takes for a number, keeps lines apart, and writes no anchors."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = '"' if NUMBER_IN_YAML_1_2.fullmatch(value) else "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return Dumper
