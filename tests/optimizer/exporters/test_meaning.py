"""Parsed back, every target means what the plan says, and what it leaves out it names."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable

import pytest
import yaml
from meaning_reading import READERS, Started, read

from optimizer.exporters import EXPORTERS
from optimizer.layout import Layout
from optimizer.topology import Topology

ON_ONE_SERVER = ("chat", "fast", "deep", "small", "amd")
SAYS = {
    "vllm": ("chat", "giant", "amd"),
    "sglang": ("fast", "wide"),
    "trtllm": ("deep", "deepest"),
    "llamacpp": ("small",),
    "compose": ON_ONE_SERVER,
    "k8s": ON_ONE_SERVER,
    "lws": ("giant", "wide"),
    "kserve": (*ON_ONE_SERVER, "giant"),
    "llm-d": ("chat", "giant"),
    "dynamo": ("chat", "fast", "giant", "wide"),
    "ray-serve": ("chat", "giant"),
    "rayservice": ("chat", "giant"),
    "skypilot": ("chat", "fast"),
}
"""Workloads that a target has words for."""


def planned(layout: Layout, workloads: Iterable[str]) -> Counter[Started]:
    found: Counter[Started] = Counter()
    for workload in layout.workloads:
        for one in workload.replica_groups:
            if workload.name in workloads:
                assert one.tp
                assert one.pp
                assert one.max_batch_size
                assert one.max_model_len
                assert one.kv_cache_dtype
                meaning = (one.tp, one.pp, one.max_batch_size, one.max_model_len, one.kv_cache_dtype)
                found[*meaning, one.gpus_per_replica] += one.replicas
    return found


def test_every_target_that_starts_something_is_read_back() -> None:
    assert set(READERS) == set(SAYS) == set(EXPORTERS) - {"topology", "kueue", "bill-of-materials"}


@pytest.mark.parametrize("target", SAYS)
def test_the_export_means_what_the_plan_says(target: str, engines: Topology, engines_plan: Layout) -> None:
    assert read(target, EXPORTERS[target].render(engines).files) == planned(engines_plan, SAYS[target])


@pytest.mark.parametrize("target", SAYS)
def test_what_is_left_out_is_named(target: str, engines: Topology, engines_plan: Layout) -> None:
    named = [line.partition(":")[0] for line in EXPORTERS[target].render(engines).left_out]
    assert sorted(named) == sorted(w.name for w in engines_plan.workloads if w.name not in SAYS[target])


def test_the_quota_is_the_purchase_list(engines: Topology) -> None:
    # 7 servers of 8 H100 and one of 8 MI300X
    (text,) = EXPORTERS["kueue"].render(engines).files.values()
    (queue,) = (one for one in yaml.safe_load_all(text) if one["kind"] == "ClusterQueue")
    (group,) = queue["spec"]["resourceGroups"]
    quotas = {
        flavor["name"]: {one["name"]: one["nominalQuota"] for one in flavor["resources"]} for flavor in group["flavors"]
    }
    h100, mi300x = quotas.values()
    assert (h100["nvidia.com/gpu"], h100["amd.com/gpu"]) == (56, 0)
    assert (mi300x["nvidia.com/gpu"], mi300x["amd.com/gpu"]) == (0, 8)
    # four times 4 CPUs and 16 GiB for each GPU
    assert (mi300x["cpu"], mi300x["memory"]) == (128, "512Gi")


def test_the_quota_admits_every_pod_of_the_plan(engines: Topology) -> None:
    # Kueue leaves a pod waiting that asks for anything without a quota on the flavor of its card.
    (queued,) = EXPORTERS["kueue"].render(engines).files.values()
    (queue,) = (one for one in yaml.safe_load_all(queued) if one["kind"] == "ClusterQueue")
    (group,) = queue["spec"]["resourceGroups"]
    assert all([one["name"] for one in flavor["resources"]] == group["coveredResources"] for flavor in group["flavors"])
    for text in EXPORTERS["k8s"].render(engines).files.values():
        pod = next(yaml.safe_load_all(text))["spec"]["template"]["spec"]
        assert set(pod["containers"][0]["resources"]["requests"]) <= set(group["coveredResources"])


def test_ray_workers_are_the_servers_in_use(engines: Topology) -> None:
    # chat is on server 0, giant on 1 and 2
    (text,) = EXPORTERS["rayservice"].render(engines).files.values()
    (workers,) = yaml.safe_load(text)["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    assert (workers["replicas"], workers["rayStartParams"]["num-gpus"]) == (3, "8")


def test_the_bill_of_materials_is_the_purchase_list_in_both_forms(engines: Topology, engines_plan: Layout) -> None:
    files = EXPORTERS["bill-of-materials"].render(engines).files
    rows = list(csv.DictReader(files["bill-of-materials.csv"].splitlines()))
    assert sorted((row["offer"], row["term"], int(row["count"]), int(row["gpus"])) for row in rows) == sorted(
        (row.offer, row.term, row.count, row.count * row.gpus_per_server) for row in engines_plan.servers
    )
    lines = json.loads(files["bill-of-materials.json"])["lines"]
    assert [[str(line[column] or "") for column in rows[0]] for line in lines] == [list(row.values()) for row in rows]


def test_each_engine_gets_its_own_memory_fraction(engines: Topology) -> None:
    # vLLM 0.92 of the card; TensorRT-LLM 0.9 of what is free; SGLang (81,091 MiB − reserve) ÷ 81,091 MiB with
    # reserve = 512 + 8,192 · 1.5 + 256 · 2 + 2 GPUs · 128 = 13,568 MiB, at least 10,240 -> 0.833
    vllm, sglang, trtllm = (EXPORTERS[target].render(engines).files for target in ("vllm", "sglang", "trtllm"))
    assert yaml.safe_load(vllm["vllm-chat.yaml"])["gpu-memory-utilization"] == 0.92
    assert yaml.safe_load(sglang["sglang-fast.yaml"])["mem-fraction-static"] == pytest.approx(0.833)
    assert yaml.safe_load(trtllm["trtllm-deep.yaml"])["kv_cache_config"]["free_gpu_memory_fraction"] == 0.9
