"""Formats by layer are named alike however the layers are cut into stages."""

from optimizer.scenario.pipelines import formats_by_layer


def test_neighbours_in_one_format_are_one_span() -> None:
    cut_once = [("int8", 0, 19), ("int4", 20, 39)]
    cut_twice = [("int8", 0, 9), ("int8", 10, 19), ("int4", 20, 29), ("int4", 30, 39)]
    assert formats_by_layer(cut_once) == formats_by_layer(cut_twice) == "int8 0-19 + int4 20-39"


def test_a_format_that_comes_back_is_a_span_of_its_own() -> None:
    assert (
        formats_by_layer([("int8", 0, 9), ("int4", 10, 19), ("int8", 20, 39)]) == "int8 0-9 + int4 10-19 + int8 20-39"
    )
