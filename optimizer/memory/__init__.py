"""Memory of a replica as its engine would count it: weights, activations, buffers, and what the KV cache gets."""

from optimizer.memory.estimate import Basis, FlagDefaults, flag_defaults, memory_basis, replica_memory
from optimizer.memory.extras import may_draft, with_draft
from optimizer.memory.formats import caches_no_larger, weights_no_larger
from optimizer.memory.one import estimate_memory
from optimizer.memory.reasons import REASONS, SENTENCES
from optimizer.memory.result import MemoryEstimate, ReplicaMemory
from optimizer.memory.table import HeldMemory, MemoryTable, holds_at_every_length

__all__ = [
    "REASONS",
    "SENTENCES",
    "Basis",
    "FlagDefaults",
    "HeldMemory",
    "MemoryEstimate",
    "MemoryTable",
    "ReplicaMemory",
    "caches_no_larger",
    "estimate_memory",
    "flag_defaults",
    "holds_at_every_length",
    "may_draft",
    "memory_basis",
    "replica_memory",
    "weights_no_larger",
    "with_draft",
]
