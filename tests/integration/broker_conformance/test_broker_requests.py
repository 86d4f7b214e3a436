"""What is said to those who ask for messages: on the model as on nats-server."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from nats.js.errors import NotFoundError, ServerError
from stage import Run, Scene, seen

LEFT = {"Nats-Pending-Messages": "2", "Nats-Pending-Bytes": "0"}


def test_who_does_not_wait_is_told_that_there_is_nothing_or_no_more(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer()
        nothing = await scene.pull(no_wait=True, expires=0)
        assert await nothing.status() == ("404", {"Description": "No Messages"})
        await scene.publish(b"1")
        await scene.knows_of(1)
        some = await scene.pull(3, no_wait=True, expires=0)
        assert seen(await some.message()) == (b"1", 1)
        assert await some.status() == ("404", {"Description": "No Messages"})

    run(play)


def test_who_waits_is_told_when_the_time_is_over_and_how_much_is_missing(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer()
        asked = await scene.pull(3, expires=0.2)
        await scene.publish(b"1")
        assert seen(await asked.message()) == (b"1", 1)
        after_s, message = await asked.next()
        assert scene.on_time(after_s, 0.2)
        assert dict(message.headers or {}) == {"Status": "408", "Description": "Request Timeout", **LEFT}
        await scene.publish(b"2")
        await asked.nothing(0.05)
        (two,) = await scene.take()
        assert seen(two) == (b"2", 1)

    run(play)


def test_a_request_that_is_fulfilled_ends_without_a_word(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer()
        await scene.publish(b"1")
        asked = await scene.pull(1, expires=0.15, idle_heartbeat=0.05)
        await asked.message()
        await asked.nothing(0.25)

    run(play)


def test_who_waits_hears_a_heartbeat_as_long_as_nothing_comes(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer()
        asked = await scene.pull(2, expires=2.0, idle_heartbeat=0.15)
        beat = {"Description": "Idle Heartbeat", "Nats-Last-Consumer": "0", "Nats-Last-Stream": "0"}
        after_s, _ = await asked.next()
        assert scene.on_time(after_s, 0.15)
        assert await asked.status() == ("100", beat)
        await scene.publish(b"1")
        assert (await asked.message()).data == b"1"
        began_s = scene.now()
        assert await asked.status() == ("100", beat | {"Nats-Last-Consumer": "1", "Nats-Last-Stream": "1"})
        assert scene.on_time(scene.now() - began_s, 0.15)
        await asked.end()

    run(play)


def test_a_heartbeat_that_is_too_slow_for_the_request_is_refused(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer()
        asked = await scene.pull(expires=1.0, idle_heartbeat=0.6)
        assert await asked.status() == ("400", {"Description": "Bad Request - heartbeat value too large"})

    run(play)


def test_more_requests_than_may_wait_are_refused(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer(max_waiting=1)
        first = await scene.pull()
        second = await scene.pull()
        assert await second.status() == ("409", {"Description": "Exceeded MaxWaiting"})
        await scene.publish(b"1")
        assert (await first.message()).data == b"1"

    run(play)


def test_who_waits_is_told_that_the_consumer_is_deleted_and_who_asks_afterwards_that_nobody_answers(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer()
        asked = await scene.pull()
        await scene.settle()
        await scene.js.delete_consumer(scene.name, "worker")
        assert await asked.status() == ("409", {"Description": "Consumer Deleted"})
        assert (await (await scene.pull()).status())[0] == "503"
        with pytest.raises(NotFoundError) as gone:
            await scene.info()
        assert gone.value.err_code == 10014
        await scene.publish(b"1")
        await scene.consumer()
        (anew,) = await scene.take()
        assert (seen(anew), anew.metadata.sequence.consumer) == ((b"1", 1), 1)

    run(play)


def test_a_consumer_that_is_made_anew_starts_over(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer()
        await scene.publish(b"1")
        (message,) = await scene.take()
        await message.ack_sync()
        await scene.js.delete_consumer(scene.name, "worker")
        await scene.consumer()
        (again,) = await scene.take()
        assert seen(again) == (b"1", 1)

    run(play)


def test_a_consumer_that_is_made_as_soon_as_the_one_before_is_said_to_be_deleted_may_have_nothing_to_read(
    run: Run,
) -> None:
    """As it has on nats-server about every second time: so eventbus.pull waits a little before it makes one."""

    async def play(scene: Scene) -> None:
        await scene.publish(b"1")
        for _ in range(30):
            await scene.consumer()
            await scene.take()
            asked = await scene.pull()
            await scene.settle()
            deleting = asyncio.create_task(scene.js.delete_consumer(scene.name, "worker"))
            await asked.status()
            with contextlib.suppress(ServerError):  # or it is refused
                await scene.consumer()
                if (await scene.info()).num_pending == 0:
                    await deleting
                    return
            await deleting
            await asyncio.sleep(0.05)
            with contextlib.suppress(NotFoundError):
                await scene.js.delete_consumer(scene.name, "worker")
            await asyncio.sleep(0.05)
        raise AssertionError("it never had")

    run(play)


def test_who_waits_is_told_that_the_stream_is_deleted(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer()
        asked = await scene.pull()
        await scene.settle()
        await scene.js.delete_stream(scene.name)
        assert await asked.status() == ("409", {"Description": "Consumer Deleted"})
        assert (await (await scene.pull()).status())[0] == "503"

    run(play)


def test_what_is_published_goes_to_who_waits(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer(subjects=["a"])
        asked = await scene.pull(2)
        await scene.publish(b"1", "b")
        await scene.publish(b"2", "a")
        await scene.publish(b"3", "a")
        assert [(await asked.message()).data for _ in range(2)] == [b"2", b"3"]

    run(play)
