"""A bounded number of sagas runs, a bounded number waits, the rest is turned away and told when to come again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from mesh.errors import Overloaded
from tests.builders import an_order
from tests.unit.orchestrator.engine_bench import (
    COMPENSATED,
    COMPLETED,
    RUNNING,
    EngineBench,
    FakeParticipants,
)
from tests.unit.participant.participant_bench import until

Makes = Callable[..., EngineBench]


async def test_what_runs_and_what_waits_is_bounded_and_all_of_it_ends(
    an_engine: Makes, participants: FakeParticipants
) -> None:
    participants.hold("RecordOrder")
    bench, orders = an_engine(sagas_max=2, queue_max=3), [an_order() for _ in range(6)]
    for order in orders[:5]:
        assert (await bench.start(order)).status == RUNNING
    with pytest.raises(Overloaded) as caught:
        await bench.start(orders[5])
    assert caught.value.retry_after_s > 0
    assert sum(bench.engine.runs(order.order_id) for order in orders) == 2
    participants.release()
    for order in orders[:5]:
        await bench.comes_to(order.order_id, COMPLETED)
    await bench.run(orders[5])


async def test_a_saga_that_waits_for_its_turn_is_durable(an_engine: Makes, participants: FakeParticipants) -> None:
    participants.hold("RecordOrder")
    first, orders = an_engine(sagas_max=1, queue_max=4), [an_order() for _ in range(4)]
    for order in orders:
        await first.start(order)
    await first.crash()
    participants.release()
    second = an_engine(sagas_max=1)
    assert await second.recover() == 4
    for order in orders:
        await second.comes_to(order.order_id, COMPLETED)


async def test_a_saga_that_waits_for_its_turn_can_be_looked_at_and_cancelled(
    an_engine: Makes, participants: FakeParticipants
) -> None:
    participants.hold("RecordOrder")
    bench, first, waiting = an_engine(sagas_max=1, queue_max=1), an_order(), an_order()
    await bench.start(first)
    await bench.start(waiting)
    assert (await bench.engine.get(waiting.order_id)).status == RUNNING
    await bench.engine.cancel(waiting.order_id)
    await bench.comes_to(waiting.order_id, COMPENSATED)
    assert not bench.engine.runs(waiting.order_id)
    participants.release()
    await bench.comes_to(first.order_id, COMPLETED)


async def test_at_five_times_the_capacity_no_more_is_held_than_the_capacity(
    an_engine: Makes, participants: FakeParticipants
) -> None:
    participants.hold("RecordOrder")
    bench = an_engine(sagas_max=4, queue_max=4)
    asked = await asyncio.gather(*(bench.start(an_order()) for _ in range(40)), return_exceptions=True)
    taken = [one for one in asked if not isinstance(one, BaseException)]
    assert len(taken) == 8
    assert all(isinstance(one, Overloaded) for one in asked if isinstance(one, BaseException))
    participants.release()
    for journal in taken:
        await bench.comes_to(journal.saga_id, COMPLETED)
    await until(lambda: not any(bench.engine.runs(journal.saga_id) for journal in taken), "all places are free")
