"""What docs/scaling.md shows is valid."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from catalog import Catalog
from optimizer.batch import Settings, find_items, read_results, run_batch
from optimizer.workers import Processes

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_the_sweep_is_the_shipped_one(tmp_path: Path, catalog: Catalog) -> None:
    (sweep,) = (block for block in BLOCKS if block.startswith("base:"))
    path = tmp_path / "sweep" / "prices.yaml"
    path.parent.mkdir()
    path.write_text(sweep, encoding="utf-8")
    base = (ROOT / "scenarios" / "quickstart.yaml").read_text(encoding="utf-8")
    (tmp_path / "quickstart.yaml").write_text(base, encoding="utf-8")
    shown = find_items([str(path)], catalog)
    shipped = find_items([str(ROOT / "scenarios" / "sweeps" / "prices.yaml")], catalog)
    assert [shown.values(i) for i in range(len(shown))] == [shipped.values(i) for i in range(len(shipped))]


def test_the_job_has_a_shard_for_each_index_and_pods_that_kubernetes_takes() -> None:
    (job,) = (yaml.safe_load(block) for block in BLOCKS if block.startswith("apiVersion:"))
    spec = job["spec"]
    # Of Jobs the schema beside the exports knows the pods; the rest was judged once with kubernetes-validate 1.37.
    schema = json.loads((ROOT / "tests" / "data" / "exports" / "kubernetes-1.37.json").read_text(encoding="utf-8"))
    judge = jsonschema.Draft202012Validator({**schema, "$ref": "#/$defs/io.k8s.api.core.v1.PodTemplateSpec"})
    assert [error.message for error in judge.iter_errors(spec["template"])] == []
    (container,) = spec["template"]["spec"]["containers"]
    assert f"--shard $((JOB_COMPLETION_INDEX + 1))/{spec['completions']} " in container["args"][0]
    assert spec["completionMode"] == "Indexed"


def test_the_queries_run_over_the_parts(tmp_path: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    duckdb = pytest.importorskip("duckdb")
    items = find_items([str(ROOT / "scenarios" / "sweeps" / "prices.yaml")], catalog)
    run_batch(items, catalog, tmp_path / "prices", Settings(), engine=Processes(2), keep_plans=False)
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"^```sql\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    by_card, up_to = (duckdb.sql(query).fetchall() for query in block.split(";") if query.strip())
    rows = read_results(tmp_path / "prices")
    assert sum(count for *_, count in by_card) == len(rows) == 64
    assert [least for _, least, _, _ in by_card] == sorted(least for _, least, _, _ in by_card)
    price, load = "inventory.a100-node.rent.price [$/gpu/h]", "workloads.chat.requests [/s]"
    taken = [(row[load], row[price]) for row in rows if "a100-80gb-sxm" in row["gpus"]]
    assert up_to == sorted((one, max(usd for of, usd in taken if of == one)) for one in {of for of, _ in taken})
