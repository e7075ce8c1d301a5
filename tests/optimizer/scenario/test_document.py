"""YAML and JSON as data with positions."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.errors import InputError
from optimizer.scenario.document import Plain, decode, read_document, typed

# What JSON can hold, as this reader gives it: numbers and words are text until a field says what they are.
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20).filter(
    lambda text: text != "<<"  # YAML's merge key, which a reader of both follows in JSON too
)
JSON = st.recursive(
    TEXT, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=20
)


def data_of(text: str) -> object:
    document = read_document(text, "f.yaml")
    assert document.whole
    assert document.faults == ()
    return document.root


@given(data=st.dictionaries(TEXT, JSON, max_size=5), indent=st.sampled_from([None, 1, "\t"]), escaped=st.booleans())
def test_json_is_read_as_json(data: object, indent: int | str | None, escaped: bool) -> None:
    assert data_of(json.dumps(data, indent=indent, ensure_ascii=escaped)) == data


def test_plain_scalars_stay_text() -> None:
    assert data_of("[no, 12:30, 2027-01-01, 1_000, 0x10, 1e3, yes, .inf]") == [
        "no", "12:30", "2027-01-01", "1_000", "0x10", "1e3", "yes", ".inf",
    ]  # fmt: skip


@pytest.mark.parametrize("nothing", ["", "~", "null", "Null", "NULL"])
def test_an_absent_value_is_nothing_and_a_quoted_word_is_not(nothing: str) -> None:
    assert data_of(f"a: {nothing}") == {"a": None}
    assert data_of('a: "null"') == {"a": "null"}


def test_content_that_no_field_describes_is_typed_by_the_core_schema() -> None:
    text = "{a: 1, b: 1.5, c: true, d: 'true', e: no, f: [1e-5, x], g: null, h: '8', i: -0x10, j: 99999999999999999999}"
    assert typed(data_of(text)) == {
        "a": 1, "b": 1.5, "c": True, "d": "true", "e": "no", "f": [1e-5, "x"], "g": None, "h": "8",
        "i": "-0x10", "j": 1e20,
    }  # fmt: skip


def test_an_alias_repeats_a_value_and_its_place() -> None:
    document = read_document("a: &one {x: 1}\nb: *one\n", "f.yaml")
    assert document.root == {"a": {"x": "1"}, "b": {"x": "1"}}
    assert str(document.positions.location(("b", "x"))) == "f.yaml:1:13"
    assert str(document.positions.location(("b",), at_key=True)) == "f.yaml:2:1"


def test_places_are_those_of_keys_values_and_items() -> None:
    positions = read_document("a:\n  b: [10,\n      20]\n", "f.yaml").positions
    assert str(positions.location(("a", "b"))) == "f.yaml:2:6"
    assert str(positions.location(("a", "b"), at_key=True)) == "f.yaml:2:3"
    assert str(positions.location(("a", "b", 1))) == "f.yaml:3:7"
    assert positions.location(("a", "b", 1)).text == "      20]"


def test_what_is_not_there_is_at_the_key_above_it() -> None:
    positions = read_document("a:\n  b: 1\n", "f.yaml").positions
    assert str(positions.location(("a", "missing"))) == "f.yaml:1:1"
    assert str(positions.location(("a", "b", 0))) == "f.yaml:2:6"  # a scalar that stands for a list of one
    assert str(positions.location(("missing",))) == "f.yaml:1:1"


@pytest.mark.parametrize("break_", ["\n", "\r\n", "\r"])
def test_line_breaks_of_all_systems_count_alike(break_: str) -> None:
    document = read_document(break_.join(["a: 1", "b: 2", "c: 3"]), "f.yaml")
    assert str(document.positions.location(("c",))) == "f.yaml:3:4"
    assert document.positions.location(("c",)).text == "c: 3"


def test_a_byte_order_mark_is_no_content() -> None:
    assert data_of("\ufeffa: 1") == {"a": "1"}


def test_duplicate_keys_are_reported_and_the_first_stays() -> None:
    document = read_document("a: 1\na: {b: 2}\na: 3\n", "f.yaml")
    assert document.root == {"a": "1"}
    assert [str(fault.location) for fault in document.faults] == ["f.yaml:2:1", "f.yaml:3:1"]


def test_a_merge_key_is_reported_but_nothing_is_missed_because_of_it() -> None:
    document = read_document("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n", "f.yaml")
    assert document.root == {"a": {"x": "1", "y": "2"}, "b": {"x": "1", "y": "3"}}
    assert [str(fault.location) for fault in document.faults] == ["f.yaml:2:5"]


@pytest.mark.parametrize(
    "text",
    ["- " * 10_000 + "x", "[" * 10_000, '{"a":' * 10_000, "a: b\n---\nc: d", "? [a]\n: b", "{a: b", "a: 'b", "", "#"],
)
def test_what_cannot_be_read_to_its_end_has_one_fault_with_its_place(text: str) -> None:
    document = read_document(text, "f.yaml")
    assert not document.whole
    (fault,) = document.faults
    assert fault.location is not None
    assert fault.location.line is not None


def test_values_that_only_aliases_make_many_are_refused() -> None:
    lines = ["a0: &a0 [" + ",".join("x" * 9) + "]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]  # 9^10 values
    assert not read_document("\n".join(lines), "f.yaml").whole


@given(data=st.binary(max_size=60))
def test_any_bytes_are_text_or_an_error_with_a_place(data: bytes) -> None:
    try:
        document = read_document(decode(data, "f.yaml"), "f.yaml")
    except InputError as error:
        assert error.faults[0].location is not None  # noqa: PT017 - both outcomes are fine
    else:
        assert document.whole or document.faults


def test_plain_scalars_are_text_like_any_other() -> None:
    assert Plain("a") == "a"
    assert json.dumps({"a": Plain("b")}) == '{"a": "b"}'
