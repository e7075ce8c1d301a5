"""Reads what each target starts: parallel degrees, batch, context, KV type, replicas and GPUs of each."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

NAMES = {
    "tp": ("tensor-parallel-size", "tp_size", "tensor_parallel_size"),
    "pp": ("pipeline-parallel-size", "pp_size", "pipeline_parallel_size"),
    "batch": ("max-num-seqs", "max-running-requests", "max_batch_size", "max_num_seqs", "parallel"),
    "context": ("max-model-len", "context-length", "max_seq_len", "max_model_len"),
    "kv": ("kv-cache-dtype", "kv_cache_dtype", "cache-type-k"),
}
"""Every engine's word for the same setting."""
KV = {"fp8_e4m3": "fp8", "f16": "auto"}

Started = tuple[int, int, int, int, str, int]
"""tp, pp, batch, context, KV type; GPUs of a replica."""


def options(words: list[str]) -> dict[str, str]:
    """`--name value` -> value; a switch maps to an empty text."""
    pairs = zip(words, [*words[1:], "--"], strict=True)
    return {word[2:]: "" if after.startswith("--") else after for word, after in pairs if word.startswith("--")}


def started(said: Mapping[str, Any], gpus: int) -> Started:
    """What these options run on so many GPUs."""
    found = {what: next((said[name] for name in names if name in said), None) for what, names in NAMES.items()}
    if "ctx-size" in said:  # llama.cpp shares one context among its slots
        found["context"] = int(said["ctx-size"]) // int(said["parallel"])
        found["pp"] = len(said.get("tensor-split", "1").split(","))
    if isinstance(said.get("kv_cache_config"), Mapping):
        found["kv"] = said["kv_cache_config"]["dtype"]
    kv = str(found["kv"])
    return (
        int(found["tp"] or 1),
        int(found["pp"] or 1),
        int(str(found["batch"])),
        int(str(found["context"])),
        KV.get(kv, kv),
        gpus,
    )


def gpus_of(container: Mapping[str, Any]) -> int:
    """GPUs that a container asks for, whoever made them."""
    limits = container["resources"]["limits"]
    return int(limits.get("nvidia.com/gpu") or limits.get("amd.com/gpu") or 0)


def said_by(container: Mapping[str, Any]) -> dict[str, str]:
    """Options in a container's words, a script among them, or in vLLM's variable for more."""
    words = [word for text in container.get("args", ()) for word in (shlex.split(text) if " " in text else [text])]
    for variable in container.get("env", ()):
        if variable["name"] == "VLLM_ADDITIONAL_ARGS":
            words += shlex.split(variable["value"])
    return options(words)


def read(target: str, files: Mapping[str, str]) -> Counter[Started]:
    """Replicas by what they run."""
    found: Counter[Started] = Counter()
    for one, replicas in READERS[target](files):
        found[one] += replicas
    return found


