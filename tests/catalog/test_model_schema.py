"""A model entry that cannot be computed says which field is at fault."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from catalog.schema import Model

ENTRY: dict[str, Any] = {
    "id": "me/mine",
    "family": "mine",
    "architecture": "LlamaForCausalLM",
    "model_type": "llama",
    "hidden_size": 64,
    "vocab_size": 1000,
    "max_context_tokens": 4096,
    "layers": "full/dense*2",
    "attention": {"heads": 4, "kv_heads": 2, "head_dim": 16},
    "mlp": {"intermediate_size": 128},
    "verification": "unverified",
    "sources": [{"text": "this test"}],
}
MAMBA2 = {"kind": "mamba2", "heads": 4, "head_dim": 16, "state_size": 8, "groups": 1, "conv_tokens": 4}
LATENT = {"heads": 4, "kv_lora_rank": 32, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8}
INDEXER = {"heads": 2, "head_dim": 128, "topk_tokens": 64, "cached_bytes_per_token": 132}


def test_a_complete_entry_is_accepted() -> None:
    model = Model.model_validate(ENTRY)
    assert (model.n_layers, model.heads, model.kv_heads, model.is_moe) == (2, 4, 2, False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layers": "ful/dense"}, "unknown mixer 'ful' in 'ful/dense'; known: chunked, csa"),
        ({"attention": None}, "attention: needed by the layers 'full' of `layers`"),
        ({"mlp": None}, "mlp: needed by the layers 'full' of `layers`"),
        ({"layers": "sliding/dense"}, "window_tokens: needed by the layers 'sliding'"),
        ({"layers": "full/moe"}, "moe: needed by the layers 'full'"),
        ({"layers": "mamba2"}, "recurrent: needed by the layers 'mamba2'"),
        ({"layers": "kda", "recurrent": MAMBA2}, "recurrent.kind: 'mamba2', but `layers` has 'kda'"),
        ({"layers": "dsa", "latent_attention": LATENT, "indexer": INDEXER}, "latent_attention.q_lora_rank: needed"),
        ({"attention": {"heads": 4, "kv_heads": 3, "head_dim": 16}}, "kv_heads: 3 does not divide heads: 4"),
        ({"moe": {"experts": 2, "experts_per_token": 3, "intermediate_size": 8}}, "experts_per_token: 3 of 2 experts"),
        ({"verification": "exact"}, "verification"),
        ({"sources": []}, "sources"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_an_entry_that_cannot_be_computed_names_the_field(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Model.model_validate({**ENTRY, **change})
    assert said in str(caught.value)
