"""Messages at the limits, and beyond them: no process loses its connection over one."""

from __future__ import annotations

import asyncio

import pytest
from modelled_world import EVENT, World, play

from eventbus.bus import Unpublished
from eventbus.consumer import Delivery
from eventbus.streams import DEAD_LETTERS
from mesh.errors import Invalid
from mesh.settings import EVENT_BYTES_MAX


async def choke(_: Delivery) -> None:
    raise Invalid([("", "is nonsense " * 100)])


def test_the_largest_message_that_the_stream_takes_becomes_a_dead_letter() -> None:
    async def scene(world: World) -> None:
        part, stranger = await world.part(), await world.part("stranger")
        await part.consume(choke)
        await stranger.client.publish(f"events.choreographed.{EVENT}", b"x" * EVENT_BYTES_MAX)
        await asyncio.sleep(1)
        (letter,) = world.broker.streams[DEAD_LETTERS].messages.values()
        assert letter.body == b"x" * EVENT_BYTES_MAX
        assert part.bus.connected

    play(scene)


def test_what_no_dead_letter_could_hold_the_stream_does_not_take() -> None:
    async def scene(world: World) -> None:
        part, stranger = await world.part(), await world.part("stranger")
        await part.consume(choke)
        await stranger.client.publish(f"events.choreographed.{EVENT}", b"x" * (1 << 20))
        await asyncio.sleep(1)
        assert (part.seen, world.stored) == ([], [])

    play(scene)


def test_a_publication_that_the_broker_would_end_the_connection_for_is_not_sent() -> None:
    async def scene(world: World) -> None:
        part = await world.part()
        with pytest.raises(Unpublished, match="are more than the 1048576 that the broker takes"):
            await part.publish(b"x" * ((1 << 20) - 100))
        with pytest.raises(Unpublished, match="message size exceeds maximum allowed"):
            await part.publish(b"x" * EVENT_BYTES_MAX)
        await part.publish(b"1")
        assert world.stored == [b"1"]

    play(scene)
