"""How figures are written."""

from __future__ import annotations

import pytest

from optimizer.report.words import bar, count, cut, figure, gib, milliseconds, percent, usd, usd_more


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.125, "0.12"), (4.0, "4"), (4.256, "4.26"), (86.24, "86.2"), (1234.5, "1,234"), (None, "–")],
)
def test_figures_have_three_significant_digits(value: float | None, text: str) -> None:
    assert figure(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(41.0, "41 ms"), (999.4, "999 ms"), (1200.0, "1.2 s"), (None, "–"), (5e11, "unbounded")]
)
def test_latencies_change_to_seconds(value: float | None, text: str) -> None:
    assert milliseconds(value) == text


def test_other_amounts() -> None:
    assert usd(19.2) == "$19.20"
    assert usd(None) == "–"
    assert percent(0.995, 1) == "99.5%"
    assert gib(3.4) == "3.40"
    assert gib(72.86) == "72.9"
    assert count(1, "server") == "1 server"
    assert count(1104, "token") == "1,104 tokens"


def test_a_bar_is_exact_to_an_eighth_of_a_cell() -> None:
    # 0.3125 of 8 cells = 2.5 cells = 2 full and 4 eighths
    assert bar(0.3125, 8) == "██▌"
    assert bar(0.0, 8) == ""
    assert bar(2.0, 8) == "████████"


def test_less_than_half_a_cent_is_a_tie() -> None:
    assert [usd_more(amount) for amount in (0.004, -0.004, 0.006, None)] == ["a tie", "a tie", "$0.01", "–"]


def test_long_lists_say_how_many_more_there_are() -> None:
    assert cut(["a", "b", "c"], 3) == ["a", "b", "c"]
    assert cut(["a", "b", "c", "d", "e"], 3) == ["a", "b", "c", "and 2 more"]
