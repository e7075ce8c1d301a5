"""The calibration as YAML that reads well and changes by the line."""

from __future__ import annotations

import textwrap
from typing import Any

import yaml

WIDTH = 118
FOLDED = 80
"""Longer texts are folded."""


def calibration_yaml(content: dict[str, Any]) -> str:
    """Blocks, down to what fits on a line."""
    return "\n".join(_block(content, 0)) + "\n"


def _block(content: dict[str, Any], indent: int) -> list[str]:
    lines = []
    for key, value in content.items():
        start = f"{' ' * indent}{_flow(key)}:"
        if isinstance(value, str) and len(value) > FOLDED:
            lines += [f"{start} >-", *(f"{' ' * (indent + 2)}{line}" for line in textwrap.wrap(value, WIDTH - indent))]
        elif isinstance(value, list) and value:
            lines += [start, *(line for item in value for line in _item(item, indent + 2))]
        elif isinstance(value, dict) and (indent == 0 or len(start) + len(_flow(value)) > WIDTH):
            lines += [start, *_block(value, indent + 2)]
        else:
            lines.append(f"{start} {_flow(value)}")
    return lines


def _item(item: Any, indent: int) -> list[str]:
    pad, short = " " * indent, _flow(item)
    if not isinstance(item, dict) or len(short) + indent <= WIDTH:
        return [f"{pad}- {short}"]
    first, *rest = _block(item, indent + 2)
    return [f"{pad}- {first.lstrip()}", *rest]


def _flow(value: Any) -> str:
    """On one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")
