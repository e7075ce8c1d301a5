"""Opt-in: exports read by their makers' own parsers and models, each where its package is installed (docs/exports.md).

What a maker's package warns about while it is imported is its own affair, so warnings are no errors here.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from export_reading import documents, starts

from optimizer.exporters import EXPORTERS, judge_files
from optimizer.files import write_files
from optimizer.topology import Topology

pytestmark = pytest.mark.filterwarnings("default")


def vllm_parser() -> Any:
    """The parser of `vllm serve`; its module moved in 0.33."""
    pytest.importorskip("vllm")
    try:
        from vllm.entrypoints.common.cli_args import make_arg_parser
    except ImportError:
        from vllm.entrypoints.openai.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    return make_arg_parser(FlexibleArgumentParser(prog="vllm serve"))


def read_by_vllm(words: list[str], folder: Path) -> Any:
    """What the parser of vLLM makes of words after `vllm serve`; a word that it does not know fails the test."""
    try:
        return vllm_parser().parse_args([str(folder / word) if word.endswith(".yaml") else word for word in words])
    except SystemExit:
        raise AssertionError(f"vllm serve refuses {words}") from None


def test_the_parser_of_vllm_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    vllm_parser()
    with pytest.raises(AssertionError, match="vllm serve refuses"):
        read_by_vllm(["--model", "a/b", "--max-sequences", "4"], tmp_path)


def test_vllm_reads_every_start(engines: Topology, mixed: Topology, tmp_path: Path) -> None:
    vllm_parser()
    for number, topology in enumerate((engines, mixed)):
        folder = tmp_path / str(number)
        folder.mkdir()
        files = EXPORTERS["vllm"].render(topology).files
        write_files(folder, files)
        for _, gpus, words in starts(files):
            said = [word if not word.startswith("${") else "node" for word in words[: words.index("&")]]
            read = read_by_vllm(said, folder)
            assert read.tensor_parallel_size * read.data_parallel_size * read.pipeline_parallel_size >= len(
                gpus.split(",")
            )
            assert read.max_model_len is not None
            assert read.max_num_seqs is not None


def test_vllm_reads_the_words_of_pods(engines: Topology, tmp_path: Path) -> None:
    vllm_parser()
    seen = 0
    for target in ("k8s", "lws", "compose"):
        for document in documents(EXPORTERS[target].render(engines).files):
            for words in arguments(document):
                if "--max-num-seqs" in words:
                    placed = ["0" if word.startswith("$(LWS_WORKER_INDEX") else word for word in words]
                    assert read_by_vllm(placed, tmp_path).max_num_seqs
                    seen += 1
    assert seen >= 4


def arguments(document: Any) -> list[list[str]]:
    """The `args` of containers and the `command` of Compose services, wherever they stand."""
    if isinstance(document, list):
        return [words for one in document for words in arguments(one)]
    if not isinstance(document, dict):
        return []
    own = document.get("args") or (document.get("command") if "deploy" in document else None)
    said = [[str(word) for word in own]] if isinstance(own, list) else []
    return said + [words for one in document.values() for words in arguments(one)]


def test_sglang_reads_every_start(engines: Topology, tmp_path: Path) -> None:
    pytest.importorskip("sglang")
    from sglang.srt.server_args import ServerArgs

    files = EXPORTERS["sglang"].render(engines).files
    write_files(tmp_path, files)
    parser = argparse.ArgumentParser(exit_on_error=False)
    ServerArgs.add_cli_args(parser)
    lines = [line for name, text in files.items() if name.endswith(".sh") for line in text.splitlines()]
    found = [line.partition(" &")[0] for line in lines if "sglang.launch_server" in line]
    assert found
    for line in found:
        words = shlex.split(line)
        after = words[words.index("sglang.launch_server") + 1 :]
        config = yaml.safe_load((tmp_path / after[after.index("--config") + 1]).read_text())
        pairs = [word for key, value in config.items() for word in switch(key, value)]
        rest = [word for word in after if word not in ("--config", after[after.index("--config") + 1])]
        read, unknown = parser.parse_known_args([*pairs, *rest])
        assert unknown == []
        assert read.tp_size == config["tensor-parallel-size"]
        assert read.max_running_requests == config["max-running-requests"]
        assert read.mem_fraction_static == config["mem-fraction-static"]


def switch(key: str, value: Any) -> list[str]:
    """A line of a configuration file as the words that it stands for."""
    return [f"--{key}"] if value is True else [f"--{key}", str(value)]


def test_ray_reads_the_application(engines: Topology) -> None:
    schema = pytest.importorskip("ray.serve.schema")
    (text,) = EXPORTERS["ray-serve"].render(engines).files.values()
    deploy = schema.ServeDeploySchema.model_validate(yaml.safe_load(text))
    (application,) = deploy.applications
    assert application.import_path == "ray.serve.llm:build_openai_app"
    (service, *_) = documents(EXPORTERS["rayservice"].render(engines).files)
    inner = schema.ServeDeploySchema.model_validate(yaml.safe_load(service["spec"]["serveConfigV2"]))
    assert inner.applications[0].args == application.args


def test_ray_llm_reads_every_configuration(engines: Topology) -> None:
    llm = pytest.importorskip("ray.serve.llm", exc_type=ImportError)
    (text,) = EXPORTERS["ray-serve"].render(engines).files.values()
    for config in yaml.safe_load(text)["applications"][0]["args"]["llm_configs"]:
        assert llm.LLMConfig(**config).engine_kwargs == config["engine_kwargs"]


def test_skypilot_reads_every_service(engines: Topology, mixed: Topology) -> None:
    pytest.importorskip("sky")
    # In a process of its own: importing SkyPilot starts threads and reads the home folder.
    program = (
        "import sys, yaml, sky; task = sky.Task.from_yaml_config(yaml.safe_load(sys.stdin)); "
        "(one,) = task.resources; print(task.service.min_replicas, one.accelerators)"
    )
    for topology in (engines, mixed):
        for name, text in EXPORTERS["skypilot"].render(topology).files.items():
            # Secrets are asked for on the command line; here they are given.
            given = text.replace("HF_TOKEN: null", "HF_TOKEN: none")
            done = subprocess.run(
                [sys.executable, "-c", program], input=given, text=True, capture_output=True, check=False
            )
            assert done.returncode == 0, f"{name}: {done.stderr[-2000:]}"
            said = yaml.safe_load(text)
            card, _, number = said["resources"]["accelerators"].partition(":")
            assert done.stdout.split(maxsplit=1) == [
                str(said["service"]["replicas"]), f"{{'{card}': {float(number or 1):g}}}\n"
            ]  # fmt: skip


@pytest.mark.parametrize("target", ["k8s", "lws", "kserve", "kueue", "dynamo", "rayservice"])
def test_kubernetes_validate_objects_to_nothing(target: str, mixed: Topology, tmp_path: Path) -> None:
    pytest.importorskip("kubernetes_validate")
    verdicts, _ = judge_files(write_files(tmp_path, EXPORTERS[target].render(mixed).files))
    assert [one for one in verdicts if one.problem] == []
