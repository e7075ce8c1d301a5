"""One module an engine: what is left for the KV cache, by that engine's own start-up arithmetic."""

from optimizer.memory.engines.choice import engine_memory
from optimizer.memory.engines.llamacpp import Llamacpp
from optimizer.memory.engines.sglang import Sglang
from optimizer.memory.engines.trtllm import Trtllm
from optimizer.memory.engines.vllm import Vllm

__all__ = ["Llamacpp", "Sglang", "Trtllm", "Vllm", "engine_memory"]
