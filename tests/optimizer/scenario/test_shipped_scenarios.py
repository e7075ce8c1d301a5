"""The shipped scenarios as data: they teach, they are valid, and this version solves what they ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog import Catalog
from optimizer.scenario import load_scenario

FOLDER = Path(__file__).parents[3] / "scenarios"
FILES = sorted(FOLDER.glob("*.yaml"))
SCHEMA_LINE = "# yaml-language-server: $schema=scenario.schema.json"


def test_those_that_the_reference_note_and_the_commands_name_are_there() -> None:
    names = {
        "quickstart",
        "purchase",
        "multi-region",
        "uncertain-demand",
        "many-workloads",
        "mixed-cards",
        "qwen3-0.6b",
        "qwen3-14b",
        "qwen3-32b",
        "qwen3-235b",
    }
    assert names <= {file.stem for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_begins_with_the_line_that_editors_read_and_explains_itself(file: Path) -> None:
    first, second, *_ = file.read_text(encoding="utf-8").splitlines()
    assert first == SCHEMA_LINE
    assert second.startswith("# ")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_is_valid_named_after_its_file_and_supported(file: Path, catalog: Catalog) -> None:
    scenario = load_scenario(file, catalog)
    assert scenario.name == file.stem
    assert scenario.unsupported() == ()
    assert load_scenario(scenario.canonical(), catalog) == scenario


def test_many_workloads_has_at_least_thirty_on_owned_and_rented_stock(catalog: Catalog) -> None:
    scenario = load_scenario(FOLDER / "many-workloads.yaml", catalog)
    assert len(scenario.workloads) >= 30
    assert any(offer.own for offer in scenario.inventory.values())
    assert any(offer.rent for offer in scenario.inventory.values())
