"""Layers are split so that the slowest stage, or all in turn, are as fast as can be: as trying every split finds."""

import itertools

import numpy as np
import pytest

from optimizer.candidates.pipelines.split import Beginnings, Spans, Splits


def splits_of(
    stage_ms: np.ndarray, kinds: np.ndarray, least: np.ndarray | None = None, in_turn: bool = False
) -> Splits:
    """Of pipelines with these kinds of stages [n, P]; one takes stage_ms[kind, variant, i, j] for layers i to j − 1."""
    n_kinds, n_variants, size, _ = stage_ms.shape
    distinct, content = np.unique(stage_ms.reshape(-1, size * size), axis=1, return_inverse=True)
    pipelines = Beginnings.of(kinds, np.zeros_like(kinds) if least is None else least)
    spans = Spans(content.reshape(size, size).T)
    return Splits(spans, distinct.reshape(n_kinds, n_variants, -1), pipelines, in_turn=in_turn)


def best(
    stage_ms: list[np.ndarray], least_after_first: int = 0, in_turn: bool = False
) -> tuple[float, tuple[int, ...]]:
    """Of the only variant: how long the slowest stage takes, or all in turn, and the layers up to the end of each.

    A stage takes stage_ms[…][i, j] for the layers i to j − 1.
    """
    kinds = np.arange(len(stage_ms))[None]
    found = splits_of(np.stack(stage_ms)[:, None], kinds, np.where(kinds == 0, least_after_first, 0), in_turn)
    slowest, none = float(found.ms[0, 0]), np.zeros(1, np.int64)
    return slowest, tuple(found.ends(none, none)[0].tolist()) if np.isfinite(slowest) else ()


def uniform(n_layers: int, ms_per_layer: float, most_layers: int) -> np.ndarray:
    """[L + 1, L + 1] of a card that holds so many layers, all alike."""
    first, beyond = np.indices((n_layers + 1, n_layers + 1))
    held = beyond - first
    return np.where((held > 0) & (held <= most_layers), held * ms_per_layer, np.inf)


def test_a_card_twice_as_fast_takes_twice_the_layers() -> None:
    # 12 layers over 2 ms and 1 ms a layer: 4 · 2 = 8 and 8 · 1 = 8; any other split makes one of them slower.
    assert best([uniform(12, 2.0, 12), uniform(12, 1.0, 12)]) == (8.0, (4, 12))


def test_stages_that_take_turns_give_the_faster_card_all_that_it_holds() -> None:
    # The fast one holds 9 of 12: 3 · 2 + 9 · 1 = 15 ms, and each layer moved to the slow one adds one.
    assert best([uniform(12, 2.0, 12), uniform(12, 1.0, 9)], in_turn=True) == (15.0, (3, 12))


def test_memory_bounds_what_the_faster_card_takes() -> None:
    # The fast one holds 6 of 12: the slow one takes the other 6, 6 · 2 = 12 ms.
    assert best([uniform(12, 2.0, 12), uniform(12, 1.0, 6)]) == (12.0, (6, 12))


def test_what_fits_nowhere_is_said_to_take_forever() -> None:
    assert best([uniform(12, 1.0, 5), uniform(12, 1.0, 6)]) == (np.inf, ())


def test_a_layer_that_takes_longer_is_weighed_where_it_stands() -> None:
    # Layers of 5, 1, 1, 1 ms on two like cards: 5 | 1 + 1 + 1.
    ms = np.array([5.0, 1.0, 1.0, 1.0])
    before = np.concatenate([[0.0], np.cumsum(ms)])
    stage = np.where(np.arange(5)[:, None] < np.arange(5)[None, :], before[None, :] - before[:, None], np.inf)
    assert best([stage, stage]) == (5.0, (1, 4))


def test_the_first_stages_hold_no_fewer_layers_than_asked() -> None:
    # Without it 4 and 8; with 7 at least in the first, 7 · 2 = 14 ms.
    assert best([uniform(12, 2.0, 12), uniform(12, 1.0, 12)], least_after_first=7) == (14.0, (7, 12))


