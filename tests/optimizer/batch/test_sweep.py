"""Sweep files: what they mean, and what is said about those that are wrong."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from sweeps import BASE, PRICES, write

from catalog import Catalog
from optimizer.batch import find_items
from optimizer.batch.axes import Axis, between, with_value
from optimizer.batch.sweep import read_sweep
from optimizer.errors import InputError
from optimizer.scenario import render_faults


def test_a_grid_takes_every_pair_and_the_last_key_varies_fastest(tmp_path: Path, catalog: Catalog) -> None:
    items = find_items([str(write(tmp_path))], catalog)
    assert len(items) == 6  # 3 rates × 2 prices
    assert [items.values(i) for i in (0, 1, 2)] == [("1/s", "$1/gpu/h"), ("1/s", "$2.50/gpu/h"), ("2/s", "$1/gpu/h")]
    assert items.name(5) == "prices-5"
    scenario = items.scenario(5, catalog)
    assert scenario.name == "prices-5"
    assert scenario.workloads["chat.v2"].demand_rps == 9.0
    assert scenario.inventory["small"].rent is not None
    assert scenario.inventory["small"].rent.usd_per_server_hour == 2.5


def test_a_zip_takes_the_values_side_by_side(tmp_path: Path, catalog: Catalog) -> None:
    sweep = PRICES.replace("[1/s, 2/s, 9/s]", "[1/s, 2/s]") + "combine: zip\n"
    items = find_items([str(write(tmp_path, sweep))], catalog)
    assert [items.values(i) for i in range(len(items))] == [("1/s", "$1/gpu/h"), ("2/s", "$2.50/gpu/h")]


def test_a_sample_is_of_the_grid_without_repeats_and_the_seed_decides_it(tmp_path: Path, catalog: Catalog) -> None:
    def values(seed: int) -> list[tuple[str, ...]]:
        items = find_items([str(write(tmp_path, PRICES + f"combine: {{sample: 4, seed: {seed}}}\n"))], catalog)
        return [items.values(i) for i in range(len(items))]

    assert len(set(values(7))) == 4
    assert values(7) == values(7)
    assert any(values(seed) != values(7) for seed in range(5))


def test_steps_reach_both_ends() -> None:
    assert between("$1.50/gpu/h", "$3/gpu/h", 4) == ("$1.5/gpu/h", "$2/gpu/h", "$2.5/gpu/h", "$3/gpu/h")
    assert between("10%", "0%", 3) == ("10%", "5%", "0%")


def test_a_column_carries_the_unit_of_its_numbers() -> None:
    price = Axis("a.price", ("a", "price"), ("$1/gpu/h", "$2.50/gpu/h"))
    assert (price.column, price.cell("$2.50/gpu/h")) == ("a.price [$/gpu/h]", 2.5)
    mixed = Axis("a.slo", ("a", "slo"), ({"ttft_p95": "1s"}, "throughput"))
    assert (mixed.column, mixed.cell(mixed.texts[0])) == ("a.slo", '{"ttft_p95": "1s"}')


def test_a_value_is_put_in_without_touching_the_rest() -> None:
    base = {"a": {"b": [1, {"c": 2}]}, "d": {}}
    assert with_value(base, ("a", "b", 1, "c"), 3) == {"a": {"b": [1, {"c": 3}]}, "d": {}}
    assert base == {"a": {"b": [1, {"c": 2}]}, "d": {}}
    assert with_value(base, ("e", "f"), 1)["e"] == {"f": 1}
    with pytest.raises(ValueError, match="x"):
        with_value({"a": "text"}, ("a", "x"), 1)


def test_the_base_may_stand_in_the_sweep_itself(tmp_path: Path, catalog: Catalog) -> None:
    inside = "base:\n" + "".join(f"  {line}\n" for line in BASE.splitlines())
    items = find_items([str(write(tmp_path, PRICES.replace("base: base.yaml\n", inside)))], catalog)
    assert items.scenario(0, catalog).workloads["chat.v2"].demand_rps == 1.0


def test_a_sweep_travels_to_another_process(tmp_path: Path, catalog: Catalog) -> None:
    items = find_items([str(write(tmp_path))], catalog)
    there = pickle.loads(pickle.dumps(items))
    assert there.scenario(3, catalog).sha256 == items.scenario(3, catalog).sha256


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            PRICES.replace("$2.50/gpu/h", "2.50 EUR/gpu/h"),
            ":4:42: error: '2.50 EUR/gpu/h' is not in US dollars; all money is in one currency, written $2.40",
        ),
        (PRICES.replace("small", "smal"), ":4:3: error: the base has no offer 'smal'; did you mean 'small'?"),
        (
            PRICES.replace("chat.v2.requests", "chat.v2.request"),
            ":3:31: error: unknown key 'request'; did you mean 'requests'",
        ),
        (PRICES.replace("[1/s, 2/s, 9/s]", "1/s"), ":3:31: error: a list of values is expected; this is '1/s'"),
        (PRICES.replace("[1/s, 2/s, 9/s]", "{from: 1/s, to: 9/s}"), "or {from: $2/gpu/h, to: $3/gpu/h, steps: 11}"),
        (PRICES + "combine: zip\n", ":5:10: error: zip takes the n-th value of every key; these are 3 of workloads"),
        (PRICES + "combine: gird\n", ":5:10: error: grid, zip or {sample: 500, seed: 7} is expected"),
        (PRICES + "combine: {sample: 7}\n", ":5:10: error: a sample of 1 to 6 scenarios, as the grid has, is expected"),
        (PRICES + "combination: zip\n", ":5:1: error: unknown key 'combination'; did you mean 'combine'?"),
        (PRICES.replace("base.yaml", "bace.yaml"), ":1:7: error: base 'bace.yaml': no such file"),
        (PRICES.replace("rent.price", "gpu.price"), ":4:3: error: 'price' leads through a value that is no mapping"),
    ],
)
def test_faults_are_located_in_the_sweep(tmp_path: Path, catalog: Catalog, wrong: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        read_sweep(write(tmp_path, wrong), catalog)
    assert message in render_faults(error.value)


def test_faults_of_the_base_are_located_there(tmp_path: Path, catalog: Catalog) -> None:
    path = write(tmp_path, base=BASE.replace("gpu: l40s, gpus_per", "gpu: l40z, gpus_per"))
    with pytest.raises(InputError) as error:
        read_sweep(path, catalog)
    assert f"{tmp_path / 'base.yaml'}:10:16: error: unknown GPU 'l40z'" in render_faults(error.value)


def test_files_are_named_by_their_paths(tmp_path: Path, catalog: Catalog) -> None:
    for name in ("a/one.yaml", "b/one.yaml", ".hidden/x.yaml", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(BASE, encoding="utf-8")
    items = find_items([str(tmp_path)], catalog)
    assert [items.name(i) for i in range(len(items))] == ["a/one", "b/one"]
    again = find_items([str(tmp_path / "*" / "*.yaml"), str(tmp_path / "a" / "one.yaml")], catalog)
    assert [again.name(i) for i in range(len(again))] == ["a/one", "b/one"]


def test_sources_without_scenarios_are_refused(tmp_path: Path, catalog: Catalog) -> None:
    with pytest.raises(InputError, match="no scenario here"):
        find_items([str(tmp_path)], catalog)
    with pytest.raises(InputError, match="no file matches"):
        find_items([str(tmp_path / "*.yaml")], catalog)
    for name in ("one.yaml", "one.json"):
        (tmp_path / name).write_text(BASE, encoding="utf-8")
    with pytest.raises(InputError, match="two files are called 'one'"):
        find_items([str(tmp_path)], catalog)


def test_the_shipped_sweep_is_valid(catalog: Catalog) -> None:
    items = find_items([str(Path(__file__).parents[3] / "scenarios" / "sweeps" / "prices.yaml")], catalog)
    assert len(items) == 64  # 4 loads × 16 prices
    assert items.name(63) == "prices-63"
