"""Which arithmetic goes with which rules."""

from __future__ import annotations

from catalog.schema.engine import LlamacppRules, Rules, SglangRules, TrtllmRules, VllmRules
from optimizer.memory.engines.llamacpp import Llamacpp
from optimizer.memory.engines.sglang import Sglang
from optimizer.memory.engines.trtllm import Trtllm
from optimizer.memory.engines.vllm import Vllm
from optimizer.memory.job import EngineMemory


def engine_memory(rules: Rules) -> EngineMemory:
    """The engine's arithmetic under the rules of one of its versions."""
    match rules:
        case VllmRules():
            return Vllm(rules)
        case SglangRules():
            return Sglang(rules)
        case TrtllmRules():
            return Trtllm(rules)
        case LlamacppRules():
            return Llamacpp(rules)
