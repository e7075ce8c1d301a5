"""The targets that a plan can be exported to."""

from __future__ import annotations

from optimizer.exporters import (
    compose,
    dynamo,
    k8s,
    kserve,
    kueue,
    llamacpp,
    llmd,
    lws,
    purchase,
    ray,
    sglang,
    skypilot,
    topology,
    trtllm,
    vllm,
)
from optimizer.exporters.base import Exporter

SCRIPT = "copy the files to each server and run its script there: `bash {target}-SERVER.sh`"
KUBECTL = "`kubectl apply -f {folder}`"

EXPORTERS: dict[str, Exporter] = {
    "topology": Exporter(
        "gpuplan's own YAML: servers, GPUs, replicas, stages, ranks, links",
        topology.render,
        "for your own tools; `gpuplan schema topology` describes it",
    ),
    "vllm": Exporter("vLLM: a configuration file a replica group, a start script a server", vllm.render, SCRIPT),
    "sglang": Exporter("SGLang: a configuration file a replica group, a start script a server", sglang.render, SCRIPT),
    "trtllm": Exporter(
        "TensorRT-LLM: a configuration file a replica group, a start script a server", trtllm.render, SCRIPT
    ),
    "llamacpp": Exporter("llama.cpp: a start script a server", llamacpp.render, SCRIPT),
    "compose": Exporter(
        "Docker Compose: a file a server, a service a replica, each on its own GPUs",
        compose.render,
        "on each server `docker compose -f compose-SERVER.yaml up -d`",
    ),
    "k8s": Exporter("Kubernetes: a Deployment and a Service a replica group", k8s.render, KUBECTL),
    "lws": Exporter(
        "LeaderWorkerSet: replicas that stretch over several servers", lws.render, f"{KUBECTL}, with LWS v0.7 or newer"
    ),
    "kserve": Exporter(
        "KServe: an InferenceService, or over several servers an LLMInferenceService",
        kserve.render,
        f"{KUBECTL}, with KServe v0.18 or newer (LLMInferenceService v1alpha2)",
    ),
    "llm-d": Exporter(
        "llm-d: values of the chart llm-d-modelservice, a file a replica group",
        llmd.render,
        "`helm install GROUP llm-d-modelservice/llm-d-modelservice -f {folder}/llm-d-GROUP.yaml`",
    ),
    "dynamo": Exporter(
        "NVIDIA Dynamo: a DynamoGraphDeployment a workload",
        dynamo.render,
        f"{KUBECTL}, with the operator of Dynamo 1.3 (nvidia.com/v1beta1)",
    ),
    "ray-serve": Exporter(
        "Ray Serve: one application, a configuration a replica group",
        ray.render_serve,
        "`serve deploy {folder}/ray-serve.yaml` on a Ray cluster of these servers",
    ),
    "rayservice": Exporter(
        "KubeRay: a RayService whose workers are the plan's servers",
        ray.render_service,
        f"{KUBECTL}, with KubeRay v1.4 or newer",
    ),
    "kueue": Exporter("Kueue: a quota of the plan's GPUs, a flavor a card", kueue.render, KUBECTL),
    "skypilot": Exporter(
        "SkyPilot: a service a replica group",
        skypilot.render,
        "`sky serve up -n GROUP {folder}/skypilot-GROUP.yaml --secret HF_TOKEN`",
    ),
    "bill-of-materials": Exporter(
        "what to buy, rent and use, as CSV and JSON", purchase.render, "open the CSV in a spreadsheet"
    ),
}
