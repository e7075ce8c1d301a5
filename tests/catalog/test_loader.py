"""Loading the catalog: a fresh index, the user's own entries, and what is said about a wrong one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog import Catalog, load_catalog, loader
from catalog.errors import Fault, InputError
from catalog.index import index_text
from catalog.loader import DATA, INDEX

A10 = (DATA / "gpus" / "a10.yaml").read_text(encoding="utf-8")
MY_CARD = A10.replace("id: a10\n", "id: my-card\n")


@pytest.fixture(scope="module")
def shipped() -> Catalog:
    return load_catalog()


@pytest.fixture
def unread() -> Iterator[None]:
    """The shipped files are read anew, and once more after the test."""
    loader._shipped.cache_clear()
    yield
    loader._shipped.cache_clear()


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def faults_of(*extra: Path) -> tuple[Fault, ...]:
    with pytest.raises(InputError) as caught:
        load_catalog(extra)
    return caught.value.faults


def test_the_checked_in_index_is_of_the_files_as_they_are() -> None:
    changed = set(INDEX.read_text(encoding="utf-8").splitlines()) ^ set(index_text().splitlines())
    assert not {line.split(":")[0] for line in changed}, "run `make index`"


def test_the_shipped_files_are_read_once(shipped: Catalog) -> None:
    assert load_catalog() is load_catalog([]) is shipped


@pytest.mark.usefixtures("unread")
def test_a_stale_index_is_not_believed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    index = json.loads(INDEX.read_bytes())
    index["gpus/t4.yaml"]["entry"]["visible_memory_gib"] = 9
    stale = write(tmp_path / "index.json", json.dumps(index))
    monkeypatch.setattr(loader, "INDEX", stale)
    assert load_catalog().gpus["t4"].visible_memory_gib == 9  # same digest: believed
    index["gpus/t4.yaml"]["sha256"] = "0" * 64
    write(stale, json.dumps(index))
    loader._shipped.cache_clear()
    assert load_catalog().gpus["t4"].visible_memory_gib == 14.56


@pytest.mark.usefixtures("unread")
def test_without_an_index_the_files_themselves_are_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shipped: Catalog
) -> None:
    monkeypatch.setattr(loader, "INDEX", tmp_path / "none.json")
    read = load_catalog()
    assert read == shipped
    assert read.version == shipped.version


def test_the_version_is_a_date_and_a_digest_that_changes_with_the_facts(shipped: Catalog, tmp_path: Path) -> None:
    date, digest = shipped.version.split("+")
    assert date >= "2026-11-22"
    assert len(digest) == 12
    assert load_catalog(write(tmp_path / "my-card.yaml", MY_CARD)).version != shipped.version


@pytest.mark.parametrize(
    ("kind", "entry_id", "message"),
    [
        ("gpu", "h100sxm", "unknown GPU 'h100sxm'; did you mean 'h100-sxm'?"),
        ("model", "Qwen3-14B", "unknown model 'Qwen3-14B'; did you mean 'Qwen/Qwen3-14B'?"),
        ("weight_format", "FP8", "unknown weight format 'FP8'; did you mean 'fp8'?"),
        ("kv_format", "fp9", "unknown KV cache format 'fp9'; did you mean 'fp8'?"),
        ("engine", "zzz", "unknown engine 'zzz'"),
    ],
)
def test_an_unknown_id_says_what_was_probably_meant(shipped: Catalog, kind: str, entry_id: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        shipped.find(kind, entry_id)  # type: ignore[call-overload]
    assert caught.value.faults[0].message == message


def test_a_known_id_is_found(shipped: Catalog) -> None:
    assert shipped.find("gpu", "h100-sxm") is shipped.gpus["h100-sxm"]


def test_one_file_or_a_folder_lies_over_the_shipped_entries(tmp_path: Path) -> None:
    one = write(tmp_path / "my-card.yaml", MY_CARD)
    write(
        tmp_path / "mine" / "gpus" / "other.json",
        json.dumps({"kind": "gpu", **load_catalog(one).gpus["my-card"].model_dump(mode="json"), "id": "other"}),
    )
    write(tmp_path / "mine" / "instances" / "me.csv", "instance_type,gpu,gpus\nbox,other,8\n")
    write(
        tmp_path / "mine" / "prices" / "me.csv",
        "region,instance_type,on_demand_usd_per_hour,date,date_precision,source\nhere,box,9.5,2026-11-01,month,me\n",
    )
    catalog = load_catalog([one, str(tmp_path / "mine")])
    assert catalog.gpus["my-card"].visible_memory_gib == 22.06
    assert catalog.gpus["other"].name == "A10"
    box = catalog.instances["me/here/box"]
    assert (box.gpu, box.gpus, box.on_demand_usd_per_hour, box.dated) == ("other", 8, 9.5, "2026-11")


def test_an_id_that_is_taken_is_refused_and_both_files_are_named(tmp_path: Path) -> None:
    (fault,) = faults_of(write(tmp_path / "mine.yaml", A10))
    assert fault.message == (
        f"GPU 'a10' stands in {DATA / 'gpus' / 'a10.yaml'} already; with `replaces: true` this entry takes its place"
    )
    assert str(fault.location) == f"{tmp_path / 'mine.yaml'}:2:5"


def test_an_entry_that_says_so_takes_the_place_of_a_shipped_one(tmp_path: Path) -> None:
    mine = write(tmp_path / "mine.yaml", A10.replace("rated_power_w: 150", "rated_power_w: 120") + "replaces: true\n")
    assert load_catalog([mine]).gpus["a10"].rated_power_w == 120


def test_an_entry_cannot_replace_what_is_not_there(tmp_path: Path) -> None:
    (fault,) = faults_of(write(tmp_path / "mine.yaml", MY_CARD + "replaces: true\n"))
    assert fault.message.startswith("replaces: there is no GPU 'my-card' to replace")


def test_all_faults_of_an_entry_are_reported_at_their_places(tmp_path: Path) -> None:
    text = MY_CARD.replace("rated_power_w: 150", "rated_power_w: -1").replace("memory_type:", "memory_typ:")
    path = write(tmp_path / "mine.yaml", text)
    found = {fault.message: fault.location for fault in faults_of(path)}
    line = text.splitlines().index("rated_power_w: -1") + 1
    below_zero = found["GPU 'my-card': rated_power_w: input should be greater than 0"]
    assert str(below_zero) == f"{path}:{line}:16"
    assert below_zero is not None
    assert below_zero.text == "rated_power_w: -1"
    assert "GPU 'my-card': memory_typ: unknown key; did you mean 'memory_type'?" in found
    assert "GPU 'my-card': memory_type: is missing" in found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: gpus\nid: x\n", "did you mean 'gpu'?"),
        ("id: x\n", "kind: one of model, gpu,"),
        ("kind: gpu\nkind: gpu\n", "the key 'kind' stands twice"),
        ("a: &x [1]\nb: *x\n", "aliases are not used in catalog files"),
        ("kind: [" + "[" * 100_000, "nested too deeply"),
        ("? [a]\n: b\n", "a key must be text"),
        ('!!python/object/apply:os.system ["true"]\n', "could not determine a constructor"),
        ("kind: gpu\n\tid: x\n", "found a tab character"),
        ("- kind: gpu\n", "one catalog entry is expected"),
        ("", "one catalog entry is expected"),
        ("kind: gpu\n", "id: a text that names this GPU is expected"),
        ("kind: gpu\nid: x\nreplaces: maybe\n", "replaces: true or false is expected"),
    ],
)
def test_a_file_that_is_no_entry_says_why(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "mine.yaml", text)
    (fault,) = faults_of(path)
    assert message in fault.message
    assert fault.location is not None
    assert fault.location.file == str(path)


def test_numbers_in_quotes_are_not_taken_for_numbers(tmp_path: Path) -> None:
    (fault,) = faults_of(write(tmp_path / "mine.yaml", MY_CARD.replace("rated_power_w: 150", 'rated_power_w: "150"')))
    assert fault.message == "GPU 'my-card': rated_power_w: input should be a valid number"


def test_a_folder_with_an_unknown_part_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "mine" / "gpu" / "my-card.yaml", MY_CARD)
    (fault,) = faults_of(tmp_path / "mine")
    assert fault.message == "unknown catalog folder 'gpu'; did you mean 'gpus'?"


def test_a_path_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path / "none.yaml")
    assert fault.message == "cannot be read: No such file or directory"


@pytest.mark.parametrize(("folder", "suffix"), [("gpus", ".csv"), ("prices", ".yaml")])
def test_a_file_in_a_folder_for_others_is_refused(tmp_path: Path, folder: str, suffix: str) -> None:
    write(tmp_path / folder / f"mine{suffix}", MY_CARD)
    (fault,) = faults_of(tmp_path)
    assert fault.message == f"a {suffix} file has no place in {folder}/"


def test_an_entry_in_the_wrong_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "mine" / "engines" / "my-card.yaml", MY_CARD)
    (fault,) = faults_of(tmp_path / "mine")
    assert fault.message == "kind: 'gpu' in a folder for entries of kind 'engine'"


@pytest.mark.parametrize(
    ("types", "price", "message"),
    [
        ("box,h100-sxm,8\nbox,h100-sxm,4", "here,box,9.5,2026-11-01,day,me", "instance_type: 'box' stands twice"),
        ("box,h100-sxm,8", "here,bax,9.5,2026-11-01,day,me", "instance_type: 'bax' is not in instances/me.csv"),
        ("box,h100sxm,8", "here,box,9.5,2026-11-01,day,me", "gpu: unknown GPU 'h100sxm'; did you mean 'h100-sxm'?"),
        ("box,h100-sxm,8", "here,box,free,2026-11-01,day,me", "on_demand_usd_per_hour: input should be a valid number"),
        ("box,h100-sxm,8", "here,box,9.5,,day,me", "a row needs instance_type, region, date"),
    ],
)
def test_a_wrong_row_of_a_table_is_named_by_its_line(tmp_path: Path, types: str, price: str, message: str) -> None:
    types_table = write(tmp_path / "instances" / "me.csv", f"instance_type,gpu,gpus\n{types}\n")
    columns = "region,instance_type,on_demand_usd_per_hour,date,date_precision,source"
    table = write(tmp_path / "prices" / "me.csv", f"{columns}\n{price}\n")
    fault = faults_of(tmp_path)[0]
    assert message in fault.message
    assert str(fault.location) in (f"{table}:2:1", f"{types_table}:3:1")
