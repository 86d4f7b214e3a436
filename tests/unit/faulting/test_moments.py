"""A fault comes in the middle of orders, and never twice without progress in between."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from scripts.faulting.fault import MET, Place
from scripts.faulting.ground import Ground, Stuck
from scripts.faulting.orders import Orders


class Ending(Orders):
    """Of those that are let come half have ended at once."""

    def let_come(self, count: int) -> int:
        more = super().let_come(count)
        self.ended += (more + 1) // 2
        self.under_way = more // 2
        return more


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    ground = Ground(Place(tmp_path), {})
    ground.begin(20, 8, 0)
    return ground


async def test_there_are_as_many_as_the_orders_allow_and_each_counts_what_it_meets(ground: Ground) -> None:
    ground.orders = Ending(21, 8, lambda: ground.client, random.Random(0))
    assert [number async for number in ground.moments(10)] == [0, 1, 2]
    assert ground.counts[MET] == 5 + 5 + 0


async def test_no_progress_since_the_last_one_is_told(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ground, "heals_s", 0.1)
    ground.orders.ended = 5  # before
    with pytest.raises(Stuck, match="progress"):
        async for _ in ground.moments(8):
            pass
