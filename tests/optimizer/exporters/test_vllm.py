"""The vLLM files start what the plan says, with options that vLLM has."""

from __future__ import annotations

import subprocess
from collections import Counter

import pytest
import yaml
from export_reading import VLLM_OPTIONS, meaning_of, options_of, starts
from hand_built import group, plan

from catalog import Catalog
from optimizer.exporters import EXPORTERS
from optimizer.layout import Layout
from optimizer.topology import Topology, build_topology


def files_of(topology: Topology) -> dict[str, str]:
    return dict(EXPORTERS["vllm"].render(topology).files)


def test_every_option_is_one_of_vllm(mixed: Topology) -> None:
    for name, text in files_of(mixed).items():
        if name.endswith(".yaml"):
            for option, value in yaml.safe_load(text).items():
                entry = VLLM_OPTIONS[f"--{option}"]
                assert not entry["choices"] or value in entry["choices"]
                assert (entry["nargs"] == 0) == (value is True)
    for _, _, words in starts(files_of(mixed)):
        options_of(words)


def test_the_files_mean_what_the_plan_says(mixed: Topology, mixed_plan: Layout) -> None:
    files = files_of(mixed)
    found: Counter[object] = Counter()
    for _, gpus, words in starts(files):
        options = options_of(words)
        settings = yaml.safe_load(files[str(options["config"])])
        rank, n_servers = int(options.get("node-rank") or 0), int(options.get("nnodes") or 1)
        if rank == 0:
            found[settings["served-model-name"], meaning_of(settings), len(gpus.split(",")) * n_servers] += 1
    planned: Counter[object] = Counter()
    for workload in mixed_plan.workloads:
        for one in workload.replica_groups:
            meaning = (one.tp, one.pp, one.dp, one.max_batch_size, one.max_model_len, one.kv_cache_dtype)
            planned[one.model, meaning, one.gpus_per_replica] += one.replicas
    assert found == planned


def test_no_gpu_of_a_server_is_given_to_two_processes(mixed: Topology) -> None:
    taken = [(script, gpu) for script, gpus, _ in starts(files_of(mixed)) for gpu in gpus.split(",")]
    assert len(taken) == len(set(taken)) == 16 + 1 + 2 + 2 + 4 + 2


def test_processes_of_a_server_listen_on_ports_of_their_own(mixed: Topology) -> None:
    ports = [(script, options_of(words)["port"]) for script, _, words in starts(files_of(mixed)) if "--port" in words]
    assert len(ports) == len(set(ports)) == 6


def test_a_replica_over_two_servers_has_one_head_and_one_headless_start(mixed: Topology) -> None:
    giant = [options_of(words) for _, _, words in starts(files_of(mixed)) if "vllm-giant.yaml" in words]
    assert [(one["nnodes"], one["node-rank"], "port" in one, "headless" in one) for one in giant] == [
        ("2", "0", True, False),
        ("2", "1", False, True),
    ]
    assert giant[0]["master-addr"] == giant[1]["master-addr"]
    assert giant[0]["master-port"] == giant[1]["master-port"]


def test_experts_are_spread_where_the_plan_spreads_them(mixed: Topology) -> None:
    files = files_of(mixed)
    assert yaml.safe_load(files["vllm-experts.yaml"])["enable-expert-parallel"] is True
    assert yaml.safe_load(files["vllm-experts.yaml"])["data-parallel-size"] == 2
    assert "enable-expert-parallel" not in yaml.safe_load(files["vllm-giant.yaml"])


def test_gpus_stand_in_the_order_of_vllms_ranks(catalog: Catalog) -> None:
    # Ranks count data parallel outermost, then pipeline, then tensor (vllm/distributed/parallel_state.py). Stage 0 has
    # GPUs 0 to 3, stage 1 has 4 to 7, and within a stage the first two are data parallel rank 0.
    layout = plan(catalog, {"a": [group([(0,)], tp=2, pp=2, dp=2)]}, [("h100-node", "rent", 1)])
    ((_, gpus, _),) = starts(files_of(build_topology(layout, catalog)))
    assert gpus == "0,1,4,5,2,3,6,7"


