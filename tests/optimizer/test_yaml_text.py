"""YAML that we write means the same to readers of YAML 1.1 and of YAML 1.2."""

from __future__ import annotations

import pytest
import yaml

from optimizer.errors import InputError
from optimizer.yaml_text import block_yaml, flow_yaml, parse_yaml


@pytest.mark.parametrize(
    "text", ["1e3", "12e45", "0o17", "no", "on", "1:30", "2026-11-22", "~", "0x1F", "1_000", "", "a: b"]
)
def test_text_that_some_reader_takes_for_something_else_is_quoted(text: str) -> None:
    for dumped in (block_yaml({"key": text}), flow_yaml({"key": text}), flow_yaml(text)):
        node = yaml.compose(dumped, yaml.SafeLoader)
        scalar = node if isinstance(node, yaml.ScalarNode) else node.value[0][1]
        assert scalar.style in ("'", '"')
        assert scalar.value == text


def test_ordinary_text_stays_bare() -> None:
    assert block_yaml({"model": "Qwen/Qwen3-32B", "n": 2, "x": 0.9}) == "model: Qwen/Qwen3-32B\nn: 2\nx: 0.9\n"


def test_a_flow_value_takes_one_line_however_long() -> None:
    assert flow_yaml(list(range(500))).count("\n") == 0
    assert flow_yaml("word") == "word"


def test_a_value_used_twice_is_written_twice() -> None:
    shared = {"a": 1}
    assert "&" not in block_yaml([shared, shared])


def test_a_fault_in_yaml_has_its_place() -> None:
    with pytest.raises(InputError) as refused:
        parse_yaml("a: 1\nb: [1, 2\n", "file.yaml")
    assert str(refused.value.faults[0].location) == "file.yaml:3:1"
