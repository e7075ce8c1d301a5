"""Load spread over replicas so that the busiest group is least busy."""

import numpy as np
import pytest

from optimizer.solve import route

NEVER = np.inf


def test_one_class_loads_every_replica_alike() -> None:
    # Rates 2/s and 6/s, 3 and 1 replicas, demand 6/s: 12/s in all, so each is half busy; shares 6/12 and 6/12.
    routing = route(np.array([3, 1]), np.array([[6 / 2], [6 / 6]]))
    assert routing is not None
    assert routing.share[:, 0] == pytest.approx([0.5, 0.5])
    assert routing.peak_utilization == pytest.approx(0.5)


def test_classes_go_where_they_are_served_best() -> None:
    # Group 0 is good at class 0 (busy 1 against 4), group 1 at class 1: each takes its own, both fully busy.
    routing = route(np.array([1, 1]), np.array([[1.0, 4.0], [4.0, 1.0]]))
    assert routing is not None
    assert routing.share == pytest.approx(np.eye(2))
    assert routing.peak_utilization == pytest.approx(1.0)


def test_a_class_that_only_one_group_serves_pushes_the_other_away() -> None:
    # Class 1 takes 0.5 of group 0. Class 0 (busy 1 on either) balances: 0.5 + x = 1 − x, so x = 0.25.
    routing = route(np.array([1, 1]), np.array([[1.0, 0.5], [1.0, NEVER]]))
    assert routing is not None
    assert routing.share == pytest.approx(np.array([[0.25, 1.0], [0.75, 0.0]]))
    assert routing.peak_utilization == pytest.approx(0.75)


def test_a_class_nobody_serves_has_no_routing() -> None:
    assert route(np.array([1, 0]), np.array([[1.0, NEVER], [1.0, 1.0]])) is None


def test_every_class_adds_up_to_one_exactly() -> None:
    rng = np.random.default_rng(7)
    for _ in range(50):
        busy = rng.uniform(0.1, 9, (4, 3))
        busy[rng.random((4, 3)) < 0.3] = NEVER
        routing = route(rng.integers(1, 5, 4), busy)
        if routing is not None:
            assert routing.share.sum(axis=0) == pytest.approx(np.ones(3), abs=1e-15)
            assert not routing.share[~np.isfinite(busy)].any()
