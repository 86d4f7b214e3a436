"""What a start promises: durable when it is acknowledged, driven, and within the limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from mesh.errors import Overloaded
from mesh.sqlite import SqliteDatabase
from tests.builders import an_order
from tests.unit.orchestrator.engine_bench import COMPLETED, RUNNING, EngineBench, FakeParticipants


class Slow(SqliteDatabase):
    """A database whose answers can be held after the commit."""

    committed: asyncio.Event
    answering: asyncio.Event

    async def run(self, work: Any) -> Any:
        result = await super().run(work)
        if "Starts" in getattr(work, "__qualname__", "") and hasattr(self, "answering"):
            self.committed.set()
            await self.answering.wait()
        return result


async def test_a_start_is_durable_before_it_is_acknowledged(
    an_engine: Callable[..., EngineBench], participants: FakeParticipants
) -> None:
    participants.hold("RecordOrder")
    first, order = an_engine(writing=False), an_order()
    await first.start(order)
    stored = await first.stored(order.order_id)
    assert stored is not None
    assert stored.status == RUNNING
    await first.crash()
    participants.release()
    second = an_engine()
    assert await second.recover() == 1
    await second.comes_to(order.order_id, COMPLETED)


async def test_a_saga_whose_starter_gave_up_during_the_commit_is_driven_when_it_is_started_again(
    an_engine: Callable[..., EngineBench],
) -> None:
    """A client's deadline cancels the handler between the commit and what follows it; then the client tries again."""
    bench, order = an_engine(database=Slow), an_order()
    database: Any = bench.database
    database.committed, database.answering = asyncio.Event(), asyncio.Event()
    start = asyncio.create_task(bench.start(order))
    async with asyncio.timeout(5):
        await database.committed.wait()
    start.cancel()
    await asyncio.gather(start, return_exceptions=True)
    database.answering.set()
    await bench.start(order)
    await bench.comes_to(order.order_id, COMPLETED)


async def test_more_sagas_than_may_run_are_turned_away_and_told_when_to_come_again(
    an_engine: Callable[..., EngineBench], participants: FakeParticipants
) -> None:
    participants.hold("RecordOrder")
    bench = an_engine(sagas_max=2)
    orders = [an_order() for _ in range(3)]
    for order in orders[:2]:
        bench.engine.admit()
        await bench.start(order)
    with pytest.raises(Overloaded):
        bench.engine.admit()
    with pytest.raises(Overloaded) as caught:
        await bench.start(orders[2])
    assert caught.value.retry_after_s > 0
    assert await bench.stored(orders[2].order_id) is None
    assert (await bench.start(orders[0])).status == RUNNING, "one that runs is not turned away"
    participants.release()
    for order in orders[:2]:
        await bench.comes_to(order.order_id, COMPLETED)
    await bench.start(orders[2])
    await bench.comes_to(orders[2].order_id, COMPLETED)


async def test_sagas_that_are_started_at_the_same_time_keep_the_limit_too(
    an_engine: Callable[..., EngineBench], participants: FakeParticipants
) -> None:
    participants.hold("RecordOrder")
    bench = an_engine(sagas_max=2)
    started = await asyncio.gather(*(bench.start(an_order()) for _ in range(6)), return_exceptions=True)
    assert sum(isinstance(one, Overloaded) for one in started) == 4
