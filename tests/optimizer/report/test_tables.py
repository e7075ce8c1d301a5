"""Tables on wide, tight and narrow pages."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from optimizer.report.tables import table

ROWS = (
    ("assistant", "mistralai/Mistral-Small-24B-Instruct-2501", "131,072", "tpot_p95"),
    ("document-search on h100-node (1)", "Qwen/Qwen3-8B", "8,192", "memory"),
)
COLUMNS = (("workload", "left"), ("model", "left"), ("tokens of a step", "right"), ("bound by", "left"))


def drawn(width: int) -> str:
    file = StringIO()
    Console(file=file, width=width).print(table("Replicas", COLUMNS, ROWS), crop=False)
    return file.getvalue()


def test_a_table_with_room_breaks_nothing() -> None:
    # 32 + 41 + 16 + 8 characters and three gaps of two
    lines = [line.rstrip() for line in drawn(103).splitlines()]
    assert lines[3] == f"{'assistant':34}{ROWS[0][1]}  {'131,072':>16}  tpot_p95"
    assert len(lines) == 5


@pytest.mark.parametrize("width", [102, 80, 60])
def test_a_tight_table_folds_long_words_and_no_numbers(width: int) -> None:
    text = drawn(width)
    assert max(map(len, text.splitlines())) <= width
    for whole in ("131,072", "8,192", "tpot_p95", "memory", "assistant", "─────"):
        assert whole in text


@pytest.mark.parametrize("width", [50, 30])
def test_a_narrow_page_gets_a_list_for_each_line(width: int) -> None:
    lines = [line.rstrip() for line in drawn(width).splitlines()]
    assert lines[1] == "assistant"
    assert "  tokens of a step  131,072" in lines
    assert "  bound by          memory" in lines
    assert max(map(len, lines)) <= width


def test_a_table_without_lines_is_its_header() -> None:
    file = StringIO()
    Console(file=file, width=80).print(table("gpus: 0", COLUMNS, ()))
    assert file.getvalue().splitlines()[1].split("  ") == ["workload", "model", "tokens of a step", "bound by"]
