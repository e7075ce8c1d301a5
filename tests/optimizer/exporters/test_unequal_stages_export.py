"""Pipelines over several offers exported: vLLM is told the layers of each stage; some targets refuse by name."""

from __future__ import annotations

import re
import shlex

import pytest
import yaml
from mixed_cards import mixed, workload

from catalog import Catalog
from optimizer import load_scenario, optimize
from optimizer.errors import InputError
from optimizer.exporters.targets import EXPORTERS
from optimizer.topology import Topology, build_topology

REFUSING = ("sglang", "trtllm", "compose", "k8s", "lws", "kserve", "llm-d", "dynamo", "ray-serve",
            "rayservice", "skypilot")  # fmt: skip


def planned(catalog: Catalog, **settings: object) -> Topology:
    scenario = load_scenario(mixed({"chat": workload(tp=[1], pp=[2], **settings)}), catalog)
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
    settings, by_layer = export.files["vllm-chat.yaml"], r"by layer: fp16 0-\d+ \+ gptq-int4 \d+-39"
    assert "model" not in yaml.safe_load(settings)
    assert "CHECKPOINT_CHAT" in export.files["vllm-old-0.sh"]
    assert re.search(rf"# No `model` here: .*{by_layer}", settings)
    (warning,) = export.warnings
    assert re.search(rf"^chat: make a compressed-tensors checkpoint .*{by_layer} \(llm-compressor does\)", warning)


@pytest.mark.parametrize("target", REFUSING)
def test_targets_without_words_for_it_refuse_by_name(target: str, catalog: Catalog) -> None:
    with pytest.raises(InputError, match="chat: its pipeline stages differ and stand on old and new"):
        EXPORTERS[target].render(planned(catalog))


@pytest.mark.parametrize("target", ["topology", "kueue", "bill-of-materials"])
def test_what_only_lists_servers_is_exported_as_ever(target: str, catalog: Catalog) -> None:
    assert EXPORTERS[target].render(planned(catalog)).files
