"""Why a configuration does not run, as short keys for counting and as sentences for people."""

from __future__ import annotations

from collections.abc import Mapping

SENTENCES: Mapping[str, str] = {
    "": "runs",
    "format": "the engine does not support this weight format on this card",
    "kv_format": "the engine does not support this KV cache type on this card",
    "layers": "there are fewer layers than pipeline stages",
    "heads": "attention heads cannot be divided evenly among the tensor-parallel ranks",
    "vocabulary": "the vocabulary is not divisible by the tensor-parallel degree",
    "width": "matrices are not divisible by the tensor-parallel degree",
    "experts": "experts cannot be divided evenly among the ranks",
    "alignment": "a rank's share of a quantized matrix breaks up the format's scale groups",
    "adapters": "the engine keeps no adapters on experts that are spread over ranks",
    "context_limit": "max_model_len is beyond the model's maximum",
    "utilization": "less memory is free at start than the engine is told to use",
    "weights": "the weights alone exceed the memory",
    "memory": "nothing is left for the KV cache after weights, activations and buffers",
    "context": "the KV cache does not hold one request of max_model_len",
    "slots": "the cache of all slots, which is taken when the engine starts, does not fit",
    "state": "the pool has fewer blocks for recurrent states than max_num_seqs",
    "start_up": "memory runs out after the KV cache is sized (sampler warm-up, CUDA graphs)",
    "margin": "it fits, but not with the margin of error of the prediction",
    "step": "max_num_batched_tokens is less than max_num_seqs: a step must hold a token of every sequence",
    "reserve": "the fraction of memory asked for leaves less free than start-up takes and a reserve",
}
"""Key -> what it means; earlier ones are reported before later ones."""

REASONS: tuple[str, ...] = tuple(SENTENCES)
INDEX: Mapping[str, int] = {key: index for index, key in enumerate(REASONS)}
