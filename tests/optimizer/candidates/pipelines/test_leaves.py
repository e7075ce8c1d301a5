"""The formats of pipelines on sets of places: those that one by one would be listed, in that order."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from optimizer.candidates.pipelines.leaves import Leaves
from optimizer.candidates.pipelines.quality import Quality

QUALITY = Quality(weights=(1.0, 0.999, 0.99, 0.95), caches=(1.0, 0.98), by_layer=(0, 2, 3), least=0.975)


def one_by_one(places: tuple[int, ...], cache: int) -> Iterator[tuple[list[int], list[int]]]:
    """Places and formats of the stages."""
    for one in range(4):
        if QUALITY.enough(one, cache):
            yield list(places), [one] * len(places)
    distinct = sorted(set(places))
    for better, other in itertools.combinations(QUALITY.by_layer, 2):
        for ahead in (some for n in range(1, len(distinct)) for some in itertools.combinations(distinct, n)):
            if QUALITY.enough(better, cache):
                first = [place for place in places if place in ahead]
                rest = [place for place in places if place not in ahead]
                yield first + rest, [better] * len(first) + [other] * len(rest)


@pytest.mark.parametrize("cache", [0, 1])
@pytest.mark.parametrize("n_stages", [2, 3, 4])
def test_formats_listed_together_are_those_listed_one_by_one(n_stages: int, cache: int) -> None:
    sets = [(4,) * n_stages, *itertools.combinations_with_replacement(range(4), n_stages)]
    places = np.array(sets)
    leaves = Leaves.on(places, QUALITY, cache, 40)
    found = zip(
        leaves.of.tolist(),
        np.take_along_axis(places[leaves.of], leaves.order, axis=1).tolist(),
        leaves.weights.tolist(),
        strict=True,
    )
    listed = [(number, *stages) for number, one in enumerate(sets) for stages in one_by_one(one, cache)]
    assert list(found) == listed
    assert leaves.choice.tolist() == [w[0] if len(set(w)) == 1 else 4 for _, _, w in listed]


def test_the_better_format_holds_the_layers_that_the_quality_needs() -> None:
    # With 1.0 and 0.95 and 0.975 asked for, 20 of 40 layers; with 0.99 and 0.95, 25 of 40: 0.975 = 0.625 · 0.99 + ….
    leaves = Leaves.on(np.array([[0, 0, 1]]), QUALITY, 0, 40)
    least = {tuple(w): row for w, row in zip(leaves.weights.tolist(), leaves.least.tolist(), strict=True)}
    assert least[0, 0, 3] == [0, 20, 0]  # on place 0, that of the first two stages
    assert least[0, 3, 3] == [20, 0, 0]
    assert least[2, 2, 3] == [0, 25, 0]
    assert least[0, 0, 0] == [0, 0, 0]


def test_no_format_is_enough() -> None:
    poor = Quality(weights=(0.9,), caches=(1.0,), by_layer=(0,), least=0.97)
    assert len(Leaves.on(np.array([[0, 1]]), poor, 0, 40).of) == 0
