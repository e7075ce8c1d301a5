"""What a scenario brings to the catalog: models by configuration, and entries of the user's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from catalog.huggingface import model_from_hf_config
from catalog.loader import Catalog
from catalog.overlay import AnyEntry, entry_of, lay_over
from catalog.schema import Label, Model, Source
from optimizer.errors import InputError
from optimizer.scenario.scenario import Scenario


def own_model(name: str, config: Mapping[str, Any]) -> Model:
    """The catalog entry of a model that the scenario describes itself."""
    source = Source(text="configuration given by the scenario", label=Label.PUBLISHED)
    return model_from_hf_config(config, model_id=name, source=source)


def readable_entries(given: object) -> tuple[list[AnyEntry], list[tuple[int, str]]]:
    """Of a list of entries those that can be read, and for the others their index and what is wrong."""
    entries: list[AnyEntry] = []
    problems: list[tuple[int, str]] = []
    for index, data in enumerate(given if isinstance(given, list | tuple) else ()):
        if not isinstance(data, Mapping):
            continue
        try:
            entries.append(entry_of(data))
        except InputError as error:
            problems += [(index, fault.message) for fault in error.faults]
    return entries, problems


def with_own_entries(scenario: Scenario, catalog: Catalog) -> Scenario:
    """The scenario with those of the user's own entries in the catalog that its plan may rest on."""
    given = {_identity(entry) for entry in scenario.own_entries}
    more = {_identity(entry): dict(entry) for entry in catalog.own if _identity(entry) not in given}
    used = tuple(more[key] for key in sorted(more) if _matters(*key, scenario))
    return scenario.model_copy(update={"own_entries": (*scenario.own_entries, *used)}) if used else scenario


def scenario_catalog(scenario: Scenario, catalog: Catalog) -> Catalog:
    """The catalog overlaid with the scenario's own models and entries, predicting as the scenario asks."""
    models = [own_model(name, model.hf_config) for name, model in scenario.models.items() if model.hf_config]
    overlaid = lay_over(catalog, [*map(entry_of, scenario.own_entries), *models])
    asked = {
        name: value
        for name in ("confidence_fraction", "performance")
        if (value := getattr(scenario, name)) not in (None, getattr(overlaid.calibration, name))
    }
    if not asked:
        return overlaid
    return lay_over(overlaid, [overlaid.calibration.model_copy(update=asked)])


def _identity(entry: Mapping[str, Any]) -> tuple[str, str]:
    return str(entry["kind"]), str(entry["id"])


def _matters(kind: str, entry_id: str, scenario: Scenario) -> bool:
    """Prices are part of offers already; of models and cards only those that are named can be planned with."""
    if kind == "model":
        return any(entry_id in workload.models for workload in scenario.workloads.values())
    return kind != "instance" and (kind != "gpu" or entry_id in _cards(scenario))


def _cards(scenario: Scenario) -> Iterator[str]:
    yield from (offer.gpu for offer in scenario.inventory.values())
    yield from (replica.gpu for workload in scenario.workloads.values() for replica in workload.measured or ())
