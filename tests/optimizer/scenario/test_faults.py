"""Faults as a terminal shows them."""

from __future__ import annotations

from optimizer.errors import Fault, InputError, Location
from optimizer.scenario import render_faults


def rendered(*faults: Fault) -> list[str]:
    return render_faults(InputError(faults)).split("\n")


def test_a_fault_shows_where_what_the_line_and_a_caret() -> None:
    place = Location("chat.yaml", 14, 10, "    gpu: h100sxm")
    assert rendered(Fault("unknown GPU 'h100sxm'; did you mean 'h100-sxm'?", place)) == [
        "chat.yaml:14:10: error: unknown GPU 'h100sxm'; did you mean 'h100-sxm'?",
        "    gpu: h100sxm",
        "         ^",
    ]


def test_a_fault_without_a_file_shows_its_key() -> None:
    assert rendered(Fault("must be at least 1", key="inventory.node.own")) == [
        "inventory.node.own: error: must be at least 1"
    ]


def test_a_fault_without_any_place_is_still_an_error() -> None:
    assert rendered(Fault("no such thing")) == ["error: no such thing"]


def test_what_could_command_a_terminal_is_escaped_and_the_caret_still_fits() -> None:
    _, line, caret = rendered(Fault("bad \x1b[2J", Location("a\x07.yaml", 1, 3, "\x1b\u202eX")))
    assert line == r"\x1b\u202eX"
    assert caret.index("^") == line.index("X")


def test_the_caret_stands_under_wide_characters_too() -> None:
    _, _, caret = rendered(Fault("bad", Location("a.yaml", 1, 5, "名前: x")))
    assert caret == " " * 6 + "^"  # two characters of two columns, a colon and a blank


def test_a_tab_counts_as_one_column() -> None:
    _, line, caret = rendered(Fault("bad", Location("a.yaml", 1, 2, "\tx")))
    assert (line, caret) == (" x", " ^")


def test_a_long_line_is_cut_on_both_sides_of_the_caret() -> None:
    _, line, caret = rendered(Fault("bad", Location("a.yaml", 1, 2501, "a" * 2500 + "X" + "b" * 2500)))
    assert line.startswith("…aaa")
    assert line.endswith("bbb…")
    assert caret.index("^") == line.index("X")
    assert len(line) < 120


def test_a_long_message_is_cut() -> None:
    assert len("".join(rendered(Fault("x" * 10_000)))) < 1000


def test_many_faults_are_counted_rather_than_shown() -> None:
    lines = rendered(*(Fault(f"fault {i}") for i in range(1000)))
    assert lines[19:] == ["error: fault 19", "… and 980 more"]
