"""Plan files are read whole or refused with a reason, and written the same every time."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from hand_built import group, plan

from catalog import Catalog
from optimizer.errors import InputError
from optimizer.layout import Layout
from optimizer.plans import dump_plan, load_plan, parse_plan, plan_schema, plan_sha256


@pytest.fixture
def layout(catalog: Catalog) -> Layout:
    return plan(catalog, {"chat": [group([(0,), (0,)], tp=2)]}, [("h100-node", "rent", 1)])


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_a_written_plan_reads_back_to_the_same_plan(layout: Layout, form: str, tmp_path: Path) -> None:
    file = tmp_path / f"a.plan.{form}"
    file.write_text(dump_plan(layout, form), encoding="utf-8")  # type: ignore[arg-type]
    assert load_plan(file) == layout
    assert load_plan(str(file)) == layout


def test_a_plan_reads_from_a_mapping(layout: Layout) -> None:
    assert load_plan(layout.model_dump(mode="json")) == layout


def test_keys_stand_in_the_order_of_the_schema(layout: Layout) -> None:
    assert list(json.loads(dump_plan(layout))) == list(Layout.model_fields)


def test_the_schema_accepts_a_plan_and_refuses_an_unknown_key(layout: Layout) -> None:
    keys = json.loads(dump_plan(layout))
    schema = plan_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    judge = jsonschema.Draft202012Validator(schema)
    assert list(judge.iter_errors(keys)) == []
    assert list(judge.iter_errors({**keys, "colour": "red"}))


def test_the_hash_forgets_the_solving_time_and_nothing_else(layout: Layout) -> None:
    slower = layout.model_copy(update={"solve_seconds": 99.0})
    renamed = layout.model_copy(update={"solver": "another"})
    assert plan_sha256(slower) == plan_sha256(layout)
    assert plan_sha256(renamed) != plan_sha256(layout)
    assert len(plan_sha256(layout)) == 64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a plan but an empty file"),
        ("- 1\n", "not a plan but a list"),
        ("just words", "not a plan but text"),
        ("{", "not JSON: Expecting property name"),
        ("a: [", "not YAML"),
        ('{"a": ' + "9" * 5000 + "}", "not a plan: Exceeds the limit"),
        ("[" * 100_000, "not YAML"),
        ("{}", "schema_version is missing"),
        ("workloads: {}\ninventory: {}\n", "this looks like a scenario: solve it first"),
        ('{"schema_version": 2}', "plan of schema_version 2; this gpuplan reads version 1"),
    ],
)
def test_what_is_no_plan_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        parse_plan(text, "broken.plan.json")
    location = refused.value.faults[0].location
    assert location is not None
    assert location.file == "broken.plan.json"


def test_every_damaged_key_is_reported(layout: Layout) -> None:
    keys = layout.model_dump(mode="json")
    del keys["solver"]
    keys["servers"][0]["count"] = "many"
    with pytest.raises(InputError) as refused:
        load_plan(keys)
    assert [fault.key for fault in refused.value.faults] == ["solver", "servers.0.count"]


def test_a_plan_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the plan: No such file"):
        load_plan(tmp_path / "none.json")
    with pytest.raises(InputError, match="cannot read the plan: Is a directory"):
        load_plan(tmp_path)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not a text file"):
        load_plan(tmp_path / "bytes")
