"""How soon, how many at once, and how long: the pace of a consumer."""

from __future__ import annotations

import asyncio
import time

from eventbus_bench import Desk, Recorder

from eventbus.consumer import Delivery
from tests.harness import eventually


async def test_a_slow_handler_is_not_run_twice(desk: Desk) -> None:
    async def be_slow(_: Delivery) -> None:
        await asyncio.sleep(2.5)

    recorder = Recorder(be_slow)
    async with desk.consuming(recorder, ack_wait_s=1.0):
        await desk.publish()
        await recorder.count(1)
        await eventually(desk.settled, within_s=6)
    assert [seen.deliveries for seen in recorder.seen] == [1]


async def test_no_more_events_are_handled_at_once_than_allowed(desk: Desk) -> None:
    running, most = 0, 0

    async def count(_: Delivery) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1

    recorder = Recorder(count)
    await asyncio.gather(*(desk.publish() for _ in range(40)))
    async with desk.consuming(recorder, events_max=5):
        await recorder.count(40)
        await eventually(desk.settled)
    assert most == 5


async def test_a_lone_event_is_handled_promptly(desk: Desk) -> None:
    recorder = Recorder()
    async with desk.consuming(recorder):
        await desk.publish()
        await recorder.count(1)
        for number in range(2, 5):
            published = time.monotonic()
            await desk.publish()
            await recorder.count(number)
            assert time.monotonic() - published < 1


async def test_an_event_is_handled_promptly_while_another_is_slow(desk: Desk) -> None:
    release = asyncio.Event()

    async def wait_for_release(delivery: Delivery) -> None:
        if delivery.body == b"slow":
            await release.wait()

    recorder = Recorder(wait_for_release)
    async with desk.consuming(recorder, events_max=4):
        await desk.publish(b"slow")
        await recorder.count(1)
        published = time.monotonic()
        await desk.publish(b"quick")
        await recorder.count(2)
        assert time.monotonic() - published < 1
        release.set()
        await eventually(desk.settled)


async def test_a_consumer_that_stops_finishes_what_it_has_begun(desk: Desk) -> None:
    done: list[bytes] = []

    async def work(delivery: Delivery) -> None:
        await asyncio.sleep(0.3)
        done.append(delivery.body)

    recorder = Recorder(work)
    async with desk.consuming(recorder):
        await desk.publish(b"begun")
        await recorder.count(1)
    assert done == [b"begun"]
    await eventually(desk.settled)


async def test_a_consumer_that_starts_again_gets_the_next_event_promptly(desk: Desk) -> None:
    """The open request of the one before must not capture it."""
    recorder = Recorder()
    async with desk.consuming(recorder):
        await desk.publish(b"first")
        await recorder.count(1)
    await desk.publish(b"between")
    async with desk.consuming(recorder):
        await recorder.count(2, within_s=2)
    assert recorder.bodies == [b"first", b"between"]
