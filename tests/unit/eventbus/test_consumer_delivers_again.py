"""What becomes of a message whose handler fails, is slow, or dies."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from modelled_world import ACK_WAIT_S, Scripted, World, play

from eventbus import consumer, dead_letters
from eventbus.consumer import Delivery
from eventbus.streams import DEAD_LETTERS, EVENTS, EXHAUSTED
from eventbus.testing import Kind, ModelledClient
from mesh.errors import Unavailable


def letters(world: World) -> list[dict[str, str]]:
    """The headers of the dead letters; `body` stands among them."""
    found = world.broker.streams[DEAD_LETTERS].messages.values()
    return [{**(letter.headers or {}), "body": letter.body.decode()} for letter in found]


def test_a_technical_fault_comes_again_after_growing_delays_until_it_is_a_dead_letter() -> None:
    async def scene(world: World) -> None:
        async def fail(_: Delivery) -> None:
            raise ConnectionResetError("the disk is on fire\nPlease — help")

        part = await world.part()
        await part.consume(fail)
        await part.publish(b"poison")
        await asyncio.sleep(30)
        assert part.seen == [(b"poison", deliveries) for deliveries in (1, 2, 3, 4)]
        gaps = [later - earlier for earlier, later in zip(part.times, part.times[1:], strict=False)]
        spread_s = consumer.APART_S  # the fourth waits a moment of its own, before its handler
        bounds = [consumer.RETRY.bound_s(deliveries) for deliveries in (1, 2, 3)]
        for gap, bound, more_s in zip(gaps, bounds, (0.0, 0.0, spread_s), strict=True):
            assert bound - 0.001 < gap < bound + more_s + 0.1
        (letter,) = letters(world)
        assert letter["body"] == "poison"
        assert letter[dead_letters.REASON] == "ConnectionResetError"
        assert letter[dead_letters.MESSAGE] == "a technical error; the service's log says more"
        assert (letter[dead_letters.DELIVERIES], letter[dead_letters.SEQUENCE]) == ("4", "1")
        assert letter[dead_letters.STYLE] == "choreographed"

    play(scene)


def test_a_fault_that_passes_leaves_no_dead_letter() -> None:
    async def scene(world: World) -> None:
        async def fail_twice(delivery: Delivery) -> None:
            if delivery.deliveries < 3:
                raise Unavailable("not yet")

        part = await world.part()
        await part.consume(fail_twice)
        await part.publish(b"1")
        await asyncio.sleep(10)
        assert part.seen == [(b"1", 1), (b"1", 2), (b"1", 3)]
        assert letters(world) == []

    play(scene)


def test_a_slow_handler_is_not_run_twice() -> None:
    async def scene(world: World) -> None:
        async def be_slow(_: Delivery) -> None:
            await asyncio.sleep(10 * ACK_WAIT_S)

        part = await world.part()
        await part.consume(be_slow)
        await part.publish(b"1")
        await asyncio.sleep(11 * ACK_WAIT_S)
        assert part.seen == [(b"1", 1)]
        assert not world.broker.streams[EVENTS].consumers["tester"].state.pending

    play(scene)


def test_one_delivery_that_comes_twice_and_fails_twice_is_delivered_again() -> None:
    """Whoever still told the broker that it is being worked on would keep it from that for ever."""

    async def scene(world: World) -> None:
        async def fail_thrice(delivery: Delivery) -> None:
            await asyncio.sleep(0.2)
            if delivery.deliveries <= 3:
                raise Unavailable("not yet")

        link = Scripted()
        part = await world.part(link=link)
        await part.consume(fail_thrice)
        for arrivals in ((0.0,), (0.0,), (0.0, 0.1)):  # after the third the broker waits longest
            link.next(Kind.DELIVERY, *arrivals)
        await (await world.part("publisher")).publish(b"1")
        await asyncio.sleep(10)
        assert [deliveries for _, deliveries in part.seen] == [1, 2, 3, 3, 4]
        assert not world.broker.streams[EVENTS].consumers["tester"].state.pending

    play(scene)


def test_a_consumer_ends_though_its_cancellation_is_lost_while_it_provisions(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        provisioning = asyncio.Event()

        async def lose_it(*_: object, **__: object) -> None:
            provisioning.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)

        monkeypatch.setattr(consumer, "provision_consumer", lose_it)
        part = await world.part()
        await part.consume()
        await provisioning.wait()
        (task,) = part.tasks
        task.cancel()
        await asyncio.wait([task], timeout=10)
        assert task.done()

    play(scene)


def test_what_no_handler_lived_to_answer_is_a_dead_letter_though_nobody_heard_the_advisory() -> None:
    async def scene(world: World) -> None:
        publisher = await world.part("publisher")
        deadly = True
        for _ in range(5):  # processes that die of it; the last one asks and gets nothing: now the broker says so
            part = await world.part()

            async def die(_: Delivery, client: ModelledClient = part.client) -> None:
                if deadly:
                    client.abandon()
                    await asyncio.Event().wait()

            await part.consume(die)
            if not world.stored:
                await publisher.publish(b"killer")
            await asyncio.sleep(ACK_WAIT_S + consumer.APART_S + 1)
            if not part.seen:
                part.client.abandon()
        assert len(world.broker.streams[EXHAUSTED].messages) == 1
        deadly = False
        part = await world.part()
        await part.consume(die)
        await publisher.publish(b"behind it")
        await asyncio.sleep(ACK_WAIT_S + 10)
        assert part.seen == [(b"behind it", 1)]
        (letter,) = letters(world)
        assert (letter["body"], letter[dead_letters.REASON]) == ("killer", "MAX_DELIVERIES")
        assert letter[dead_letters.DELIVERIES] == "4"

    play(scene)