@pytest.mark.parametrize(
    ("model", "weight_dtype", "offer", "settings"),
    [
        ("Qwen/Qwen3-32B", "bf16", "h100-node", {"model": "Qwen/Qwen3-32B", "dtype": "bfloat16"}),
        ("Qwen/Qwen3-32B", "fp16", "h100-node", {"model": "Qwen/Qwen3-32B", "dtype": "float16"}),
        ("Qwen/Qwen3-32B", "fp8", "h100-node", {"model": "Qwen/Qwen3-32B", "quantization": "fp8_per_tensor"}),
        ("google/gemma-2-9b-it", "fp8-block", "h100-node", {"quantization": "fp8_per_block"}),
        # the catalog knows who publishes these
        ("Qwen/Qwen3-32B", "fp8-block", "h100-node", {"model": "Qwen/Qwen3-32B-FP8"}),
        ("Qwen/Qwen3-32B", "awq-int4", "h100-node", {"model": "Qwen/Qwen3-32B-AWQ", "dtype": "auto"}),
        ("Qwen/Qwen3-32B", "nvfp4", "h100-node", {"served-model-name": "Qwen/Qwen3-32B", "dtype": "auto"}),
        # published in block FP8: that checkpoint is what fp8 means
        ("deepseek-ai/DeepSeek-V3.1", "fp8", "h100-node", {"model": "deepseek-ai/DeepSeek-V3.1"}),
        ("openai/gpt-oss-120b", "mxfp4", "h100-node", {"model": "openai/gpt-oss-120b"}),
        ("deepseek-ai/DeepSeek-V3.1", "bf16", "h100-node", {"served-model-name": "deepseek-ai/DeepSeek-V3.1"}),
    ],
)
def test_weights_come_from_the_checkpoint_that_is_in_the_planned_format(
    model: str, weight_dtype: str, offer: str, settings: dict[str, str], catalog: Catalog
) -> None:
    layout = plan(
        catalog, {"a": [group([(0,)], offer=offer, model=model, weight_dtype=weight_dtype)]}, [(offer, "rent", 1)]
    )
    files = files_of(build_topology(layout, catalog))
    written = yaml.safe_load(files["vllm-a.yaml"])
    assert settings.items() <= written.items()
    assert ("quantization" in written) == ("quantization" in settings)
    unknown = "served-model-name" in settings
    assert ("model" in written) != unknown
    if unknown:
        assert f"No `model` here: set CHECKPOINT_A to a checkpoint of {model} in {weight_dtype}" in files["vllm-a.yaml"]
        assert f"${{CHECKPOINT_A:?set it to a checkpoint of {model} in {weight_dtype}}}" in files["vllm-h100-node-0.sh"]


def test_settings_that_memory_was_computed_with_are_said_aloud(mixed: Topology) -> None:
    settings = yaml.safe_load(files_of(mixed)["vllm-chat-0.yaml"])
    # vLLM's defaults on a card of 70 GiB or more, from the engine's rules in the catalog
    rules = mixed.catalog.engines["vllm"].at(None).memory
    assert settings["gpu-memory-utilization"] == rules.gpu_memory_utilization  # type: ignore[union-attr]
    assert settings["max-num-batched-tokens"] == 8192


def test_scripts_are_sound_shell(mixed: Topology) -> None:
    for name, text in files_of(mixed).items():
        if name.endswith(".sh"):
            done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
            assert (done.returncode, done.stderr) == (0, ""), name


def test_a_replica_that_vllm_cannot_start_over_servers_is_left_out_with_the_reason(catalog: Catalog) -> None:
    groups = {
        "chat": [group([(0,)])],
        "uneven": [group([(1, 2)], tp=2, pp=5)],
        "parallel": [group([(3, 4)], tp=4, pp=2, dp=2)],
    }
    export = EXPORTERS["vllm"].render(build_topology(plan(catalog, groups, [("h100-node", "rent", 5)]), catalog))
    assert export.left_out == (
        "uneven: vLLM wants equal shares, and pp 5 is not even on 2 servers",
        "parallel: dp 2 over 2 servers needs a start of its own for each rank",
    )
    assert not [name for name in export.files if "uneven" in name or "parallel" in name]


def test_the_repository_that_the_scenario_names_comes_first(catalog: Catalog) -> None:
    layout = plan(catalog, {"a": [group([(0,)], weight_dtype="awq-int4")]}, [("h100-node", "rent", 1)])
    own = {"Qwen/Qwen3-32B": {"checkpoints": {"awq-int4": "me/my-awq"}}}
    topology = build_topology(layout.model_copy(update={"inputs": {**layout.inputs, "models": own}}), catalog)
    assert yaml.safe_load(files_of(topology)["vllm-a.yaml"])["model"] == "me/my-awq"


def test_a_checkpoint_that_nobody_publishes_is_warned_of(catalog: Catalog) -> None:
    layout = plan(catalog, {"a": [group([(0,)], weight_dtype="nvfp4")]}, [("h100-node", "rent", 1)])
    (warning,) = EXPORTERS["vllm"].render(build_topology(layout, catalog)).warnings
    assert warning == (
        "a: no published checkpoint of Qwen/Qwen3-32B in nvfp4 is known; name one under `models: {Qwen/Qwen3-32B: "
        "{checkpoints: {nvfp4: OWNER/NAME}}}` in the scenario, or where files say so"
    )