@pytest.mark.parametrize("in_turn", [False, True])
@pytest.mark.parametrize("seed", range(60))
def test_it_finds_what_trying_every_split_finds(seed: int, in_turn: bool) -> None:
    rng = np.random.default_rng(seed)
    n_layers, n_stages = int(rng.integers(4, 11)), int(rng.integers(2, 5))
    stages = []
    for _ in range(n_stages):
        time = rng.uniform(1.0, 9.0, (n_layers + 1, n_layers + 1))
        time[rng.random(time.shape) < 0.3] = np.inf  # what does not fit
        stages.append(np.where(np.arange(n_layers + 1)[:, None] < np.arange(n_layers + 1)[None, :], time, np.inf))
    least = int(rng.integers(0, n_layers))
    together = sum if in_turn else max
    tried = {
        (*inner, n_layers): together(
            stage[i, j] for stage, i, j in zip(stages, (0, *inner), (*inner, n_layers), strict=True)
        )
        for inner in itertools.combinations(range(1, n_layers), n_stages - 1)
        if inner[0] >= least
    }
    fastest = min(tried.values(), default=np.inf)
    slowest, ends = best(stages, least, in_turn)
    assert slowest == pytest.approx(fastest)
    assert not np.isfinite(fastest) or tried[ends] == pytest.approx(fastest)


def test_variants_are_split_each_by_itself() -> None:
    # The same cards at two batches: in the second one the slow card is four times as slow, 12 = 2.4 + 9.6.
    slow = np.stack([uniform(12, 2.0, 12), uniform(12, 4.0, 12)])
    fast = np.stack([uniform(12, 1.0, 12), uniform(12, 1.0, 12)])
    found = splits_of(np.stack([slow, fast]), np.array([[0, 1]]))
    # 2 · 4 = 8 and 10 · 1; 3 · 4 would be 12
    assert found.ends(np.array([0, 0]), np.array([0, 1])).tolist() == [[4, 12], [2, 12]]


@pytest.mark.parametrize("in_turn", [False, True])
@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("n_stages", [2, 3, 4, 6])
def test_pipelines_split_together_are_split_as_each_alone(n_stages: int, alike: bool, in_turn: bool) -> None:
    # Thirty pipelines of five kinds of stages, many of which begin alike; `alike`: all layers take the same, so that
    # their number says it all, but where the first or the last is among them.
    rng = np.random.default_rng(n_stages)
    n_layers, n_kinds, n_variants = 9, 5, 3
    first, beyond = np.indices((n_layers + 1, n_layers + 1))
    time = rng.choice(np.arange(1.0, 7.0), (n_kinds, n_variants, n_layers + 1, n_layers + 1))  # with equals among them
    if alike:
        time = time[..., :1, :1] * (beyond - first) + 2.0 * (first == 0) + 3.0 * (beyond == n_layers)
    time[rng.random(time.shape) < (0.0 if alike else 0.2)] = np.inf
    time = np.where((beyond > first) & (beyond - first < n_layers - 1), time, np.inf)
    kinds = np.sort(rng.integers(0, n_kinds, (30, n_stages)), axis=1)
    least = np.where(rng.random(kinds.shape) < 0.2, 4, 0) * (np.arange(n_stages) < n_stages - 1)
    together = splits_of(time, kinds, least, in_turn)
    variants = np.arange(n_variants)
    for n in range(len(kinds)):
        alone = splits_of(time, kinds[n : n + 1], least[n : n + 1], in_turn)
        np.testing.assert_array_equal(together.ms[n], alone.ms[0])
        held = variants[np.isfinite(alone.ms[0])]
        np.testing.assert_array_equal(together.ends(np.full_like(held, n), held), alone.ends(np.zeros_like(held), held))
    assert np.isfinite(together.ms).any()
