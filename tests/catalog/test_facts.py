"""The shipped facts themselves: a failure names the file and the field."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from catalog import Catalog, load_catalog
from catalog.loader import DATA
from catalog.schema import Entry, Gpu, Label, TensorRole
from catalog.units import GB, GIB

PCIE_GIGATRANSFERS = {"3.0": 8, "4.0": 16, "5.0": 32, "6.0": 64}
PCIE_CODING = {"3.0": 128 / 130, "4.0": 128 / 130, "5.0": 128 / 130, "6.0": 242 / 256}
FOLDERS = {"models": "models", "gpus": "gpus", "formats": "formats", "kv_formats": "kv_formats", "engines": "engines"}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog()


@pytest.fixture(scope="module")
def gpus(catalog: Catalog) -> list[Gpu]:
    return list(catalog.gpus.values())


def entries(catalog: Catalog) -> Iterator[tuple[str, Entry]]:
    for folder, name in FOLDERS.items():
        for entry_id, entry in getattr(catalog, name).items():
            yield f"{folder}/{entry_id}", entry


def test_the_catalog_is_as_wide_as_promised(catalog: Catalog) -> None:
    assert len(catalog.models) >= 320
    assert len(catalog.gpus) >= 64
    assert len(catalog.formats) >= 31
    assert len(catalog.kv_formats) >= 8
    assert len(catalog.instances) >= 663
    assert len({instance.provider for instance in catalog.instances.values()}) >= 18
    assert set(catalog.engines) >= {"vllm", "sglang", "trtllm", "llamacpp"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_file_is_named_after_its_entry(catalog: Catalog, folder: str) -> None:
    names = {entry_id.replace("/", "--") for entry_id in getattr(catalog, FOLDERS[folder])}
    assert {path.stem for path in (DATA / folder).iterdir()} == names


def test_every_source_says_what_it_is_and_backs_fields_that_exist(catalog: Catalog) -> None:
    for place, entry in entries(catalog):
        for source in entry.sources:  # type: ignore[attr-defined]
            assert source.text.strip(), f"{place}: sources: empty text"
            for field in source.fields:
                assert field.split(".")[0] in type(entry).model_fields, (
                    f"{place}: sources: fields: '{field}' is no field"
                )


def test_a_source_that_says_it_was_recalled_is_labelled_no_better(catalog: Catalog) -> None:
    for place, entry in entries(catalog):
        if place.startswith("models/"):  # one text there names a source of the count and one of the configuration
            continue
        for source in entry.sources:  # type: ignore[attr-defined]
            if "recalled" in source.text:
                assert source.label in (Label.RECALLED, Label.ESTIMATED), f"{place}: sources: label of '{source.text}'"


def test_no_card_shows_more_than_the_number_on_its_box(gpus: list[Gpu]) -> None:
    # 1.08: some boxes count 2^30 and are 7.4 % larger in decimal GB (A100: 80 GiB = 85.9 GB).
    for gpu in gpus:
        visible_gb = gpu.visible_memory_gib * GIB / GB
        share = visible_gb / gpu.nominal_memory_gb
        least = 0.7 if gpu.unified_memory else 0.94
        assert least < share < 1.08, f"gpus/{gpu.id}: visible_memory_gib: {share:.2f} of nominal"
        if gpu.driver_memory_mib is not None:
            assert gpu.visible_memory_gib * 1024 <= gpu.driver_memory_mib + 6, f"gpus/{gpu.id}: driver_memory_mib"


def test_rates_are_plausible_and_dense(gpus: list[Gpu]) -> None:
    for gpu in gpus:
        assert 150 <= gpu.memory_bandwidth_gb_per_s <= 10_000, f"gpus/{gpu.id}: memory_bandwidth_gb_per_s"
        half = gpu.tflops.bf16 or gpu.tflops.fp16
        assert half is not None, f"gpus/{gpu.id}: tflops: no 16-bit rate"
        assert 10 <= half <= 3000, f"gpus/{gpu.id}: tflops"
        # An 8-bit rate is at most four times the 16-bit one (GeForce halves 16-bit products that add up in fp32).
        assert (gpu.tflops.fp8 or 0) <= 2.03 * half, f"gpus/{gpu.id}: tflops.fp8"
        assert (gpu.tflops.int8 or 0) <= 4.01 * half, f"gpus/{gpu.id}: tflops.int8"
        assert (gpu.tflops.fp4 or 0) <= 8.01 * half, f"gpus/{gpu.id}: tflops.fp4"


@pytest.mark.parametrize(
    ("gpu", "dtype", "dense_tflops"),
    [("h100-sxm", "bf16", 989.4), ("h100-sxm", "fp8", 1979), ("a100-80gb-sxm", "bf16", 312), ("l40s", "fp8", 733)],
)
def test_well_known_rates_are_not_the_sparse_ones_of_the_brochure(
    catalog: Catalog, gpu: str, dtype: str, dense_tflops: float
) -> None:
    assert catalog.gpus[gpu].tflops.rate(dtype) == dense_tflops


@pytest.mark.parametrize(
    ("gpu", "gib"),
    [
        ("h100-sxm", 79.19),  # printed by vLLM, llm-d-incubation/llm-d-planner#205
        ("h200-sxm", 139.8),
        ("a100-40gb-sxm", 39.39),
        ("l40s", 44.4),
        ("t4", 14.56),
        ("b300-sxm", 267.69),  # torch out-of-memory logs of 8-GPU hosts
    ],
)
def test_well_known_cards_show_what_engines_print(catalog: Catalog, gpu: str, gib: float) -> None:
    assert catalog.gpus[gpu].visible_memory_gib == gib


def test_pcie_bandwidth_follows_from_generation_and_lanes(gpus: list[Gpu]) -> None:
    for gpu in gpus:
        if link := re.fullmatch(r"PCIe (\d\.\d) x(\d+)(?: shared by (\d) GPUs)?", gpu.host_link):
            generation, lanes, sharing = link[1], int(link[2]), int(link[3] or 1)
            # 5.0 x16: 32 GT/s × 16 lanes × 128/130 ÷ 8 bits = 63 GB/s
            gb_per_s = PCIE_GIGATRANSFERS[generation] * lanes * PCIE_CODING[generation] / 8 / sharing
            assert gpu.pcie_gb_per_s == pytest.approx(gb_per_s, rel=1e-3), f"gpus/{gpu.id}: pcie_gb_per_s"
        else:
            assert gpu.form_factor == "other", f"gpus/{gpu.id}: host_link"


def test_only_boards_named_so_are_sxm_boards(gpus: list[Gpu]) -> None:
    for gpu in gpus:
        assert (gpu.form_factor == "sxm") == ("-sxm" in gpu.id), f"gpus/{gpu.id}: form_factor"


def test_a_link_joins_cards_where_there_is_one(gpus: list[Gpu]) -> None:
    for gpu in gpus:
        assert gpu.link_gb_per_s is not None or gpu.link_domain_gpus == 1, f"gpus/{gpu.id}: link_domain_gpus"
        assert not gpu.link_needs_bridge or gpu.form_factor == "pcie", f"gpus/{gpu.id}: link_needs_bridge"


def test_compute_capability_is_a_number_for_nvidia_and_a_target_for_others(gpus: list[Gpu]) -> None:
    for gpu in gpus:
        number = re.fullmatch(r"\d+\.\d", gpu.compute_capability) is not None
        assert number == (gpu.vendor == "NVIDIA"), f"gpus/{gpu.id}: compute_capability"


def test_formats_name_engines_and_targets_that_exist(catalog: Catalog) -> None:
    targets = {gpu.compute_capability for gpu in catalog.gpus.values()}
    for entry in (*catalog.formats.values(), *catalog.kv_formats.values()):
        for support in entry.support:
            assert support.engine in catalog.engines, f"{entry.id}: support.engine: {support.engine}"
            assert {*support.targets, *support.native_targets} <= targets, f"{entry.id}: support.targets"
            assert set(support.native_targets) <= set(support.targets), f"{entry.id}: support.native_targets"


def test_widths_are_between_two_and_sixteen_bits(catalog: Catalog) -> None:
    for entry in catalog.formats.values():
        assert 2 <= entry.bits_per_weight <= 16, f"formats/{entry.id}: bits_per_weight"
        assert TensorRole.NORM not in entry.quantizes, f"formats/{entry.id}: quantizes"
        assert bool(entry.quantizes) == (entry.bits_per_weight < 16), f"formats/{entry.id}: quantizes"
    for kv in catalog.kv_formats.values():
        assert 0.5 <= kv.bytes_per_value <= 2, f"kv_formats/{kv.id}: bytes_per_value"


def test_quality_lies_in_its_range_and_larger_models_lose_less(catalog: Catalog) -> None:
    for entry in (*catalog.formats.values(), *catalog.kv_formats.values()):
        quality = entry.quality
        bounds = [f for f in (quality.low_fraction, quality.typical_fraction, quality.high_fraction) if f is not None]
        assert bounds == sorted(bounds), f"{entry.id}: quality"
        assert all(0.8 <= bound <= 1.01 for bound in bounds), f"{entry.id}: quality"
        sizes = [row.typical_fraction for row in quality.by_size]
        assert sizes == sorted(sizes), f"{entry.id}: quality.by_size"
        if sizes:
            assert quality.by_size[-1].up_to_billions is None, f"{entry.id}: quality.by_size has no last row"


def test_every_price_is_dated_sourced_and_for_a_known_card(catalog: Catalog) -> None:
    for name, instance in catalog.instances.items():
        place = f"prices/{instance.provider}.csv: {name}"
        assert name == f"{instance.provider}/{instance.region}/{instance.instance_type}", place
        assert instance.gpu in catalog.gpus, f"{place}: gpu: {instance.gpu}"
        assert instance.source, f"{place}: source"
        assert 2024 <= instance.date.year <= 2027, f"{place}: date"
        assert instance.dated.startswith(str(instance.date.year)), place
        prices = (instance.on_demand_usd_per_hour, instance.spot_usd_per_hour, instance.reserved_1y_usd_per_hour)
        known = [price for price in prices if price is not None]
        assert known, f"{place}: no price"
        for price in known:
            assert 0.05 <= price / instance.gpus <= 40, f"{place}: {price / instance.gpus} USD per GPU and hour"
        if instance.on_demand_usd_per_hour is not None:
            assert max(known) == instance.on_demand_usd_per_hour, f"{place}: on_demand_usd_per_hour is not the highest"


@pytest.mark.parametrize("folder", ["instances", "prices"])
def test_every_provider_has_both_tables(folder: str) -> None:
    assert {path.name for path in (DATA / folder).iterdir()} == {path.name for path in (DATA / "prices").iterdir()}
