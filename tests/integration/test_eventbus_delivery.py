"""The delivery contract of eventbus.consumer: what becomes of a message, by how its handler ends."""

from __future__ import annotations

import asyncio
import json

import pytest
from eventbus_bench import Desk, Recorder
from nats.js.errors import NotFoundError

from eventbus import dead_letters, replay
from eventbus.consumer import Delivery
from eventbus.streams import EXHAUSTED, exhausted_subject
from mesh.errors import Invalid, StepMismatch
from tests.harness import eventually

REPLAY_ID = replay.mint()


def raising(error: Exception) -> Recorder:
    async def fail(_: Delivery) -> None:
        raise error

    return Recorder(fail)


async def test_a_handler_that_returns_acknowledges(desk: Desk) -> None:
    recorder = Recorder()
    async with desk.consuming(recorder, ack_wait_s=1.0):
        await desk.publish(b"hello", replay=REPLAY_ID)
        await recorder.count(1)
        await eventually(desk.settled)
    (seen,) = recorder.seen
    assert (seen.event, seen.body, seen.style, seen.replay) == (desk.event, b"hello", "choreographed", REPLAY_ID)
    assert seen.deliveries == 1
    assert seen.sequence == (await desk.last_stored()).seq


async def test_a_message_without_headers_is_delivered(desk: Desk) -> None:
    recorder = Recorder()
    async with desk.consuming(recorder):
        await desk.bus.client.publish(f"events.choreographed.{desk.event}", b"bare")
        await recorder.count(1)
        await eventually(desk.settled)
    assert [(seen.body, seen.replay) for seen in recorder.seen] == [(b"bare", "")]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(Invalid([("order_id", "is missing")]), "INVALID_MESSAGE"), (StepMismatch("ReserveStock"), "STEP_MISMATCH")],
)
async def test_what_trying_again_cannot_help_is_a_dead_letter_at_once(
    desk: Desk, error: Exception, reason: str
) -> None:
    recorder = raising(error)
    async with desk.consuming(recorder, ack_wait_s=1.0):
        await desk.publish()
        letter = await desk.letter()
        await eventually(desk.settled)
    assert letter[dead_letters.REASON] == reason
    assert letter[dead_letters.MESSAGE] == str(error)
    assert letter[dead_letters.DELIVERIES] == "1"
    assert (len(recorder.seen), await desk.letters()) == (1, 1)


async def test_an_advisory_about_a_message_that_is_gone_makes_no_dead_letter_and_is_not_read_again(desk: Desk) -> None:
    said = {"stream_seq": 1_000_000, "deliveries": 2}
    await desk.bus.jetstream.publish(exhausted_subject(desk.service), json.dumps(said).encode())
    async with desk.consuming(Recorder()):

        async def read() -> bool:
            try:
                info = await desk.bus.jetstream.consumer_info(EXHAUSTED, desk.service)
            except NotFoundError:  # not provisioned yet
                return False
            return not info.num_pending and not info.num_ack_pending

        await eventually(read)
    assert await desk.letters() == 0


async def test_replicas_that_share_a_durable_handle_each_event_once(desk: Desk) -> None:
    one, other = Recorder(), Recorder()
    published: list[bytes] = []
    async with desk.consuming(one, events_max=4), desk.consuming(other, events_max=4):

        async def both_had_some() -> bool:
            some = [str(len(published) + number).encode() for number in range(10)]
            await asyncio.gather(*(desk.publish(body) for body in some))
            published.extend(some)
            return bool(one.seen and other.seen)

        async def all_seen() -> bool:
            return len(one.seen) + len(other.seen) >= len(published)

        await eventually(both_had_some)
        await eventually(all_seen)
        await eventually(desk.settled)
    assert sorted(one.bodies + other.bodies) == sorted(published)
