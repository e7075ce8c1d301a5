"""A package that stands in for aiconfigurator-core: found like it, with the two calls of its facade that are used."""

from __future__ import annotations

from pathlib import Path

from optimizer.performance import kernel_tables, silicon

VERSION = "0.12.9"
MODELS = ("Qwen/Qwen3-30B-A3B",)
"""That it carries; others are described to it."""
FACADE = '''
import json
import pathlib

BY_LAYERS = {32: "Llama-3.1-8B", 36: "Qwen3-8B", 40: "Qwen3-14B", 64: "Qwen3-32B"}


class EngineHandle:
    """A step takes 10 ms and 0.01 for each sequence and 1,000 tokens of context, a prefill 4 ms and 0.05 a token.

    Models of 32B take twice as long. There is nothing of 14B, of experts in fp8 as a whole, and of fp8 for Llama's
    attention; and a batch of 8 is measured a little faster than one of 4.
    """

    compiled = []

    @classmethod
    def compile(cls, path, system, backend, **settings):
        file = pathlib.Path(path) / "config.json"
        model = BY_LAYERS[json.loads(file.read_text())["num_hidden_layers"]] if file.exists() else path
        cls.compiled.append((model, system, backend, settings["gemm_quant_mode"], settings["fmha_quant_mode"]))
        if "14B" in model:
            raise KeyError("no rows for this model")
        if "A3B" in model and settings["moe_quant_mode"] == "fp8":
            raise ValueError("no experts at /somewhere/on/disk")
        if "Llama" in model and settings["fmha_quant_mode"] is None:
            raise ValueError("no attention")
        made = cls()
        made.slower = (2.0 if "32B" in model else 1.0) / settings["tp_size"]
        return made

    def predict_decode_latency(self, batch, context, outputs):
        return self.slower * (10.0 + 0.01 * batch * context / 1000 - (0.02 * context / 1000 + 1.0) * (batch == 8))

    def predict_prefill_latency(self, batch, tokens):
        return self.slower * (4.0 + 0.05 * batch * tokens)
'''


def install(folder: Path) -> None:
    """Put it where a folder on the path finds it."""
    package, facts = folder / "aiconfigurator_core", folder / f"aiconfigurator_core-{VERSION}.dist-info"
    (package / "model_configs").mkdir(parents=True)
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: aiconfigurator-core\nVersion: {VERSION}\n")
    (package / "__init__.py").touch()
    (package / "sdk.py").write_text(FACADE)
    for model in MODELS:
        (package / "model_configs" / f"{model.replace('/', '--')}_config.json").write_text("{}")


def forget() -> None:
    """All that is kept in memory, as in a new process."""
    silicon._known.cache_clear()
    kernel_tables.silicon_version.cache_clear()
    kernel_tables._carries.cache_clear()
    kernel_tables.LAST_HANDLES.clear()
