"""The one-line form of a model's layers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.schema.layers import LayerKind, expand_layers, parse_word, write_layers

WORDS = st.sampled_from(["full/dense", "sliding/dense", "mamba2", "moe", "dense:7168"])


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("full/dense*3", ("full/dense",) * 3),
        ("mla/dense mla/moe*2", ("mla/dense", "mla/moe", "mla/moe")),
        ("(sliding/dense*2 full/dense)*2 moe", ("sliding/dense", "sliding/dense", "full/dense") * 2 + ("moe",)),
        ("((mamba2 moe)*2 full)*2", ("mamba2", "moe", "mamba2", "moe", "full") * 2),
    ],
)
def test_a_pattern_expands_to_every_layer(pattern: str, words: tuple[str, ...]) -> None:
    assert expand_layers(pattern) == words


@given(st.lists(WORDS, min_size=1, max_size=40))
def test_what_is_written_expands_to_the_same_layers(words: list[str]) -> None:
    assert list(expand_layers(write_layers(words))) == words


def test_repetition_is_written_once() -> None:
    assert write_layers((["sliding/dense"] * 5 + ["full/dense"]) * 10 + ["sliding/dense"] * 2) == (
        "(sliding/dense*5 full/dense)*10 sliding/dense*2"
    )


def test_a_layer_may_lack_either_part() -> None:
    assert parse_word("mamba2") == LayerKind("mamba2", "")
    assert parse_word("moe") == LayerKind("", "moe")
    assert parse_word("full/dense:14336") == LayerKind("full", "dense", 14336)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("full/dense*3 ???", r"'\?\?\?' is not a word, run or group"),
        ("(full/dense", r"'\(' without '\)'"),
        ("full/dense)*2", r"'\)' without '\('"),
        ("", "no layers in"),
        ("(full/dense*100)*100", "more than 1000 layers"),
        ("full/dense*600 full/dense*600", "1200 layers in .*; expected 1 to 1000"),
    ],
)
def test_a_pattern_at_fault_is_quoted(pattern: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        expand_layers(pattern)


def test_an_unknown_feed_forward_part_is_named() -> None:
    with pytest.raises(ValueError, match="'full/sparse': a mixer is followed by one of dense, moe"):
        parse_word("full/sparse")
