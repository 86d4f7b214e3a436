"""The tracker over a real broker: killed, doubled, and made anew from the stream, it writes the same rows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from nats.js.errors import NotFoundError
from sqlalchemy import Connection

from eventbus import replay
from eventbus.bus import EventBus
from eventbus.consumer import Consumer, Delivery
from eventbus.dead_letter_reader import DeadLetterReader
from eventbus.envelope import CHOREOGRAPHED, Envelope
from mesh.changes import Changes
from mesh.errors import StepMismatch
from mesh.settings import Settings
from mesh.sqlite import SqliteDatabase
from orchestrator import store, tracker
from orchestrator.journal import COMPENSATED, COMPLETED, STALLED
from orchestrator.stalled import Stalled
from orchestrator.tables import MAIL, SAGAS, STEPS
from orchestrator.tracker import Tracker
from shop.orders.v1.order_pb2 import Order
from tests.builders import an_order
from tests.harness import eventually, running_broker
from tests.unit.orchestrator.engine_bench import CONTRACT
from tests.unit.orchestrator.tracker_bench import BACK, FORWARD, up_to_date
from tests.unit.participant.participant_bench import an_event

TABLES = (SAGAS, STEPS, MAIL)
PLACED = "events.choreographed.shop.orders.v1.OrderPlaced"
STATUS = list(SAGAS.columns).index(SAGAS.c.status)
QUIET_S = 0.2
SETTINGS = Settings(ack_wait_s=2.0)


@asynccontextmanager
async def running(*runs: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Side tasks, which are cancelled at the end."""
    tasks = [asyncio.create_task(run) for run in runs]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def tracking(bus: EventBus, database: SqliteDatabase) -> AbstractAsyncContextManager[None]:
    """One life of the tracker."""
    following = Tracker(CONTRACT, database, Changes())
    return running(
        Consumer(bus, "tracker", tracker.SUBJECTS, following.handle, SETTINGS).run(),
        DeadLetterReader(bus, "tracker", following.read_dead_letter, SETTINGS).run(),
    )


async def mismatch(_: Delivery) -> None:
    raise StepMismatch("AuthorizePayment")


async def rows(database: SqliteDatabase) -> list[list[Any]]:
    def read(tx: Connection) -> list[list[Any]]:
        return [[tuple(row) for row in tx.execute(sql.select(t).order_by(*t.primary_key))] for t in TABLES]

    return await database.run(read)


async def publish(bus: EventBus, order: Order, name: str, replay_id: str = "") -> None:
    event = an_event(name, order)
    await bus.publish(
        Envelope(
            event=event.DESCRIPTOR.full_name,
            body=event.SerializeToString(),
            saga_id=order.order_id,
            method="test",
            step_key="",
            style=CHOREOGRAPHED,
            replay=replay_id,
            source="test",
        )
    )


async def publish_some(bus: EventBus) -> int:
    """Of each order a part of what may come, and its last event again; returns how many starting events there are."""
    starts = 0
    for number in range(16):
        order, names = an_order(), (FORWARD, BACK)[number % 2][: 1 + number // 2]
        for name in names:
            await publish(bus, order, name)
        await publish(bus, order, names[-1], replay.mint())
        starts += 1 + (len(names) == 1)
    return starts


async def read_all(bus: EventBus, letters: int) -> None:
    """Returns once the tracker has read all events, and so many dead letters."""
    last = (await bus.jetstream.stream_info("EVENTS")).state.last_seq

    async def done() -> bool:
        try:
            found = [await bus.jetstream.consumer_info(stream, "tracker") for stream in ("EVENTS", "DEAD_LETTERS")]
        except NotFoundError:  # not made again yet
            return False
        floors = [info.ack_floor.stream_seq if info.ack_floor is not None else 0 for info in found]
        return floors == [last, letters]

    await eventually(done, what="the tracker to read all")


async def test_rows_made_anew_from_the_stream_are_the_same(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        broker = stack.enter_context(running_broker(tmp_path / "nats"))
        database, bus = SqliteDatabase(tmp_path / "orchestrator.db", store.METADATA), EventBus(broker.url, "test")
        stack.push_async_callback(database.close)
        stack.push_async_callback(bus.close)
        finder = Stalled(CONTRACT, database, Changes(), list, up_to_date, QUIET_S)
        payments = Consumer(bus, "payments", [PLACED], mismatch, SETTINGS)
        await stack.enter_async_context(running(bus.run(), payments.run()))
        await bus.ready()
        async with tracking(bus, database):
            starts = await publish_some(bus)
        async with tracking(bus, database):  # again, and whatever the first one had in hand comes again
            await read_all(bus, letters=starts)
            await asyncio.sleep(QUIET_S)  # for progress to be long ago, not for luck
            await finder.mark()
            before = await rows(database)
            assert {row[STATUS] for row in before[0]} == {COMPLETED, COMPENSATED, STALLED}

            await database.run(lambda tx: [tx.execute(sql.delete(table)) for table in TABLES])
            await bus.jetstream.delete_consumer("EVENTS", "tracker")
            await bus.jetstream.delete_consumer("DEAD_LETTERS", "tracker")
            async with tracking(bus, database):  # and a replica
                await read_all(bus, letters=starts)
            await finder.mark()
            assert await rows(database) == before
