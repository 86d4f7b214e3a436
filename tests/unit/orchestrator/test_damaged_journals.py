"""An engine over a damaged journal: the other sagas run, and what is damaged is mended from the ledgers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sql

from mesh.errors import OutOfOrder
from orchestrator.tables import METADATA
from shop.orders.v1.order_pb2 import Order, OrderStatus
from tests.builders import an_order
from tests.unit.orchestrator.engine_bench import COMPLETED, RUNNING, STALLED, EngineBench, FakeParticipants, Shop

Makes = Callable[..., EngineBench]


async def damage(bench: EngineBench, table: str, saga_id: str, **values: Any) -> None:
    """Changes what a saga's rows say, and not their checksums."""
    there = METADATA.tables[table]
    change = sql.update(there).where(there.c.saga_id == saga_id).values(values)
    assert await bench.database.run(lambda tx: tx.execute(change).rowcount)


async def two_are_left(an_engine: Makes, participants: FakeParticipants) -> tuple[Order, Order]:
    """Two sagas that an orchestrator has left behind half-way."""
    participants.hold("ConfirmOrder")
    bench, ill, sound = an_engine(), an_order(), an_order()
    await bench.start(ill)
    await bench.start(sound)
    await participants.reaches("ConfirmOrder")
    await bench.close()
    participants.release()
    return ill, sound


async def damaged(an_engine: Makes, table: str, order: Order, **values: Any) -> None:
    bench = an_engine(writing=False)
    await damage(bench, table, order.order_id, **values)
    await bench.crash()


async def test_the_other_sagas_run_and_of_the_damaged_one_it_is_said_what_to_do(
    an_engine: Makes, participants: FakeParticipants
) -> None:
    ill, sound = await two_are_left(an_engine, participants)
    await damaged(an_engine, "sagas", ill, input=b"rubbish")
    bench = an_engine()
    await bench.recover()
    await bench.comes_to(sound.order_id, COMPLETED)
    journal = await bench.comes_to(ill.order_id, STALLED)
    assert "the row of the saga does not match its checksum" in journal.stalled_reason
    assert "start the saga again with its input under the same id" in journal.stalled_help
    with pytest.raises(OutOfOrder, match="start the saga again with its input under the same id"):
        await bench.engine.retry(ill.order_id)


async def test_a_damaged_saga_that_is_started_again_runs_on_from_where_its_ledgers_are(
    an_engine: Makes, participants: FakeParticipants, shop: Shop
) -> None:
    ill, sound = await two_are_left(an_engine, participants)
    await damaged(an_engine, "sagas", ill, status=77)
    bench = an_engine()
    await bench.recover()
    await bench.comes_to(sound.order_id, COMPLETED)
    assert (await bench.start(ill)).status == RUNNING
    await bench.comes_to(ill.order_id, COMPLETED)
    assert (await shop.books(ill))[-1] == OrderStatus.ORDER_STATUS_COMPLETED
    assert (await shop.call("GetStock", sku="sku-1")).stock.reserved == 2  # each order's once


@pytest.mark.parametrize("values", [{"outcome": b"rubbish"}, {"status": 3}, {"checksum": 7}])
async def test_a_retry_mends_damaged_steps_from_the_ledgers(
    an_engine: Makes, participants: FakeParticipants, shop: Shop, values: dict[str, Any]
) -> None:
    ill, sound = await two_are_left(an_engine, participants)
    await damaged(an_engine, "steps", ill, **values)
    bench = an_engine()
    await bench.recover()
    await bench.comes_to(sound.order_id, COMPLETED)
    journal = await bench.comes_to(ill.order_id, STALLED)
    assert f"ensemble saga retry {ill.order_id}" in journal.stalled_help
    await bench.engine.retry(ill.order_id)
    await bench.comes_to(ill.order_id, COMPLETED)
    assert (await shop.call("GetStock", sku="sku-1")).stock.reserved == 2


async def test_a_saga_with_damaged_steps_can_be_started_again_too(
    an_engine: Makes, participants: FakeParticipants
) -> None:
    ill, _ = await two_are_left(an_engine, participants)
    await damaged(an_engine, "steps", ill, outcome=b"rubbish")
    bench = an_engine()
    await bench.recover()
    await bench.comes_to(ill.order_id, STALLED)
    await bench.start(ill)
    await bench.comes_to(ill.order_id, COMPLETED)


async def test_an_ended_saga_with_a_damaged_step_has_ended_all_the_same(engine: EngineBench) -> None:
    order = an_order()
    await engine.run(order)
    await damage(engine, "steps", order.order_id, outcome=b"rubbish")
    journal = await engine.engine.get(order.order_id)
    assert journal.status == COMPLETED
    assert "damaged" in journal.stalled_reason
