"""docs/scenario.md lists every key as the classes that read scenario files describe it; `--regenerate` writes it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest

from catalog import Catalog
from optimizer.scenario import parse_scenario, scenario_schema
from optimizer.scenario.part import Part
from optimizer.scenario.quantities import (
    COUNT,
    DURATION_S,
    ENERGY_PRICE,
    MONEY,
    NETWORK,
    OPEX,
    PRICE_OF_SERVER,
    PRICE_PER_HOUR,
    RATE,
    RATIO,
    per_server,
)
from optimizer.scenario.scenario import Scenario
from optimizer.scenario.traffic import Trace
from optimizer.scenario.workload import WorkloadFields

PAGE = Path(__file__).parents[1] / "docs" / "scenario.md"
END_OF_PROSE = "-->\n"
ELSEWHERE = (WorkloadFields, Trace)
"""Parts that have no keys of their own in a file: `defaults` takes those of workloads, a trace is a path."""


def inner_parts(annotation: Any) -> Iterator[tuple[type[Part], bool]]:
    """Parts that a value may hold, and whether under names."""
    if isinstance(annotation, type) and issubclass(annotation, Part):
        yield annotation, False
    named = "Mapping" in str(get_origin(annotation))
    for inner in get_args(annotation):
        yield from ((part, named or below) for part, below in inner_parts(inner))


def sections(part: type[Part] = Scenario, path: str = "", seen: tuple[type[Part], ...] = ()) -> Iterator[Any]:
    """(path, part) of every mapping of the file, each where it stands first."""
    yield path, part
    for name, field in part.model_fields.items():
        for inner, named in inner_parts(field.annotation):
            if inner not in (*ELSEWHERE, *seen):
                below = ".".join(filter(None, (path, field.alias or name, "NAME" if named else "")))
                yield from sections(inner, below, (*seen, part))


def key_tables() -> str:
    """A section for each mapping with a line for each key, in the order of the classes."""
    schema = scenario_schema()
    written: dict[type[Part], str] = {}
    lines: list[str] = []
    for path, part in sections():
        if part in written:
            continue
        written[part] = path
        required = (schema["$defs"].get(part.__name__, {}) if path else schema).get("required", ())
        about = " ".join((part.__doc__ or "").split("\n\n")[0].split())
        lines += ["", f"## `{path}`" if path else "## At the top", "", about, "", "| key | meaning |", "| --- | --- |"]
        for key, meaning in part.keys().items():
            said = " ".join(meaning.split()).replace("|", "\\|")
            lines.append(f"| {f'**`{key}`**' if key in required else f'`{key}`'} | {said} |")
    return "\n".join(lines) + "\n"


def test_every_key_of_a_scenario_stands_in_its_page(request: pytest.FixtureRequest) -> None:
    prose, mark, tables = PAGE.read_text(encoding="utf-8").partition(END_OF_PROSE)
    if request.config.getoption("--regenerate"):
        PAGE.write_text(prose + mark + key_tables(), encoding="utf-8")
        return
    assert tables == key_tables(), "see --regenerate"


KINDS = {
    "time": DURATION_S,
    "rate": RATE,
    "part, multiple": RATIO,
    "count, tokens": COUNT,
    "price of a server by the hour": PRICE_PER_HOUR,
    "price of a server for sale": PRICE_OF_SERVER,
    "money": MONEY,
    "upkeep": OPEX,
    "electricity": ENERGY_PRICE,
    "network": NETWORK,
}
"""Line of the table of values -> what reads it; power has one reader for a site and one for a server."""


@pytest.mark.parametrize("name", KINDS)
def test_values_are_read_as_the_page_writes_them(name: str) -> None:
    (line,) = (one for one in PAGE.read_text(encoding="utf-8").splitlines() if one.startswith(f"| {name} |"))
    values = re.findall(r"`([^`]+)`", line)
    assert values
    for value in values:
        assert KINDS[name].parse(per_server(KINDS[name], value, 8)) > 0


def test_the_smallest_scenario_of_the_page_is_sound(catalog: Catalog) -> None:
    body = PAGE.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    assert list(parse_scenario(body, "smallest.yaml", catalog).workloads) == ["chat"]
