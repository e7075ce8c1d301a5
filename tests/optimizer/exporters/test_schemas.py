"""Custom resources, chart values and options are ones that their makers' own schemas and parsers know."""

from __future__ import annotations

import json
import subprocess

import jsonschema
import pytest
import yaml
from export_reading import CUSTOM, DATA, VLLM_OPTIONS, documents, errors
from meaning_reading import options

from optimizer.exporters import EXPORTERS
from optimizer.topology import Topology

SGLANG_OPTIONS = {
    option: entry["choices"]
    for entry in json.loads((DATA / "sglang-flags-0.5.23.json").read_text())["flags"]
    for option in entry["flags"]
}
KINDS = {
    "lws": {"LeaderWorkerSet", "Service"},
    "kserve": {"InferenceService", "LLMInferenceService"},
    "dynamo": {"DynamoGraphDeployment"},
    "rayservice": {"RayService"},
    "kueue": {"ResourceFlavor", "ClusterQueue", "LocalQueue"},
}


@pytest.mark.parametrize("target", KINDS)
def test_custom_resources_satisfy_their_definition(target: str, engines: Topology) -> None:
    found = documents(EXPORTERS[target].render(engines).files)
    assert {document["kind"] for document in found} == KINDS[target]
    for document in found:
        if document["kind"] in CUSTOM:
            assert document["apiVersion"] == CUSTOM[document["kind"]]["apiVersion"]
            assert errors(document["kind"], document) == []


def test_the_judge_refuses_a_field_that_does_not_exist(engines: Topology) -> None:
    (document, *_) = documents(EXPORTERS["lws"].render(engines).files)
    document["spec"]["leaderWorkerTemplate"]["workerTemplate"]["spec"]["nodeSelectors"] = {}
    assert errors("LeaderWorkerSet", document)


def test_values_satisfy_the_schema_of_the_chart(engines: Topology) -> None:
    schema = json.loads((DATA / "llm-d-modelservice-values.json").read_text()) | {"additionalProperties": False}
    judge = jsonschema.Draft202012Validator(schema)
    for document in documents(EXPORTERS["llm-d"].render(engines).files):
        assert [error.message for error in judge.iter_errors(document)] == []


def test_options_of_sglang_are_ones_that_it_has(engines: Topology) -> None:
    for name, text in EXPORTERS["sglang"].render(engines).files.items():
        if name.endswith(".yaml"):
            for option, value in yaml.safe_load(text).items():
                assert f"--{option}" in SGLANG_OPTIONS
                assert not (choices := SGLANG_OPTIONS[f"--{option}"]) or value in choices
        else:
            (line,) = (line for line in text.splitlines() if "sglang.launch_server" in line)
            assert {f"--{option}" for option in options(line.partition(" &")[0].split())} <= {*SGLANG_OPTIONS}


def test_options_of_ray_are_ones_of_vllm(engines: Topology) -> None:
    (text,) = EXPORTERS["ray-serve"].render(engines).files.values()
    for config in yaml.safe_load(text)["applications"][0]["args"]["llm_configs"]:
        assert {f"--{option.replace('_', '-')}" for option in config["engine_kwargs"]} <= {*VLLM_OPTIONS}


@pytest.mark.parametrize("target", ["vllm", "sglang", "trtllm", "llamacpp"])
def test_start_scripts_are_sound_shell(target: str, engines: Topology) -> None:
    for name, text in EXPORTERS[target].render(engines).files.items():
        if name.endswith(".sh"):
            done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
            assert (done.returncode, done.stderr) == (0, ""), name


@pytest.mark.parametrize("target", ["llm-d", "skypilot"])
def test_scripts_inside_yaml_are_sound_shell(target: str, engines: Topology) -> None:
    texts = []
    for text in EXPORTERS[target].render(engines).files.values():
        document = yaml.safe_load(text)
        container = document.get("decode", {}).get("containers", [{}])[0]
        texts += [document["run"]] if "run" in document else container["args"] if "command" in container else []
    assert texts
    for text in texts:
        done = subprocess.run(["sh", "-n"], input=text, text=True, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
