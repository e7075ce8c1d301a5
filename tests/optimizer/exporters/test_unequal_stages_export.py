"""Pipelines over several offers exported: vLLM is told the layers of each stage; some targets refuse by name."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace

import jsonschema
import pytest
import yaml
from export_reading import DATA, documents, errors, options_of
from mixed_cards import L4, T4, mixed, workload

from catalog import Catalog
from optimizer import load_scenario, optimize
from optimizer.errors import InputError
from optimizer.exporters import EXPORTERS, render_everything
from optimizer.topology import Topology, build_topology

REFUSING = ("k8s", "kserve", "llm-d", "dynamo", "ray-serve", "rayservice", "skypilot")


def planned(catalog: Catalog, inventory: dict[str, object] | None = None, **settings: object) -> Topology:
    chat = {"tp": [1], "pp": [2]} | settings
    scenario = load_scenario(mixed({"chat": workload(**chat)}, inventory), catalog)
    return build_topology(optimize(scenario, catalog), catalog)


def test_every_stage_is_a_node_that_knows_the_layers_of_all(catalog: Catalog) -> None:
    topology = planned(catalog)
    ((group,),) = (plan.replica_groups for plan in topology.layout.workloads)
    layers = [str(stage.layers[1] - stage.layers[0] + 1) for stage in group.stages or ()]
    files = EXPORTERS["vllm"].render(topology).files
    assert sorted(files) == ["vllm-chat.yaml", "vllm-new-0.sh", "vllm-old-0.sh"]
    for rank, stage in enumerate(group.stages or ()):
        (line,) = re.findall(r"^VLLM.*(?= &)", files[f"vllm-{stage.offer}-0.sh"], re.MULTILINE)
        words = shlex.split(line)
        assert words[0] == f"VLLM_PP_LAYER_PARTITION={','.join(layers)}"
        assert words[words.index("--nnodes") + 1] == "2"
        assert words[words.index("--node-rank") + 1] == str(rank)
        assert ("--headless" in words) == (rank > 0)
        assert "${ADDRESS_OLD_0" in words[words.index("--master-addr") + 1]
    settings = yaml.safe_load(files["vllm-chat.yaml"])
    assert settings["pipeline-parallel-size"] == 2
    assert settings["tensor-parallel-size"] == 1
    assert settings["dtype"] == "float16"  # a T4 has no bf16, and all stages compute alike


def test_a_checkpoint_with_formats_by_layer_must_be_made(catalog: Catalog) -> None:
    export = EXPORTERS["vllm"].render(planned(catalog, weight_dtypes=["fp16", "gptq-int4"], min_quality="99%"))
    settings, by_layer = export.files["vllm-chat.yaml"], r"with fp16 in layers 0-\d+, gptq-int4 in layers \d+-39"
    assert "model" not in yaml.safe_load(settings)
    assert re.search(rf"CHECKPOINT_CHAT:\?set it to a .*{by_layer}}}", export.files["vllm-old-0.sh"])
    assert re.search(r"# chat on (old and new|new and old): replicas 1, GPUs of each 2", settings)
    assert re.search(rf"# No `model` here: .*{by_layer}", settings)
    (warning,) = export.warnings
    assert re.search(rf"^chat: make a compressed-tensors checkpoint .*{by_layer} \(llm-compressor does\)", warning)


def layers_of(topology: Topology) -> str:
    """Of each stage, as vLLM is told."""
    ((group,),) = (plan.replica_groups for plan in topology.layout.workloads)
    return ",".join(str(stage.layers[1] - stage.layers[0] + 1) for stage in group.stages or ())


def test_compose_starts_each_stage_on_its_server(catalog: Catalog) -> None:
    topology = planned(catalog)
    judge = jsonschema.Draft7Validator(json.loads((DATA / "compose-spec.json").read_text()))
    for rank, server in enumerate(("old", "new")):
        document = yaml.safe_load(EXPORTERS["compose"].render(topology).files[f"compose-{server}-0.yaml"])
        assert [error.message for error in judge.iter_errors(document)] == []
        service = document["services"][f"chat-0-{rank}"]
        assert service["environment"]["VLLM_PP_LAYER_PARTITION"] == layers_of(topology)
        said = options_of(service["command"])
        assert (said["nnodes"], said["node-rank"]) == ("2", str(rank))
        assert "ADDRESS_OLD_0" in str(said["master-addr"])
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device["device_ids"] == ["0"]
        assert service["network_mode"] == "host"  # so that the others reach it
        assert "ports" not in service
        assert ("healthcheck" in service, "headless" in said) == (rank == 0, rank > 0)


def test_a_leader_and_workers_on_cards_of_their_own(catalog: Catalog) -> None:
    topology = planned(catalog)
    workers, service = documents(EXPORTERS["lws"].render(topology).files)
    assert errors("LeaderWorkerSet", workers) == []
    assert service["kind"] == "Service"
    template = workers["spec"]["leaderWorkerTemplate"]
    assert template["size"] == 2
    for part, product in (("leaderTemplate", "Tesla-T4"), ("workerTemplate", "NVIDIA-L4")):
        pod = template[part]["spec"]
        assert pod["nodeSelector"] == {"nvidia.com/gpu.product": product}
        (container,) = pod["containers"]
        env = {variable["name"]: variable.get("value") for variable in container["env"]}
        assert env["VLLM_PP_LAYER_PARTITION"] == layers_of(topology)
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert options_of(container["args"])["nnodes"] == "2"


def test_nodes_that_nobody_labels_are_labelled_by_offer(catalog: Catalog) -> None:
    # GPU feature discovery has no name for GB200 in the catalog: both offers then need a label of their own.
    topology = planned(catalog)
    cards = {name: gpu for name, gpu in topology.catalog.gpus.items() if name in ("t4", "l4")}
    bare = {
        name: gpu.model_copy(update={"called": gpu.called.model_copy(update={"kubernetes": None})})
        for name, gpu in cards.items()
    }
    unlabelled = replace(topology, catalog=replace(topology.catalog, gpus=bare))
    (text,) = EXPORTERS["lws"].render(unlabelled).files.values()
    assert "gpuplan/offer=old, for each server of old; kubectl label node NODE gpuplan/offer=new" in text
    template = next(yaml.safe_load_all(text))["spec"]["leaderWorkerTemplate"]
    assert template["workerTemplate"]["spec"]["nodeSelector"] == {"gpuplan/offer": "new"}


def test_workers_on_several_cards_have_no_template_in_a_leader_worker_set(catalog: Catalog) -> None:
    # Two T4 and an L4, a stage each: the first T4 leads, and the other two parts differ.
    old = T4 | {"gpus_per_server": 2}
    topology = planned(catalog, {"old": old, "new": L4}, model="Qwen/Qwen3-32B", weight_dtypes=["int8-w8a16"], pp=[3])
    with pytest.raises(InputError, match=r"stand on old and new; export to vllm or compose$"):
        EXPORTERS["lws"].render(topology)
    assert len(EXPORTERS["compose"].render(topology).files) == 2


@pytest.mark.parametrize("target", REFUSING)
def test_targets_without_words_for_it_name_those_that_have_them(target: str, catalog: Catalog) -> None:
    expected = "chat: its pipeline stages differ and stand on old and new; export to vllm, compose or lws"
    with pytest.raises(InputError, match=expected):
        EXPORTERS[target].render(planned(catalog))


def test_what_several_targets_leave_out_for_one_reason_is_said_once(catalog: Catalog) -> None:
    export = render_everything(planned(catalog))
    (line,) = export.left_out
    assert line == (
        "k8s, kserve, llm-d, dynamo, ray-serve, rayservice, skypilot: chat: its pipeline stages differ and stand on "
        "old and new; export to vllm, compose or lws"
    )
    assert "- `k8s`, `kserve`, `llm-d`" in export.files["README.md"]


@pytest.mark.parametrize("target", ["topology", "kueue", "bill-of-materials"])
def test_what_only_lists_servers_is_exported_as_ever(target: str, catalog: Catalog) -> None:
    assert EXPORTERS[target].render(planned(catalog)).files
