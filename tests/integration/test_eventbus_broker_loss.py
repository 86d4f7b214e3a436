"""The broker goes and comes, with its disk or without: consumption and publication go on."""

from __future__ import annotations

import asyncio
import contextlib

import nats.errors
from eventbus_bench import Desk, MortalBroker, Recorder, an_envelope, connected

from eventbus.bus import Unpublished
from eventbus.consumer import Delivery
from eventbus.streams import EVENTS
from mesh.errors import Invalid
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


async def test_a_message_in_work_when_the_broker_is_killed_is_acknowledged_afterwards(mortal: MortalBroker) -> None:
    release = asyncio.Event()

    async def wait_for_release(_: Delivery) -> None:
        await release.wait()

    async with connected(mortal.url) as bus:
        desk, recorder = Desk(bus), Recorder(wait_for_release)
        async with desk.consuming(recorder, ack_wait_s=1.5):
            await desk.publish()
            await recorder.count(1)
            mortal.kill()
            release.set()
            mortal.start()

            async def settled() -> bool:
                with contextlib.suppress(nats.errors.Error):  # it may not be back yet
                    return await desk.settled()
                return False

            await eventually(settled)
        assert await desk.letters() == 0


async def test_consumption_goes_on_when_the_consumer_is_deleted(desk: Desk) -> None:
    recorder = Recorder()
    async with desk.consuming(recorder):
        await desk.publish(b"before")
        await recorder.count(1)
        await eventually(desk.settled)
        await desk.bus.jetstream.delete_consumer(EVENTS, desk.service)
        await desk.publish(b"after")

        async def seen() -> bool:
            return b"after" in recorder.bodies

        await eventually(seen, within_s=10)


async def test_consumption_goes_on_when_the_stream_is_deleted(mortal: MortalBroker) -> None:
    async with connected(mortal.url) as bus:
        desk, recorder = Desk(bus), Recorder()
        async with desk.consuming(recorder):
            await desk.publish(b"before")
            await recorder.count(1)
            await bus.jetstream.delete_stream(EVENTS)
            await publish_at_last(desk, b"after")
            await recorder.count(2)
    assert recorder.bodies == [b"before", b"after"]


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


async def test_a_publisher_alone_makes_the_streams_anew(mortal: MortalBroker) -> None:
    """After an empty disk, and after somebody deleted them: no consumer has to be there to do it."""
    async with connected(mortal.url) as bus:
        desk = Desk(bus)
        mortal.kill()
        mortal.empty_disk()
        mortal.start()
        await publish_at_last(desk, b"after an empty disk")
        assert await desk.stored() == 1
        await bus.jetstream.delete_stream(EVENTS)
        await publish_at_last(desk, b"after a deletion")
        assert await desk.stored() == 1


async def test_every_fault_after_the_stream_was_made_anew_is_a_dead_letter_too(mortal: MortalBroker) -> None:
    """A new stream counts from one again; its first message is another than the old stream's first."""

    async def choke(_: Delivery) -> None:
        raise Invalid([("", "is nonsense")])

    async with connected(mortal.url) as bus:
        desk, recorder = Desk(bus), Recorder(choke)
        async with desk.consuming(recorder):
            await desk.publish(b"old")
            await desk.letter()
            await bus.jetstream.delete_stream(EVENTS)
            await publish_at_last(desk, b"new")
            await recorder.count(2)
            assert recorder.seen[0].sequence == recorder.seen[1].sequence

            async def both() -> bool:
                return await desk.letters() == 2

            await eventually(both, within_s=3, what="a second dead letter")


async def test_consumption_goes_on_after_the_broker_was_frozen(mortal: MortalBroker) -> None:
    async with connected(mortal.url) as bus:
        desk, recorder = Desk(bus), Recorder()
        async with desk.consuming(recorder):
            await desk.publish(b"before")
            await recorder.count(1)
            with mortal.frozen():
                await asyncio.sleep(5)  # longer than two heartbeats: the open request is given up
            await publish_at_last(desk, b"after")
            await recorder.count(2)
            await eventually(desk.settled)
    assert recorder.bodies == [b"before", b"after"]
