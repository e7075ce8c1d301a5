"""Judges memory predictions on public logs: `python -m benchmarks.memory FOLDER` leaves each source out in turn."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.memory.judge import predictions, same_model, same_source, verdicts
from benchmarks.memory.read import read
from benchmarks.memory.refit import lessons
from benchmarks.memory.report import Split, report
from catalog import load_catalog


def main() -> None:
    """Reads, leaves out, predicts, writes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("folder", type=Path, help="with records.jsonl and fits.jsonl")
    parser.add_argument("--report", type=Path, default=Path(__file__).parent / "REPORT.md", help="written")
    options = parser.parse_args()

    catalog = load_catalog()
    logs, logs_left_out = read(options.folder / "records.jsonl", catalog)
    facts, facts_left_out = read(options.folder / "fits.jsonl", catalog)
    known = lessons(logs, catalog)
    sweep, others = [log for log in logs if log.in_sweep], [log for log in logs if not log.in_sweep]
    recorded, _ = read(options.folder / "records.jsonl", catalog, with_sources=False)
    as_recorded = [log for log in recorded if not log.in_sweep]
    splits = (
        Split("outside the sweep", predictions(others, catalog, known, same_source)),
        Split("the sweep, by model", predictions(sweep, catalog, known, same_model)),
        Split("the sweep, unseen", predictions(sweep, catalog, known, same_source)),
        Split("outside the sweep, as recorded", predictions(as_recorded, catalog, known, same_source)),
    )
    left_out = {"log": logs_left_out, "fact": facts_left_out}
    options.report.write_text(report(splits, verdicts(facts, catalog), left_out), encoding="utf-8")


if __name__ == "__main__":
    main()
