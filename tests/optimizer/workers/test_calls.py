"""Many parts of one work, in order, whoever works them off."""

from __future__ import annotations

import pytest
from pool_work import obedient, refusing

from optimizer.errors import GpuplanError, InputError
from optimizer.workers import Calls, Processes


def test_answers_come_in_the_order_of_the_parts_and_workers_stay() -> None:
    with Calls(Processes(2), obedient) as call:
        assert call(f"t{i}" for i in range(20)) == [f"T{i}" for i in range(20)]
        assert call([]) == []
        assert len(set(call(["pid"] * 20)) | set(call(["pid"] * 20))) <= 2


def test_what_the_work_raises_is_raised_here() -> None:
    with Calls(Processes(1), refusing) as call, pytest.raises(InputError, match=r"^no a$"):
        call(["a"])


def test_a_part_that_takes_its_workers_down_is_reported() -> None:
    with Calls(Processes(1), obedient) as call, pytest.raises(GpuplanError, match="ended with code -9, 2 times"):
        call(["die"])
