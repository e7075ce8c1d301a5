"""Where answers go and in what form."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
import yaml
from rich.text import Text

from optimizer.errors import InputError
from optimizer.report.data import dump, plain
from optimizer.report.delivery import Delivery, progress


def put(delivery: Delivery) -> str:
    stream = StringIO()
    delivery.put(stream, lambda: Text("a table", style="bold"), lambda form: dump({"a": 1}, form))
    return stream.getvalue()


class Terminal(StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


def test_a_table_is_what_is_printed_unless_asked_otherwise() -> None:
    assert put(Delivery(None, None)) == put(Delivery("table", None)) == "a table\n"
    assert json.loads(put(Delivery("json", None))) == {"schema_version": 1, "a": 1}
    assert yaml.safe_load(put(Delivery("yaml", None))) == {"schema_version": 1, "a": 1}


@pytest.mark.parametrize("name", ["answer.json", "answer.yaml", "answer.YML"])
def test_the_ending_of_a_file_decides_its_form_and_the_table_is_still_printed(name: str, tmp_path: Path) -> None:
    assert put(Delivery(None, tmp_path / name)) == "a table\n"
    assert yaml.safe_load((tmp_path / name).read_text(encoding="utf-8")) == {"schema_version": 1, "a": 1}


def test_a_form_that_was_asked_for_goes_to_the_file_alone(tmp_path: Path) -> None:
    assert put(Delivery("yaml", tmp_path / "answer.json")) == ""
    assert (tmp_path / "answer.json").read_text(encoding="utf-8") == "schema_version: 1\na: 1\n"
    assert put(Delivery(None, tmp_path / "answer.txt")) == ""
    assert (tmp_path / "answer.txt").read_text(encoding="utf-8") == "a table\n"


def test_a_document_keeps_its_own_form_unless_asked_otherwise(tmp_path: Path) -> None:
    stream = StringIO()
    Delivery(None, None).put_document(stream, {"a": 1}, "yaml")
    Delivery("json", None).put_document(stream, {"a": 1}, "yaml")
    assert stream.getvalue() == 'a: 1\n{\n  "a": 1\n}\n'
    Delivery(None, tmp_path / "a.json").put_document(stream, {"a": 1}, "yaml")
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"a": 1}


def test_a_single_file_is_printed_or_takes_the_given_name(tmp_path: Path) -> None:
    stream = StringIO()
    Delivery(None, None).put_files(stream, {"one.yaml": "1\n"})
    assert stream.getvalue() == "1\n"
    Delivery(None, tmp_path / "mine").put_files(stream, {"one.yaml": "1\n"})
    assert (tmp_path / "mine").read_text(encoding="utf-8") == "1\n"
    Delivery(None, tmp_path).put_files(stream, {"one.yaml": "1\n"})
    assert (tmp_path / "one.yaml").read_text(encoding="utf-8") == "1\n"


def test_several_files_need_a_folder(tmp_path: Path) -> None:
    two = {"one.yaml": "1\n", "two.yaml": "2\n"}
    with pytest.raises(InputError, match="-O FOLDER"):
        Delivery(None, None).put_files(StringIO(), two)
    stream = StringIO()
    Delivery(None, tmp_path / "new").put_files(stream, two)
    assert stream.getvalue() == f"{tmp_path}/new/one.yaml\n{tmp_path}/new/two.yaml\n"


def test_a_figure_that_is_not_finite_is_null() -> None:
    assert plain({"a": float("inf"), "b": (float("nan"), 1.5)}) == {"a": None, "b": [None, 1.5]}


def test_progress_is_silent_but_on_a_terminal() -> None:
    for stream, shown in ((StringIO(), False), (Terminal(), True)):
        with progress(stream) as report:
            report("rating candidates")
        assert bool(stream.getvalue()) is shown


def test_no_color_takes_colours_away_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()
    Delivery(None, None).put(stream, lambda: Text("a table", style="bold red"), lambda _: "")
    assert "\x1b[31" not in stream.getvalue()
    assert "\x1b[1;31" not in stream.getvalue()
