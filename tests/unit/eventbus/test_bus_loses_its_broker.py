"""The broker goes and comes, with its disk or without, or hangs: consumption and publication go on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import pytest
from modelled_world import Part, World, play

from eventbus.bus import Unpublished
from eventbus.consumer import Delivery
from eventbus.streams import DEAD_LETTERS, EVENTS
from mesh.errors import Invalid

SOON_S = 10.0


@pytest.mark.parametrize("request_of", ["publish", "stream_info"])
def test_who_asks_again_and_again_ends_though_a_cancellation_is_lost(
    request_of: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As asyncio.wait_for of Python 3.11 loses one that comes with the broker's answer."""

    async def scene(world: World) -> None:
        part, asked = await world.part(), asyncio.Event()

        async def lose_it(*_: object, **__: object) -> object:
            asked.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
            return answer

        async def ask_for_ever() -> None:
            while True:
                await (part.publish(b"1") if request_of == "publish" else part.bus.extent())

        answer = await part.bus.jetstream.stream_info(EVENTS)
        monkeypatch.setattr(part.bus.jetstream, request_of, lose_it)
        asking = asyncio.create_task(ask_for_ever())
        await asked.wait()
        asking.cancel()
        await asyncio.wait([asking], timeout=SOON_S)
        assert asking.cancelled()

    play(scene)


async def publish_at_last(part: Part, body: bytes) -> None:
    """As an outbox does: again, with the same message id, until it is stored."""
    async with asyncio.timeout(SOON_S):
        while True:
            try:
                return await part.publish(body)
            except Unpublished:
                await asyncio.sleep(0.1)


def begin_anew(world: World) -> None:
    world.broker.crash()
    world.broker.empty_disk()
    world.broker.start()


FAULTS: dict[str, Callable[[World], None]] = {
    "consumer deleted": lambda world: world.broker.delete_consumer(EVENTS, "tester"),
    "stream deleted": lambda world: world.broker.delete_stream(EVENTS),
    "stream purged": lambda world: world.broker.purge_stream(EVENTS),
    "empty disk": begin_anew,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_consumption_goes_on(fault: str) -> None:
    async def scene(world: World) -> None:
        part = await world.part()
        await part.consume()
        await part.publish(b"before")
        await asyncio.sleep(1)
        FAULTS[fault](world)
        await publish_at_last(part, b"after")
        await asyncio.sleep(SOON_S)
        bodies = [body for body, _ in part.seen]
        assert bodies == [b"before", *([b"before"] if fault == "consumer deleted" else []), b"after"]

    play(scene)


def test_a_message_in_work_when_the_broker_is_killed_is_acknowledged_afterwards() -> None:
    async def scene(world: World) -> None:
        release = asyncio.Event()

        async def wait(_: Delivery) -> None:
            await release.wait()

        part = await world.part()
        await part.consume(wait)
        await part.publish(b"1")
        await asyncio.sleep(1)
        world.broker.crash()
        release.set()
        await asyncio.sleep(1)
        world.broker.start()
        await asyncio.sleep(SOON_S)
        assert not world.broker.streams[EVENTS].consumers["tester"].state.pending
        assert not world.broker.streams[DEAD_LETTERS].messages

    play(scene)


def test_a_publisher_alone_makes_the_streams_anew() -> None:
    """After an empty disk, and after somebody deleted them: no consumer has to be there to do it."""

    async def scene(world: World) -> None:
        part = await world.part()
        begin_anew(world)
        await publish_at_last(part, b"after an empty disk")
        assert world.stored == [b"after an empty disk"]
        world.broker.delete_stream(EVENTS)
        await publish_at_last(part, b"after a deletion")
        assert world.stored == [b"after a deletion"]

    play(scene)


def test_every_fault_after_the_stream_was_made_anew_is_a_dead_letter_too() -> None:
    """A new stream counts from one again; its first message is another than the old stream's first."""

    async def scene(world: World) -> None:
        async def choke(_: Delivery) -> None:
            raise Invalid([("", "is nonsense")])

        part = await world.part()
        await part.consume(choke)
        await part.publish(b"old")
        await asyncio.sleep(1)
        world.broker.delete_stream(EVENTS)
        await publish_at_last(part, b"new")
        await asyncio.sleep(SOON_S)
        letters = world.broker.streams[DEAD_LETTERS].messages.values()
        assert [letter.body for letter in letters] == [b"old", b"new"]

    play(scene)


def test_consumption_goes_on_after_the_broker_hung() -> None:
    async def scene(world: World) -> None:
        part = await world.part()
        await part.consume()
        await part.publish(b"before")
        await asyncio.sleep(1)
        part.client.partition()
        await asyncio.sleep(5)  # longer than two heartbeats: the open request is given up
        assert part.bus.connected
        part.client.heal()
        await part.publish(b"after")
        await asyncio.sleep(SOON_S)
        assert part.seen == [(b"before", 1), (b"after", 1)]
        assert not world.broker.streams[EVENTS].consumers["tester"].state.pending

    play(scene)


@pytest.mark.parametrize("away", ["killed", "hung"])
def test_a_publisher_hears_within_five_seconds_that_the_broker_is_away(away: str) -> None:
    async def scene(world: World) -> None:
        part = await world.part()
        if away == "killed":
            world.broker.crash()
        else:
            part.client.partition()
        for _ in range(2):  # at once after the loss, and later
            async with asyncio.timeout(5):
                with pytest.raises(Unpublished):
                    await part.publish(b"lost")

    play(scene)
