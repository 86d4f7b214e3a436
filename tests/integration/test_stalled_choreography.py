"""A choreographed saga whose event became a dead letter is stalled, and says why: over a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from nats.js.errors import NotFoundError

from eventbus.bus import EventBus
from eventbus.consumer import Consumer, Delivery
from eventbus.dead_letter_reader import DeadLetterReader
from eventbus.envelope import Envelope
from mesh.changes import Changes
from mesh.contract import Contract
from mesh.errors import StepMismatch
from mesh.settings import Settings
from mesh.sqlite import SqliteDatabase
from orchestrator import store, tracker
from orchestrator.journal import Journal, SagaStatus
from orchestrator.tracker import Tracker
from shop.orders.v1.events_pb2 import OrderPlaced
from tests.builders import an_order
from tests.harness import eventually, running_broker

PLACED = "events.choreographed.shop.orders.v1.OrderPlaced"


async def mismatch(_: Delivery) -> None:
    raise StepMismatch("ReserveStock")


@asynccontextmanager
async def a_tracked_bus(folder: Path, service: str) -> AsyncIterator[tuple[EventBus, SqliteDatabase]]:
    """The tracker with its two consumers, and a service that takes no OrderPlaced."""
    with running_broker(folder / "nats") as broker:
        database = SqliteDatabase(folder / "orchestrator.db", store.METADATA)
        settings, bus = Settings(), EventBus(broker.url, "test")
        following = Tracker(Contract.of_packages("shop"), database, Changes())
        runs = [
            bus.run(),
            Consumer(bus, "tracker", tracker.SUBJECTS, following.handle, settings).run(),
            DeadLetterReader(bus, "tracker", following.read_dead_letter, settings).run(),
            Consumer(bus, service, [PLACED], mismatch, settings).run(),
        ]
        tasks = [asyncio.create_task(run) for run in runs]
        await bus.ready()
        yield bus, database
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await bus.close()
        await database.close()


async def test_the_saga_of_a_dead_letter_is_stalled_and_says_why(tmp_path: Path) -> None:
    order = an_order()
    async with a_tracked_bus(tmp_path, "inventory") as (bus, database):
        await bus.publish(Envelope.starting(OrderPlaced(order=order), method="test", source="test"))

        async def stalled() -> Journal | None:
            journal = await database.run(lambda tx: store.load(tx, order.order_id))
            return journal if journal and journal.status == SagaStatus.SAGA_STATUS_STALLED else None

        journal = await eventually(stalled, what="the saga to stall")
    assert journal is not None
    assert journal.stalled_reason.startswith("shop.inventory.v1.InventoryService.ReserveStock cannot take ")
    assert "STEP_MISMATCH" in journal.stalled_reason
    assert "dead.inventory.shop.orders.v1.OrderPlaced" in journal.stalled_help
    assert f"ensemble saga retry {order.order_id}" in journal.stalled_help


async def test_a_dead_letter_of_one_outside_the_saga_stalls_nothing(tmp_path: Path) -> None:
    order = an_order()
    async with a_tracked_bus(tmp_path, "stranger") as (bus, database):
        await bus.publish(Envelope.starting(OrderPlaced(order=order), method="test", source="test"))

        async def read() -> bool:
            try:
                info = await bus.jetstream.consumer_info("DEAD_LETTERS", "tracker")
            except NotFoundError:  # not provisioned yet
                return False
            return info.ack_floor is not None and info.ack_floor.stream_seq == 1

        await eventually(read, what="the dead letter to be read")
        journal = await database.run(lambda tx: store.load(tx, order.order_id))
    assert journal is not None
    assert journal.status == SagaStatus.SAGA_STATUS_RUNNING
