"""Reads exports back, the way the systems they are for would."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import yaml

DATA = Path(__file__).parents[2] / "data" / "exports"

VLLM_OPTIONS = {
    option: entry
    for entry in json.loads((DATA / "vllm-serve-flags-0.33.0.json").read_text())["flags"]
    for option in entry["flags"]
}
"""Every option of `vllm serve` 0.33.0."""
CUSTOM = json.loads((DATA / "custom-resources.json").read_text())
"""Custom resources of Kubernetes, by kind."""

Meaning = tuple[int, int, int, int, int, str]
"""tp, pp, dp, max_batch_size, max_model_len, KV type."""


def documents(files: Any, ending: str = ".yaml") -> list[dict[str, Any]]:
    """Every YAML document of an export, in order."""
    return [document for name, text in files.items() if name.endswith(ending) for document in yaml.safe_load_all(text)]


def options_of(words: list[str]) -> dict[str, str | None]:
    """`--name value` and `--name` -> value or None; an option that vLLM does not have fails the test."""
    found: dict[str, str | None] = {}
    for position, word in enumerate(words):
        if word.startswith("--"):
            assert word in VLLM_OPTIONS, f"vllm serve has no {word}"
            following = words[position + 1] if position + 1 < len(words) else "--"
            found[word[2:]] = None if following.startswith("--") else following
            choices = VLLM_OPTIONS[word]["choices"]
            assert not choices or found[word[2:]] in choices, f"{word} {found[word[2:]]}"
    return found


def meaning_of(options: dict[str, Any]) -> Meaning:
    """What a start with these options runs; vLLM counts sequences on each data-parallel rank."""
    dp = int(options.get("data-parallel-size", 1))
    return (
        int(options["tensor-parallel-size"]),
        int(options["pipeline-parallel-size"]),
        dp,
        int(options["max-num-seqs"]) * dp,
        int(options["max-model-len"]),
        str(options["kv-cache-dtype"]),
    )


def starts(files: Any) -> list[tuple[str, str, list[str]]]:
    """(script, GPUs, words) of every `vllm serve` in start scripts."""
    found = []
    for name, text in files.items():
        if name.endswith(".sh"):
            for line in text.splitlines():
                words = shlex.split(line, comments=True)
                if "vllm" in words:
                    gpus = words[0].removeprefix("CUDA_VISIBLE_DEVICES=")
                    found.append((name, gpus, words[words.index("serve") + 1 :]))
    return found


def strict(schema: Any) -> Any:
    """A custom resource's schema as JSON Schema that refuses unknown fields, as a strict API server does."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {
        key: {name: strict(one) for name, one in value.items()} if key == "properties" else strict(value)
        for key, value in schema.items()
    }
    if found.get("x-kubernetes-int-or-string"):
        found.pop("type", None)
        found["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    open_ended = "additionalProperties" in found or found.get("x-kubernetes-preserve-unknown-fields")
    if "properties" in found and not open_ended:
        found["additionalProperties"] = False
    return found


def errors(kind: str, document: dict[str, Any]) -> list[str]:
    schema = strict(CUSTOM[kind]["schema"])
    schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(document)]
