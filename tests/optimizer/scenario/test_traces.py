"""Traces read down to their statistics."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from optimizer.scenario.traces import TraceError, trace_statistics

HEADER = "arrived_at,num_prefill_tokens,num_decode_tokens\n"
# Five requests in 8 s: four intervals, 4 / 8 = 0.5 a second. Input mean (100+200+300+400+1000)/5 = 400, median 300.
ROWS = "0,100,10\n2,200,10\n3,300,10\n7,400,10\n8,1000,60\n"


def test_a_trace_gives_count_rate_and_token_sizes(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(HEADER + ROWS)
    statistics = trace_statistics(file)
    assert statistics["requests"] == 5
    assert statistics["rate"] == "0.5/s"
    sizes = statistics["input_tokens"]
    assert isinstance(sizes, dict)
    assert sizes["mean"] == 400
    assert sizes["p50"] == 300
    assert sizes["p95"] == pytest.approx(880)  # rank 0.95 × 4 = 3.8: 400 + 0.8 × 600
    assert sizes["p99"] == pytest.approx(976)  # rank 3.96: 400 + 0.96 × 600


@pytest.mark.parametrize(
    "text",
    [
        HEADER.replace("\n", "\r\n") + ROWS.replace("\n", "\r\n"),
        "\ufeff" + HEADER + ROWS,
        HEADER + "\n" + ROWS.replace("\n", "\n\n"),
        '"arrived_at","num_prefill_tokens","num_decode_tokens"\n' + ROWS,
        "id," + HEADER + "".join(f"a{line}\n".replace("a", "9,") for line in ROWS.splitlines()),
    ],
    ids=["crlf", "byte order mark", "blank lines", "quoted", "another column"],
)
def test_spellings_of_the_same_table_are_the_same_trace(text: str, tmp_path: Path) -> None:
    plain, other = tmp_path / "plain.csv", tmp_path / "other.csv"
    plain.write_text(HEADER + ROWS)
    other.write_text(text, newline="")
    assert trace_statistics(other) == trace_statistics(plain)


def test_a_gzipped_trace_is_the_same_trace(tmp_path: Path) -> None:
    plain, packed = tmp_path / "trace.csv", tmp_path / "trace.csv.gz"
    plain.write_text(HEADER + ROWS)
    packed.write_bytes(gzip.compress((HEADER + ROWS).encode()))
    assert trace_statistics(packed) == trace_statistics(plain)


def faults_of(file: Path) -> tuple[str, ...]:
    with pytest.raises(TraceError) as refused:
        trace_statistics(file)
    return refused.value.faults


def test_wrong_lines_are_named_by_column_and_never_by_content(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(HEADER + "0,1,1\n1,hunter2,1\n\n2,-1,1\n3,1.5,1\n4,1\ninf,1,1\n")
    assert faults_of(file) == (
        "line 3: num_prefill_tokens is not a number",
        "line 5: num_prefill_tokens is not a whole number of tokens",
        "line 6: num_prefill_tokens is not a whole number of tokens",
        "line 7: too few columns",
        "line 8: arrived_at is not a number",
    )


def test_a_wrong_line_far_down_has_its_own_number(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(HEADER + "".join(f"{i},1,1\n" for i in range(60_000)) + "x,1,1\n")
    assert faults_of(file) == ("line 60002: arrived_at is not a number",)


def test_numbers_that_only_some_programs_read_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(HEADER + "0,1_000,1\n1,1,1\n")
    assert faults_of(file) == ("lines 2 to 3: not all are rows of plain numbers",)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "columns arrived_at, num_prefill_tokens and num_decode_tokens are missing"),
        (HEADER.encode(), "at least two requests at different times"),
        (HEADER.encode() + b"5,1,1\n5,1,1\n", "at least two requests at different times"),
        (HEADER.encode() + b"\xff\xfe", "not a CSV file in UTF-8"),
        (b"x" * 100_000, "not a CSV file: a line is too long"),
    ],
)
def test_what_is_no_trace_is_refused(content: bytes, fault: str, tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_bytes(content)
    assert faults_of(file)[0].startswith(fault)


def test_a_broken_archive_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv.gz"
    file.write_bytes(gzip.compress((HEADER + ROWS * 1000).encode())[:-20])
    assert faults_of(file) == ("not a complete gzip file, though its name ends in .gz",)


def test_an_endless_archive_is_not_read_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv.gz"
    file.write_bytes(gzip.compress(HEADER.encode()) + gzip.compress(b"0,1,1\n" * 500_000) * 5)
    assert faults_of(file) == ("more than 2,000,000 requests; a part of it tells as much",)


@pytest.mark.parametrize("path", ["/dev/zero", "/"])
def test_what_is_not_a_file_is_not_opened(path: str) -> None:
    assert faults_of(Path(path)) == ("this is not a file",)
