"""Which candidates are dropped as dominated."""

import numpy as np

from optimizer.candidates.prune import Rows, beaten_by, by_choice, packed, undominated, unpacked

NEVER = np.inf


def keep(
    rows: list[tuple[float, ...]], *, mix: bool = False, holds: list[list[int]] | None = None, alone: float = NEVER
) -> list[bool]:
    """rows: (card, choice, gpus, rates…); `alone`: replicas of the first candidate that carry everything."""
    card, choice, gpus = (np.array([row[i] for row in rows], np.int64) for i in range(3))
    rates = np.array([row[3:] for row in rows], float)
    places = packed(np.ones((len(rows), 1), bool) if holds is None else np.array(holds, bool))
    needed = np.array([alone] + [NEVER] * (len(rows) - 1))
    return undominated(Rows(card, choice, gpus, places, rates, needed), mix=mix).tolist()


def test_two_small_replicas_replace_a_large_one_that_is_no_faster() -> None:
    # tp1 at 3/s twice is 6/s in the two GPUs where tp2 gives 5.5/s
    assert keep([(0, 0, 1, 3.0), (0, 0, 2, 5.5)]) == [True, False]


def test_a_large_replica_that_is_faster_than_its_parts_stays() -> None:
    assert keep([(0, 0, 1, 3.0), (0, 0, 2, 6.5)]) == [True, True]


def test_a_large_replica_goes_when_the_small_ones_in_its_place_carry_everything() -> None:
    # tp2 is faster than two tp1, but two tp1 carry all there is; two and a half would not.
    assert keep([(0, 0, 1, 3.0), (0, 0, 2, 6.5)], alone=2.0) == [True, False]
    assert keep([(0, 0, 1, 3.0), (0, 0, 2, 6.5)], alone=2.5) == [True, True]


def test_every_class_must_be_served_as_fast() -> None:
    assert keep([(0, 0, 1, 3.0, 0.0), (0, 0, 2, 5.0, 1.0)]) == [True, True]


def test_of_equal_candidates_the_first_stays() -> None:
    assert keep([(0, 0, 1, 3.0), (0, 0, 1, 3.0)]) == [True, False]


def test_other_cards_do_not_replace_each_other() -> None:
    assert keep([(0, 0, 1, 3.0), (1, 0, 1, 9.0)]) == [True, True]


def test_a_replacement_needs_a_place_wherever_the_other_has_one() -> None:
    # The pipeline of 16 GPUs spans servers of 4, where a tensor-parallel group of 8 has no place.
    assert keep([(0, 0, 8, 5.0), (0, 0, 16, 9.0)], holds=[[1, 0], [1, 1]]) == [True, True]


def test_a_format_goes_when_another_replaces_all_of_its_candidates() -> None:
    slow, fast = 0, 1
    assert keep([(0, slow, 1, 3.0), (1, slow, 1, 4.0), (0, fast, 1, 3.5), (1, fast, 1, 4.0)]) == [
        False,
        False,
        True,
        True,
    ]


def test_a_format_stays_when_it_is_the_only_one_on_some_card() -> None:
    # fp8 is faster where it runs, but bf16 also runs on card 1: a plan on both cards needs bf16.
    bf16, fp8 = 0, 1
    assert keep([(0, bf16, 1, 3.0), (1, bf16, 1, 2.0), (0, fp8, 1, 5.0)]) == [True, True, True]


def test_formats_replace_each_other_where_a_workload_may_mix_them() -> None:
    assert keep([(0, 0, 1, 3.0), (1, 0, 1, 2.0), (0, 1, 1, 5.0)], mix=True) == [False, True, True]


def test_what_is_slower_than_another_goes_and_what_may_be_faster_stays() -> None:
    # On one card and of one choice; the third is of another choice, the fourth needs twice the GPUs for twice the rate.
    rates = np.array([[3.0], [3.5], [1.0], [6.0]])
    gpus, places = np.array([1, 1, 1, 2]), packed(np.ones((4, 1), bool))
    rows = Rows(np.zeros(4, int), np.array([0, 0, 1, 0]), gpus, places, rates, np.full(4, NEVER))
    assert beaten_by(rows, by_choice(rows), np.array([1, 2, 3]), np.array([0])).tolist() == [False, False, True]
    assert beaten_by(rows, by_choice(rows), np.array([0, 2, 3]), np.array([1])).tolist() == [True, False, True]
    assert beaten_by(rows, by_choice(rows), np.array([0, 1, 3]), np.array([2])).tolist() == [False, False, False]


def test_offers_are_kept_as_bits_however_many_there_are() -> None:
    holds = np.random.default_rng(1).random((5, 150)) < 0.5
    assert np.array_equal(unpacked(packed(holds), 150), holds)
