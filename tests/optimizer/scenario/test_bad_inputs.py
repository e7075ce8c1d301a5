"""Every file of tests/bad_inputs is refused with exactly the message that stands beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog import Catalog
from optimizer.errors import InputError
from optimizer.scenario import load_scenario, render_faults

FOLDER = Path(__file__).parents[2] / "bad_inputs"
FILES = sorted((*FOLDER.glob("*.yaml"), *FOLDER.glob("*.json")))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_is_refused_with_exactly_this_message(
    file: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.chdir(FOLDER)  # messages name the file as it was given
    with pytest.raises(InputError) as refused:
        load_scenario(file.name, catalog)
    message = render_faults(refused.value) + "\n"
    expected = file.with_suffix(".txt")
    if request.config.getoption("--regenerate"):
        expected.write_text(message, encoding="utf-8")
    assert message == expected.read_text(encoding="utf-8")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_its_message_is_safe_to_print_and_short(file: Path) -> None:
    message = file.with_suffix(".txt").read_text(encoding="utf-8")
    assert all(line.isprintable() for line in message.split("\n"))
    assert len(message) < 20_000
    assert "root:" not in message  # content of /etc/passwd
    assert "secret" not in message  # content of files/bad_rows.csv


def test_every_message_belongs_to_a_file() -> None:
    assert {file.stem for file in FOLDER.glob("*.txt")} == {file.stem for file in FILES}
