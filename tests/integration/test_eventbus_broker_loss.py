"""The broker goes and comes, with its disk or without: consumption and publication go on."""

from __future__ import annotations

import asyncio

from eventbus_bench import Desk, MortalBroker, Recorder, an_envelope, connected

from eventbus.bus import Unpublished
from eventbus.consumer import Delivery
from tests.harness import eventually


async def publish_at_last(desk: Desk, body: bytes) -> None:
    """Publishes as an outbox does: again, with the same message id, until it is stored."""
    envelope = an_envelope(desk.event, body=body)

    async def stored() -> bool:
        try:
            await desk.bus.publish(envelope)
        except Unpublished:
            return False
        return True

    await eventually(stored, within_s=15)


async def test_nothing_is_lost_when_the_broker_is_killed_under_load(mortal: MortalBroker) -> None:
    bodies = [str(number).encode() for number in range(200)]

    async def work(_: Delivery) -> None:
        await asyncio.sleep(0.005)

    async with connected(mortal.url) as bus:
        desk, recorder = Desk(bus), Recorder(work)
        async with desk.consuming(recorder, ack_wait_s=1.5, events_max=8):
            publishing = asyncio.gather(*(publish_at_last(desk, body) for body in bodies))
            await recorder.count(20)
            mortal.kill()
            mortal.start()
            await publishing

            async def all_seen() -> bool:
                return set(recorder.bodies) == set(bodies)

            await eventually(all_seen)
            await eventually(desk.settled)
        assert await desk.stored() == len(bodies)
        assert await desk.letters() == 0


async def test_consumption_goes_on_when_the_broker_comes_back_with_an_empty_disk(mortal: MortalBroker) -> None:
    async with connected(mortal.url) as bus:
        desk, recorder = Desk(bus), Recorder()
        async with desk.consuming(recorder):
            await desk.publish(b"before")
            await recorder.count(1)
            mortal.kill()
            mortal.empty_disk()
            mortal.start()
            await publish_at_last(desk, b"after")
            await recorder.count(2)
    assert recorder.bodies == [b"before", b"after"]
