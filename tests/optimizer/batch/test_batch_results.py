"""Every row exactly once, wherever the writer was stopped."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from optimizer.batch import Row, axes, read_results, results
from optimizer.batch.axes import AMOUNT, Axis
from optimizer.batch.columns import write_part
from optimizer.batch.results import opened
from optimizer.batch.work import Problem, Solved
from optimizer.errors import InputError

AXES = (Axis("rent", ("rent",), ("$1/h", "$2/h")),)


def row(name: str, usd: float = 1.0, sha: str = "0") -> Row:
    return Row(
        scenario=name, status="optimal", usd_per_hour=usd, bound_usd_per_hour=usd, gap=0.0, usd_over_horizon=730 * usd,
        capex_usd=0.0, gpus={"l40s": 2}, servers={"rent": 1}, worst_latency_slack=None, seconds=0.1, solver="highs",
        scenario_sha256=sha, catalog_version="c", gpuplan_version="v", settings="s", values=("$2/h",),
    )  # fmt: skip


def solved(name: str, usd: float = 1.0) -> Solved:
    return Solved(row(name, usd), None)


def add_all(folder: Path, *rows: Row, resume: bool = True) -> None:
    with opened(folder, AXES, "", resume=resume) as kept:
        for one in rows:
            kept.add(Solved(one, None))
        kept.flush()


def prices(folder: Path) -> list[tuple[str, float]]:
    return [(one["scenario"], one["usd_per_hour"]) for one in read_results(folder)]


def test_a_row_comes_back_as_it_was_put_in(tmp_path: Path) -> None:
    add_all(tmp_path, row("a", 2.5))
    (back,) = read_results(tmp_path)
    assert back["gpus"] == {"l40s": 2}
    assert back["servers"] == {"rent": 1}
    assert back["worst_latency_slack"] is None
    assert back["rent [$/h]"] == 2.0
    assert back["usd_over_horizon"] == 1825.0  # $2.50 × 730 h


def test_writing_rows_looks_at_each_value_of_an_axis_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting:
        n_matches = 0

        def fullmatch(self, text: str) -> re.Match[str] | None:
            self.n_matches += 1
            return AMOUNT.fullmatch(text)

    counting = Counting()
    monkeypatch.setattr(axes, "AMOUNT", counting)
    axis = Axis("rent", ("rent",), tuple(f"${i}/h" for i in range(100)))
    write_part(tmp_path / "part.parquet", [row(f"r{i}") for i in range(50)], (axis,))
    assert counting.n_matches == 100 + 50  # the axis for its unit, and each row's cell


def test_rows_that_no_part_holds_yet_survive_a_crash(tmp_path: Path) -> None:
    with opened(tmp_path, AXES, "", resume=False) as kept:
        kept.add(solved("a"))
        kept.add(solved("b"))  # and here the process is gone: nothing was flushed into a part
    assert not list(tmp_path.glob("*.parquet"))
    add_all(tmp_path, row("c"))
    assert prices(tmp_path) == [("a", 1.0), ("b", 1.0), ("c", 1.0)]


def test_a_line_that_was_torn_is_not_a_row(tmp_path: Path) -> None:
    with opened(tmp_path, AXES, "", resume=False) as kept:
        kept.add(solved("a"))
    journal = tmp_path / ".journal.jsonl"
    whole = journal.read_text(encoding="utf-8")
    journal.write_text(whole + whole[:40], encoding="utf-8")
    with opened(tmp_path, AXES, "", resume=True) as kept:
        assert kept.n_rows == 1
    assert prices(tmp_path) == [("a", 1.0)]


def test_a_crash_between_writing_a_part_and_emptying_the_journal_duplicates_nothing(tmp_path: Path) -> None:
    with opened(tmp_path, AXES, "", resume=False) as kept:
        kept.add(solved("a"))
    journal = (tmp_path / ".journal.jsonl").read_bytes()
    add_all(tmp_path)  # the part is written, the journal emptied
    (tmp_path / ".journal.jsonl").write_bytes(journal)  # … which is undone
    add_all(tmp_path, row("b"))
    assert prices(tmp_path) == [("a", 1.0), ("b", 1.0)]


def test_a_newer_answer_takes_the_place_of_the_older(tmp_path: Path) -> None:
    add_all(tmp_path, row("a"), row("b"))
    add_all(tmp_path, row("a", 9.0, sha="1"))
    assert prices(tmp_path) == [("a", 9.0), ("b", 1.0)]


def test_a_crash_after_the_older_answer_left_loses_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_all(tmp_path, row("a"), row("b"))
    with monkeypatch.context() as patch:
        patch.setattr(results, "write_part", failing(errno.ENOSPC))
        with pytest.raises(InputError):
            add_all(tmp_path, row("a", 9.0, sha="1"))
    assert prices(tmp_path) == [("b", 1.0)]  # the new one waits in the journal
    add_all(tmp_path)
    assert prices(tmp_path) == [("a", 9.0), ("b", 1.0)]


def test_an_answer_that_became_an_error_leaves(tmp_path: Path) -> None:
    add_all(tmp_path, row("a"), row("b"))
    with opened(tmp_path, AXES, "", resume=True) as kept:
        kept.add_error(Problem("a", "input", "no such GPU"))
        kept.flush()
    assert prices(tmp_path) == [("b", 1.0)]
    (line,) = (tmp_path / "errors.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line) == {"scenario": "a", "kind": "input", "message": "no such GPU"}


def test_a_damaged_part_is_set_aside_and_its_scenarios_are_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "PART_ROWS", 2)
    add_all(tmp_path, row("a"), row("b"), row("c"))
    part = tmp_path / "part-000001.parquet"
    content = bytearray(part.read_bytes())
    content[40] ^= 0xFF  # one bit pattern inside the first page; the footer is whole
    part.write_bytes(content)
    with pytest.raises(InputError, match=r"part-000001.parquet is damaged .*--resume"):
        read_results(tmp_path)
    with opened(tmp_path, AXES, "", resume=True) as kept:
        assert [path.name for path in kept.damaged] == ["part-000001.parquet.damaged"]
        assert (kept.known("a"), kept.known("c") is None) == (None, False)
        kept.add(solved("a", 5.0))
        kept.flush()
    assert prices(tmp_path) == [("a", 5.0), ("c", 1.0)]


def test_results_are_not_mixed_with_those_of_another_sweep(tmp_path: Path) -> None:
    add_all(tmp_path, row("a"))
    other = (Axis("buy", ("buy",), ("$1/h", "$2/h")),)
    with opened(tmp_path, other, "", resume=True) as kept:
        assert kept.n_rows == 0


def test_a_folder_with_results_is_not_written_over(tmp_path: Path) -> None:
    add_all(tmp_path, row("a"))
    with pytest.raises(InputError, match=r"there are results in .* already; --resume goes on there"):
        add_all(tmp_path, row("b"), resume=False)


def test_two_writers_do_not_share_a_folder_but_two_shards_do(tmp_path: Path) -> None:
    with opened(tmp_path, AXES, "1of2", resume=False) as first:
        with pytest.raises(InputError, match="another batch is writing"), opened(tmp_path, AXES, "1of2", resume=True):
            pass
        with opened(tmp_path, AXES, "2of2", resume=False) as second:
            first.add(solved("a"))
            second.add(solved("b"))
            first.flush()
            second.flush()
    assert prices(tmp_path) == [("a", 1.0), ("b", 1.0)]


def test_scenarios_that_are_gone_leave_with_their_plans(tmp_path: Path) -> None:
    add_all(tmp_path, row("a"), row("b"))
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "a.plan.json").touch()
    with opened(tmp_path, AXES, "", resume=True) as kept:
        assert kept.drop_all_but({"b"}) == 1
    assert prices(tmp_path) == [("b", 1.0)]
    assert not (tmp_path / "plans" / "a.plan.json").exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_disk_that_refuses_is_reported_and_what_was_done_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(results, "write_part", failing(code))
        with pytest.raises(InputError, match=r"cannot write into .*; make room .* then run again with --resume"):
            add_all(tmp_path, row("a"))
    add_all(tmp_path)
    assert prices(tmp_path) == [("a", 1.0)]


def failing(code: int) -> Callable[..., None]:
    def write(*_: object) -> None:
        raise OSError(code, "refused")

    return write
