"""Steps and prefills of one configuration, tabulated once by aiconfigurator-core and kept on disk for later runs.

Of that package only the stable facade `aiconfigurator_core.sdk` is used, and of it `EngineHandle`: one handle for each
model, card, format and degrees, never one for several. Plain dense models are described to it; of others it must carry
the configuration, as it would download what it does not.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module, metadata, resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from catalog.errors import InputError
from optimizer.disk_cache import DiskCache
from optimizer.serving_config import FloatArray

PACKAGE = "aiconfigurator-core"
INSTALL = "performance silicon needs an extra: pip install 'gpuplan[silicon]', or use performance calibrated"
BATCHES = np.array([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024], np.float64)
TOKENS = np.array([64, 256, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072], np.float64)
FORM = 1
"""Of what is kept here, which changes whenever what is made below does: others are made again."""
MOST_KEPT = 20_000
"""Files of about 2 KB."""
CACHE = DiskCache("silicon", MOST_KEPT)
LAST_HANDLES: dict[tuple[str, str], Any] = {}
"""The last of each system and backend, never asked again: while it lives, the package keeps what it read for it, and
the next one takes 30 ms instead of a second."""


class Shape(NamedTuple):
    """A dense model with attention to the whole context in every layer, by the keys of a Hugging Face configuration."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    tie_word_embeddings: bool

    @property
    def configuration(self) -> str:
        """As `config.json`; such models are all one kind to the package."""
        return json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama", **self._asdict()})


class Question(NamedTuple):
    """A configuration in the package's own words."""

    model: str
    shape: Shape | None
    """None = the package knows the model by its name."""
    system: str
    backend: str
    products: str
    """Mode of matrix products."""
    experts: str
    """Mode of those of experts."""
    cache: str | None
    """Mode of the KV cache; None = as it takes it for the checkpoint."""
    degrees: tuple[int, int, int, int]
    """tp, pp, dp, ep."""
    attention: str | None = None
    """Mode of prefill attention; None = as it takes it for the checkpoint."""

    @property
    def ways(self) -> tuple[Question, ...]:
        """Itself, and near ones that are tabulated where it is not.

        Engines compute latent attention in 16 bit where they lack 8-bit kernels, and 8-bit checkpoints of mixtures of
        experts are quantized in blocks more often than whole.
        """
        wide = self._replace(attention="bfloat16")
        if self.experts != "fp8":
            return self, wide
        blocks = self._replace(products="fp8_block", experts="fp8_block")
        return self, wide, blocks, blocks._replace(attention="bfloat16")

    @property
    def words(self) -> str:
        """For messages."""
        tp, pp, dp, ep = self.degrees
        form = f"{self.model} in {self.experts} on {self.system}"
        return f"{form} ({self.backend}, tp {tp}, pp {pp}, dp {dp}, ep {ep})"


@dataclass(frozen=True, slots=True)
class KernelTable:
    """Milliseconds; neither falls where a batch, a context or a prompt grows."""

    decode_ms: FloatArray  # [B, T] of a step of so many sequences of an attention rank, at that context
    prefill_ms: FloatArray  # [T] of one prompt


@dataclass(frozen=True, slots=True)
class NotTabulated:
    """There are no figures, and why: the end of a sentence that begins with "silicon tables"."""

    reason: str


def kernel_table(question: Question) -> KernelTable | NotTabulated:
    """What the package says of a configuration, from the disk if it was asked before; InputError without it."""
    key = json.dumps([FORM, silicon_version(), BATCHES.tolist(), TOKENS.tolist(), question])
    kept = CACHE.get(key)
    if kept is not None:
        return _read(kept)
    made = _made(question)
    CACHE.put(key, _written(made))
    return made


@lru_cache(maxsize=1)
def silicon_version() -> str:
    """Of the package; InputError where it is not installed."""
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        raise InputError(INSTALL) from None


def _read(text: str) -> KernelTable | NotTabulated:
    """What `_written` wrote, the cache having checked that it is whole."""
    kept = json.loads(text)
    if "reason" in kept:
        return NotTabulated(kept["reason"])
    return KernelTable(np.array(kept["decode_ms"]), np.array(kept["prefill_ms"]))


def _written(made: KernelTable | NotTabulated) -> str:
    if isinstance(made, NotTabulated):
        return json.dumps({"reason": made.reason})
    return json.dumps({"decode_ms": made.decode_ms.tolist(), "prefill_ms": made.prefill_ms.tolist()})


def _made(question: Question) -> KernelTable | NotTabulated:
    """As asked, or in the first way near it that there are figures for."""
    facade = _facade()
    if question.shape is None and not _carries(question.model):
        return NotTabulated(f"do not know model {question.model}")
    found = [_tabulated(facade, question)]
    for way in question.ways[1:]:
        if isinstance(found[-1], KernelTable):
            break
        found.append(_tabulated(facade, way))
    return found[-1] if isinstance(found[-1], KernelTable) else found[0]


def _tabulated(facade: Any, question: Question) -> KernelTable | NotTabulated:
    """Compiled and tabulated; the handle is used for nothing else."""
    tp, pp, dp, ep = question.degrees
    with _quiet(), _model_path(question) as path:
        try:
            handle = facade.EngineHandle.compile(
                path, question.system, question.backend, tp_size=tp, pp_size=pp, attention_dp_size=dp,
                moe_ep_size=ep, moe_tp_size=tp * dp // ep, gemm_quant_mode=question.products,
                moe_quant_mode=question.experts, kvcache_quant_mode=question.cache, fmha_quant_mode=question.attention,
            )  # fmt: skip
            LAST_HANDLES[question.system, question.backend] = handle
            decode_ms = [[handle.predict_decode_latency(int(b), int(t), 2) for t in TOKENS] for b in BATCHES]
            prefill_ms = [handle.predict_prefill_latency(1, int(t)) for t in TOKENS]
        except Exception as error:  # the facade raises errors of many kinds, its own and built-in ones
            reason = str(error).partition("\n")[0].partition(" at /")[0]
            return NotTabulated(f"have no figures for {question.words}: {reason}")
    if not all(np.isfinite(ms).all() and np.min(ms) > 0 for ms in (decode_ms, prefill_ms)):
        return NotTabulated(f"have no figures for {question.words}: some are no times")
    # Measured tables fall by a few percent here and there; the rest of the model rests on steps that do not.
    steady = np.maximum.accumulate(np.maximum.accumulate(np.array(decode_ms), axis=0), axis=1)
    return KernelTable(steady, np.maximum.accumulate(np.array(prefill_ms)))


def _facade() -> Any:
    try:
        return import_module("aiconfigurator_core.sdk")
    except ImportError:
        raise InputError(INSTALL) from None


@lru_cache(maxsize=1024)
def _carries(model: str) -> bool:
    """Whether the package brings the configuration of a model."""
    name = f"{model.replace('/', '--')}_config.json"
    return resources.files("aiconfigurator_core").joinpath("model_configs", name).is_file()


@contextmanager
def _model_path(question: Question) -> Iterator[str]:
    """What stands for the model: its name, or a folder with its configuration, new as the package keeps by path."""
    if question.shape is None:
        yield question.model
        return
    with tempfile.TemporaryDirectory(prefix="gpuplan-") as folder:
        (Path(folder) / "config.json").write_text(question.shape.configuration, encoding="utf-8")
        yield folder


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the package's notes on rows that it takes from elsewhere."""
    logger = logging.getLogger("aiconfigurator_core")
    before, logger.level = logger.level, logging.CRITICAL
    try:
        yield
    finally:
        logger.level = before
