"""Memory of a replica as its engine would count it: weights, activations, buffers, and what the KV cache gets."""

from optimizer.memory.estimate import replica_memory
from optimizer.memory.one import estimate_memory
from optimizer.memory.reasons import REASONS, SENTENCES
from optimizer.memory.result import MemoryEstimate, ReplicaMemory
from optimizer.memory.table import HeldMemory, MemoryTable

__all__ = [
    "REASONS",
    "SENTENCES",
    "HeldMemory",
    "MemoryEstimate",
    "MemoryTable",
    "ReplicaMemory",
    "estimate_memory",
    "replica_memory",
]
