"""A scenario from a file, text or mapping: read, normalised and checked, with every fault reported together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from catalog.loader import Catalog, load_catalog
from optimizer.errors import Fault, InputError, Location
from optimizer.scenario.document import MOST_BYTES, Positions, decode, read_document
from optimizer.scenario.faults import in_file_order
from optimizer.scenario.fields import Count, Measured, Surroundings
from optimizer.scenario.normalise import Normaliser
from optimizer.scenario.own_catalog import with_own_entries
from optimizer.scenario.problems import AT_KEY
from optimizer.scenario.problems import Path as KeyPath
from optimizer.scenario.quantities import DURATION_MONTHS
from optimizer.scenario.scenario import MOST_PERIODS, Scenario
from optimizer.scenario.words import Suggestions, key_text, shown

_DEFAULT_HORIZON = "1mo"


def load_scenario(
    source: str | Path | Mapping[str, Any], catalog: Catalog | None = None, *, folder: Path | None = None
) -> Scenario:
    """The scenario of a file or mapping; InputError lists every fault, with file:line:column where there is a file.

    Without a catalog, the shipped one is used. Paths in a mapping start at `folder`, by default the current one.
    """
    if isinstance(source, Mapping):
        return _checked(source, None, (), folder or Path(), catalog)
    return parse_scenario(read_bytes(Path(source)), str(source), catalog)


def parse_scenario(text: str | bytes, file: str, catalog: Catalog | None = None) -> Scenario:
    """The scenario of YAML or JSON text; `file` is what messages call it and where relative paths start."""
    if isinstance(text, bytes):
        text = decode(text, file)
    document = read_document(text, file)
    if not document.whole:
        raise InputError(document.faults)
    return _checked(document.root, document.positions, document.faults, Path(file).parent, catalog)


def read_bytes(path: Path) -> bytes:
    """What a file holds; InputError where it cannot be read or is larger than any scenario."""
    where = Location(str(path))
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a file name"
        raise InputError([Fault(f"cannot be read: {reason}", where)]) from None
    if len(data) > MOST_BYTES:
        raise InputError([Fault(f"larger than {MOST_BYTES // 2**20} MiB; a scenario is smaller", where)])
    return data


def _checked(
    data: object, positions: Positions | None, reported: tuple[Fault, ...], folder: Path, catalog: Catalog | None
) -> Scenario:
    """The scenario of data, or InputError with what was reported already and all that is found here."""
    if catalog is None:
        catalog = load_catalog()
    collected = _Faults(positions, reported)
    if not isinstance(data, Mapping):
        collected.add((), f"a mapping with the keys name, workloads and inventory is expected; this is {shown(data)}")
        raise InputError(collected.faults)
    horizon_months = _readable(Measured(DURATION_MONTHS, above=0), data.get("horizon", _DEFAULT_HORIZON))
    periods = _readable(Count(at_most=MOST_PERIODS), data.get("periods", 1))
    suggestions = Suggestions()
    normaliser = Normaliser(catalog, folder, horizon_months, suggestions)
    complete = normaliser.complete(data)
    for path, message in normaliser.problems:
        collected.add(path, message)
    collected.settle()
    surroundings = Surroundings(normaliser.catalog, normaliser.models, horizon_months, periods, suggestions)
    try:
        scenario = Scenario.model_validate(complete, context=surroundings)
    except ValidationError as error:
        for found in error.errors(include_url=False):
            collected.add(found["loc"], found["ctx"]["message"], at_key=found["type"] == AT_KEY)
    if collected.faults:
        raise InputError(in_file_order(collected.faults))
    scenario = with_own_entries(scenario.model_copy(update={"defaults": None}), catalog)
    if positions is not None:
        scenario.stands_in(positions)
    return scenario


def _readable(kind: Measured | Count, value: object) -> Any:
    """The number, or None when it is not one, which its field reports."""
    try:
        return kind.parse(value)
    except ValueError:
        return None


class _Faults:
    """Faults found so far, each once."""

    def __init__(self, positions: Positions | None, reported: tuple[Fault, ...]) -> None:
        self._positions = positions
        self.faults = list(reported)
        self._seen: set[tuple[Location | str | None, str]] = set()
        self.settle()

    def settle(self) -> None:
        """What is found later at a place with a fault follows from that fault, and is not reported."""
        self._settled = frozenset(fault.location or fault.key for fault in self.faults)

    def add(self, path: KeyPath, message: str, *, at_key: bool = False) -> None:
        location = self._positions.location(path, at_key=at_key) if self._positions is not None else None
        key = ".".join(key_text(part) for part in path) or None
        place = location or key
        if place in self._settled or (place, message) in self._seen:
            return
        self._seen.add((place, message))
        self.faults.append(Fault(message, location, key))
