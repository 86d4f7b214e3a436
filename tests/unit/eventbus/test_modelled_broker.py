"""The project's own bus on the modelled broker, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from eventbus.bus import EventBus
from eventbus.consumer import Consumer, Delivery
from eventbus.envelope import CHOREOGRAPHED, Envelope, subject
from eventbus.testing import ModelledBroker, ModelledClient
from mesh import virtual_time
from mesh.settings import Settings

EVENT = "test.v1.Happened"


def an_event(body: bytes, saga_id: str = "saga") -> Envelope:
    return Envelope(EVENT, body, saga_id, "test.v1.TestService.Act", body.decode(), CHOREOGRAPHED, "", "tester")


def consuming(bus: EventBus, handle: Callable[[Delivery], Awaitable[None]]) -> asyncio.Task[None]:
    settings = Settings(ack_wait_s=2.0, deliveries_max=4, events_max=16)
    consumer = Consumer(bus, "tester", [subject(CHOREOGRAPHED, EVENT)], handle, settings)
    return asyncio.create_task(consumer.run(), name="consumer")


def test_what_is_published_is_handled_once_and_goes_on_after_a_crash() -> None:
    seen: list[bytes] = []

    async def handle(delivery: Delivery) -> None:
        seen.append(delivery.body)

    async def main() -> None:
        broker = ModelledBroker(random.Random(1))
        bus = EventBus("modelled", "tester", client=ModelledClient(broker))
        await bus.run()
        consumer = consuming(bus, handle)
        await bus.publish(an_event(b"one"))
        await asyncio.sleep(1)
        broker.crash()
        await asyncio.sleep(1)
        assert not bus.connected
        broker.start()
        await asyncio.sleep(1)
        await bus.publish(an_event(b"two"))
        await asyncio.sleep(1)
        consumer.cancel()
        await bus.close()

    virtual_time.run(main)
    assert seen == [b"one", b"two"]
