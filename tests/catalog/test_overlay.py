"""Entries that stand in no catalog file laid over a catalog."""

from __future__ import annotations

import pytest

from catalog import Catalog
from catalog.errors import InputError
from catalog.overlay import entry_of, lay_over


def test_an_entry_takes_the_place_of_the_one_with_its_kind_and_id(catalog: Catalog) -> None:
    faster = entry_of(catalog.gpus["l40s"].model_dump(mode="json") | {"memory_bandwidth_gb_per_s": 900})
    over = lay_over(catalog, [faster])
    assert over.gpus["l40s"] == faster
    assert over.gpus["h100-sxm"] == catalog.gpus["h100-sxm"]
    assert len(over.gpus) == len(catalog.gpus)
    assert catalog.gpus["l40s"].memory_bandwidth_gb_per_s == 864  # the catalog below is as it was


def test_an_entry_with_an_id_of_its_own_joins(catalog: Catalog) -> None:
    over = lay_over(catalog, [entry_of(catalog.formats["fp8"].model_dump(mode="json") | {"id": "my-fp8"})])
    assert set(over.formats) - set(catalog.formats) == {"my-fp8"}
    assert over.kv_formats is catalog.kv_formats


def test_without_entries_nothing_changes(catalog: Catalog) -> None:
    assert lay_over(catalog, []) == catalog


def test_a_calibration_of_ones_own_is_the_one_in_use(catalog: Catalog) -> None:
    own = entry_of(catalog.calibration.model_dump(mode="json") | {"id": "mine"})
    assert lay_over(catalog, [own]).calibration.id == "mine"


def test_all_that_is_wrong_with_an_entry_is_said() -> None:
    with pytest.raises(InputError) as refused:
        entry_of({"kind": "kv_format", "id": "mine"})
    assert len(refused.value.faults) > 1
    assert all(fault.message.startswith("KV cache format 'mine': ") for fault in refused.value.faults)
    assert all(fault.location is None for fault in refused.value.faults)


@pytest.mark.parametrize("kind", ["gpuu", "instance", None])
def test_a_kind_that_a_scenario_cannot_bring_is_refused(kind: object) -> None:
    with pytest.raises(InputError, match="kind: one of model, gpu"):
        entry_of({"kind": kind, "id": "x"})