def _documents(files: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for name, text in files.items():
        if name.endswith(".yaml"):
            yield from yaml.safe_load_all(text)


def _scripts(files: Mapping[str, str]) -> Iterator[tuple[Started, int]]:
    for name, text in files.items():
        for line in text.splitlines() if name.endswith(".sh") else ():
            if "CUDA_VISIBLE_DEVICES=" not in line or "--node-rank 1" in line or "rpc-server" in line:
                continue
            visible = [word.partition("=")[2] for word in line.split() if word.startswith("CUDA_VISIBLE_DEVICES=")]
            gpus = sum(len(one.split(",")) for one in visible)
            said: dict[str, Any] = options(shlex.split(line, comments=True))
            said |= yaml.safe_load(files[said["config"]]) if "config" in said else {}
            gpus = len(said["device"].split(",")) if "device" in said else gpus  # of llama.cpp, those of others too
            yield started(said, gpus * int(said.get("nnodes", 1))), 1


def _compose(files: Mapping[str, str]) -> Iterator[tuple[Started, int]]:
    for document in _documents(files):
        for service in document["services"].values():
            devices = service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices")
            gpus = len(devices[0]["device_ids"]) if devices else len(service["devices"])
            yield started(options(service["command"]), gpus), 1


def _k8s(files: Mapping[str, str]) -> Iterator[tuple[Started, int]]:
    for document in _documents(files):
        if document["kind"] == "Deployment":
            (container,) = document["spec"]["template"]["spec"]["containers"]
            yield started(said_by(container), gpus_of(container)), document["spec"]["replicas"]


def _lws(files: Mapping[str, str]) -> Iterator[tuple[Started, int]]:
    for document in _documents(files):
        if document["kind"] == "LeaderWorkerSet":
            group = document["spec"]["leaderWorkerTemplate"]
            (leader,), (worker,) = (group[part]["spec"]["containers"] for part in ("leaderTemplate", "workerTemplate"))
            gpus = gpus_of(leader) + (group["size"] - 1) * gpus_of(worker)
            assert started(said_by(leader), gpus) == started(said_by(worker), gpus)
            yield started(said_by(leader), gpus), document["spec"]["replicas"]


def _kserve(files: Mapping[str, str]) -> Iterator[tuple[Started, int]]:
    for document in _documents(files):
        spec = document["spec"]
        if document["kind"] == "InferenceService":
            predictor = spec["predictor"]
            (container,) = predictor["containers"]
            assert predictor["minReplicas"] == predictor["maxReplicas"]
            yield started(said_by(container), gpus_of(container)), predictor["minReplicas"]
        else:
            (leader,), (worker,) = spec["template"]["containers"], spec["worker"]["containers"]
            parallel = spec["parallelism"]
            degrees = {"tp_size": parallel["tensor"], "pp_size": parallel["pipeline"]}
            gpus = gpus_of(leader) + (parallel["pipeline"] - 1) * gpus_of(worker)
            yield started({**said_by(leader), **degrees}, gpus), spec["replicas"]


def _llmd(files: Mapping[str, str]) -> Iterator[tuple[Started, int]]:
    for document in _documents(files):
        decode = document["decode"]
        parallel = decode["parallelism"]
        assert document["multinode"] == (parallel["workers"] > 1)
        said = {"tp_size": parallel["tensor"], **said_by(decode["containers"][0])}
        yield started(said, parallel["tensor"] * parallel["workers"] * parallel["dataLocal"]), decode["replicas"]


def _dynamo(files: Mapping[str, str]) -> Iterator[tuple[Started, int]]:
    for document in _documents(files):
        for component in document["spec"]["components"]:
            if component["type"] == "worker":
                (container,) = component["podTemplate"]["spec"]["containers"]
                gpus = gpus_of(container) * component.get("multinode", {}).get("nodeCount", 1)
                yield started(said_by(container), gpus), component["replicas"]


def _ray(files: Mapping[str, str]) -> Iterator[tuple[Started, int]]:
    for document in _documents(files):
        served = yaml.safe_load(document["spec"]["serveConfigV2"]) if "spec" in document else document
        for config in served["applications"][0]["args"]["llm_configs"]:
            said = config["engine_kwargs"]
            gpus = said["tensor_parallel_size"] * said["pipeline_parallel_size"]
            yield started(said, gpus), config["deployment_config"]["num_replicas"]


def _skypilot(files: Mapping[str, str]) -> Iterator[tuple[Started, int]]:
    for document in _documents({f"{name}.yaml": text for name, text in files.items()}):
        said = options(shlex.split(document["run"].replace("\\\n", " ")))
        _, _, gpus = document["resources"]["accelerators"].partition(":")
        yield started(said, int(gpus)), document["service"]["replicas"]


READERS = {
    "vllm": _scripts,
    "sglang": _scripts,
    "trtllm": _scripts,
    "llamacpp": _scripts,
    "compose": _compose,
    "k8s": _k8s,
    "lws": _lws,
    "kserve": _kserve,
    "llm-d": _llmd,
    "dynamo": _dynamo,
    "ray-serve": _ray,
    "rayservice": _ray,
    "skypilot": _skypilot,
}
