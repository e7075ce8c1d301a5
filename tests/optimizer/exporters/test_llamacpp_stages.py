"""llama.cpp over several cards: which layers --tensor-split gives to which device, and servers that lend by RPC."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
from bisect import bisect_right
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hand_built import group, plan
from meaning_reading import options, read
from mixed_cards import L4, T4, mixed, workload

from catalog import Catalog
from optimizer import load_scenario, optimize, verify
from optimizer.errors import InputError
from optimizer.exporters.engines.llamacpp import tensor_split
from optimizer.exporters.targets import EXPORTERS
from optimizer.topology import Topology, build_topology


def device_of_layers(proportions: list[float], n_layers: int) -> list[int]:
    """Device of each layer and of the output matrix behind them, as `load_tensors` of llama.cpp finds it.

    The proportions are added up and divided by their sum, all as floats; a layer goes to the first device whose share
    of the total is above its own position among n_layers + 1.
    """
    ends = np.cumsum(np.array(proportions, np.float32), dtype=np.float32)
    splits = (ends / ends[-1]).tolist()
    return [bisect_right(splits, float(np.float32(i) / np.float32(n_layers + 1))) for i in range(n_layers + 1)]


def planned(catalog: Catalog, inventory: dict[str, object], **settings: object) -> Topology:
    """One workload on llama.cpp whose replicas stand on several offers."""
    chat = workload(engines=["llamacpp"], max_num_batched_tokens=[512], max_context=4096, **settings)
    scenario = load_scenario(mixed({"chat": chat}, inventory), catalog)
    layout = optimize(scenario, catalog)
    assert verify(layout, scenario, catalog) == []
    return build_topology(layout, catalog)


def started(topology: Topology, server: str, program: str) -> list[str]:
    """Words behind a program in the script of a server."""
    text = EXPORTERS["llamacpp"].render(topology).files[f"llamacpp-{server}.sh"]
    (line,) = (line for line in text.splitlines() if program in line)
    words = shlex.split(line, comments=True)
    return words[words.index(program) + 1 :]


def test_every_split_into_layers_is_found_again() -> None:
    draw = Random(6)
    for _ in range(2000):
        n_layers = draw.randint(2, 200)
        ends = sorted(draw.sample(range(1, n_layers), min(draw.randint(0, 7), n_layers - 1)))
        layers = [b - a for a, b in zip([0, *ends], [*ends, n_layers], strict=True)]
        found = device_of_layers(list(map(float, tensor_split(layers))), n_layers)
        assert [found.count(device) for device in range(len(layers))] == [*layers[:-1], layers[-1] + 1]
        assert found == sorted(found)


def test_layers_alone_would_move_a_border() -> None:
    # 12 and 28 of 40: the output matrix is a 41st, so that the border is at 12.3, and 13 layers are on the first.
    assert device_of_layers([12.0, 28.0], 40).count(0) == 13
    assert device_of_layers([12.0, 29.0], 40).count(0) == 12


def test_unequal_stages_stand_where_planned(catalog: Catalog) -> None:
    topology = planned(catalog, {"old": T4, "new": L4})
    ((one,),) = (plan.replica_groups for plan in topology.layout.workloads)
    said = options(started(topology, "new-0", "llama-server"))
    found = device_of_layers(list(map(float, said["tensor-split"].split(","))), 40)
    spans = [(stage.layers[0], stage.layers[1]) for stage in one.stages or ()]
    assert [(found.index(device), 39 - found[39::-1].index(device)) for device in (0, 1)] == spans
    assert found[40] == 1  # the output matrix is on the last device, where its logits are wanted
    assert (said["split-mode"], said["device"]) == ("layer", "RPC0,CUDA0")
    assert said["rpc"] == "${ADDRESS_OLD_0:?set it to the address of server old-0}:29501"
    assert started(topology, "old-0", "rpc-server") == shlex.split("--host 0.0.0.0 --port 29501 --device CUDA0 &")


def test_servers_with_several_stages_lend_all_of_their_cards_at_one_port(catalog: Catalog) -> None:
    # Two T4 in one server and an L4: 8-bit weights of a 32B model, 32 GiB, need all three.
    two = T4 | {"gpus_per_server": 2}
    topology = planned(catalog, {"old": two, "new": L4}, model="Qwen/Qwen3-32B", weight_dtypes=["gguf-q8_0"], pp=[3])
    said = options(started(topology, "new-0", "llama-server"))
    assert said["device"] == "RPC0,RPC1,CUDA0"
    assert said["rpc"].count(":29501") == 1
    assert started(topology, "old-0", "rpc-server")[4:6] == ["--device", "CUDA0,CUDA1"]
    assert sum(map(int, said["tensor-split"].split(","))) == 65  # of 64 layers and the output matrix


def test_more_single_cards_than_other_engines_have_stages_hold_a_larger_model(catalog: Catalog) -> None:
    # 61 GiB in 16 bit: four T4 of 14.6 GiB and an L4 of 22, 80 GiB, are enough, and three T4 with it, 66, are not.
    inventory = {"old": T4 | {"gpus_per_server": 4}, "new": L4}
    topology = planned(catalog, inventory, model="Qwen/Qwen3-32B", slo={"ttft_p95": "120s", "tpot_p95": "1s"})
    said = options(started(topology, "new-0", "llama-server"))
    assert said["device"] == "RPC0,RPC1,RPC2,RPC3,CUDA0"
    ((one,),) = (plan.replica_groups for plan in topology.layout.workloads)
    found = device_of_layers(list(map(float, said["tensor-split"].split(","))), 64)
    spans = [(stage.layers[0], stage.layers[1]) for stage in one.stages or ()]
    assert [(found.index(device), 63 - found[63::-1].index(device)) for device in range(5)] == spans


def test_amd_cards_have_another_name(catalog: Catalog) -> None:
    # 61 GiB of weights: more than the 48 GB of the larger one.
    old, new = ({"gpu": gpu, "gpus_per_server": 1, "own": 1} for gpu in ("radeon-rx-7900-xtx", "radeon-pro-w7900"))
    topology = planned(catalog, {"old": old, "new": new}, model="Qwen/Qwen3-32B", pp=[2])
    assert options(started(topology, "new-0", "llama-server"))["device"] == "RPC0,ROCm0"
    assert started(topology, "old-0", "rpc-server")[5] == "ROCm0"


def test_equal_stages_are_split_as_planned_too_on_one_server_and_over_several(catalog: Catalog) -> None:
    # Without --tensor-split llama.cpp divides by free memory. 64 layers: 32 and 32, and 8 on each of 8 cards.
    layered = {"offer": "l40s-box", "engine": "llamacpp", "weight_dtype": "gguf-q8_0", "kv_cache_dtype": "q8_0"}
    groups = [group([(0,)], **layered, pp=2, max_batch_size=3), group([(1, 2)], **layered, pp=8, max_batch_size=5)]
    topology = build_topology(plan(catalog, {"chat": groups}, [("l40s-box", "rent", 3)]), catalog)
    files = EXPORTERS["llamacpp"].render(topology).files
    assert "--tensor-split 32,33" in files["llamacpp-l40s-box-0.sh"]
    said = options(started(topology, "l40s-box-2", "llama-server"))
    assert said["tensor-split"] == "8,8,8,8,8,8,8,9"
    assert said["device"] == ",".join([f"RPC{i}" for i in range(4)] + [f"CUDA{i}" for i in range(4)])
    kind = ("q8_0",)
    assert read("llamacpp", files) == {(1, 2, 3, 8192, *kind, 2): 1, (1, 8, 5, 8192, *kind, 8): 1}


def test_more_devices_than_llamacpp_knows_are_refused(catalog: Catalog) -> None:
    wide = group([(0, 1)], engine="llamacpp", weight_dtype="gguf-q8_0", kv_cache_dtype="q8_0", pp=16)
    topology = build_topology(plan(catalog, {"chat": [wide]}, [("h100-node", "rent", 2)]), catalog)
    with pytest.raises(InputError, match="proportions of 15 devices at most, and pp is 16"):
        EXPORTERS["llamacpp"].render(topology)


def test_what_must_be_known_is_said(catalog: Catalog) -> None:
    export = EXPORTERS["llamacpp"].render(planned(catalog, {"old": T4, "new": L4}))
    assert any("-DGGML_RPC=ON" in warning and "your own network" in warning for warning in export.warnings)
    assert not any("takes the cache of all slots" in warning for warning in export.warnings)
    glm = group([(0,)], engine="llamacpp", model="deepseek-ai/DeepSeek-V3", weight_dtype="gguf-q4_k_m",
                kv_cache_dtype="auto", pp=8)  # fmt: skip
    alone = build_topology(plan(catalog, {"glm": [glm]}, [("h100-node", "rent", 1)]), catalog)
    assert any("counts the 61 layers of the model" in one for one in EXPORTERS["llamacpp"].render(alone).warnings)


def test_the_server_that_runs_the_replica_waits_for_those_that_lend(catalog: Catalog, tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_text(f'#!/bin/sh\necho "$CUDA_VISIBLE_DEVICES $@" > {tmp_path}/started\n')
    program.chmod(0o755)
    text = EXPORTERS["llamacpp"].render(planned(catalog, {"old": T4, "new": L4})).files["llamacpp-new-0.sh"]
    with socket.create_server(("127.0.0.1", 0)) as lender:
        port = str(lender.getsockname()[1])
        script = tmp_path / "start.sh"
        script.write_text(text.replace("29501", port))
        known = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CHECKPOINT_CHAT": "owner/name"}
        run = ["bash", str(script)]
        without = subprocess.run(run, env=known, capture_output=True, text=True, timeout=30, check=False)
        assert without.returncode != 0
        assert "ADDRESS_OLD_0: set it to the address of server old-0" in without.stderr
        assert not (tmp_path / "started").exists()
        subprocess.run(run, env=known | {"ADDRESS_OLD_0": "127.0.0.1"}, timeout=30, check=True)
    said = (tmp_path / "started").read_text()
    assert re.match(r"0 -hf owner/name .*--rpc 127\.0\.0\.1:\d+ --device RPC0,CUDA0$", said)


@pytest.mark.parametrize("target", ["compose", "k8s", "lws", "kserve"])
def test_targets_without_its_rpc_server_name_the_one_that_has_it(target: str, catalog: Catalog) -> None:
    with pytest.raises(InputError, match="export to llamacpp"):
        EXPORTERS[target].render(planned(catalog, {"old": T4, "new": L4}))
