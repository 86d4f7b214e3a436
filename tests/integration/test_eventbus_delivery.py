"""The delivery contract of eventbus.consumer: what becomes of a message, by how its handler ends."""

from __future__ import annotations

import asyncio
import json

import nats.errors
import pytest
from eventbus_bench import Desk, Recorder
from nats.js.errors import NotFoundError

from eventbus import consumer, dead_letters, replay
from eventbus.consumer import Delivery
from eventbus.streams import EVENTS, EXHAUSTED, exhausted_subject, provision_consumer
from mesh.backoff import Backoff
from mesh.errors import Invalid, StepMismatch, Unavailable
from tests.harness import eventually

FIRST_S = 0.1

REPLAY_ID = replay.mint()


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "RETRY", Backoff(first_s=FIRST_S, max_s=1.0))


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


async def test_a_technical_fault_comes_again_after_growing_delays_until_it_is_a_dead_letter(desk: Desk) -> None:
    recorder = raising(ConnectionResetError("the disk is on fire\nPlease — help"))
    async with desk.consuming(recorder, deliveries_max=4):
        await desk.publish(b"poison", replay=REPLAY_ID)
        letter = await desk.letter()
        await eventually(desk.settled)
        assert [seen.deliveries for seen in recorder.seen] == [1, 2, 3, 4]
    gaps = [later - earlier for earlier, later in zip(recorder.times, recorder.times[1:], strict=False)]
    assert all(gap > least * 0.9 for gap, least in zip(gaps, (FIRST_S, 2 * FIRST_S, 4 * FIRST_S), strict=True)), gaps
    assert letter["body"] == "poison"
    assert letter[dead_letters.REASON] == "ConnectionResetError"
    assert letter[dead_letters.MESSAGE] == "a technical error; the service's log says more"
    assert letter[dead_letters.DELIVERIES] == "4"
    assert letter[dead_letters.SEQUENCE] == str(recorder.seen[0].sequence)
    assert letter[dead_letters.STYLE] == "choreographed"
    assert letter["ensemble-replay"] == REPLAY_ID
    assert await desk.letters() == 1


async def test_a_fault_that_passes_leaves_no_dead_letter(desk: Desk) -> None:
    async def fail_twice(delivery: Delivery) -> None:
        if delivery.deliveries < 3:
            raise Unavailable("not yet")

    recorder = Recorder(fail_twice)
    async with desk.consuming(recorder, deliveries_max=3):
        await desk.publish()
        await recorder.count(3)
        await eventually(desk.settled)
    assert await desk.letters() == 0


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


async def test_what_no_handler_lived_to_answer_is_a_dead_letter_though_nobody_heard_the_advisory(desk: Desk) -> None:
    subjects = [f"events.choreographed.{desk.event}"]
    await provision_consumer(
        desk.bus.jetstream, desk.service, subjects, ack_wait_s=0.6, deliveries_max=2, pending_max=256
    )
    await desk.publish(b"killer", replay=REPLAY_ID)
    pull = await desk.bus.jetstream.pull_subscribe_bind(desk.service, EVENTS)
    for _ in range(2):  # two processes that die of it
        await fetch_and_die(pull)
    with pytest.raises(nats.errors.TimeoutError):  # a third, which asks and gets nothing: now the broker says so
        await pull.fetch(1, timeout=1.5)
    await pull.unsubscribe()
    said = await desk.bus.jetstream.stream_info(EXHAUSTED, subjects_filter=exhausted_subject(desk.service))
    assert said.state.subjects == {exhausted_subject(desk.service): 1}
    recorder = Recorder()
    async with desk.consuming(recorder, ack_wait_s=0.6, deliveries_max=2):
        await desk.publish(b"behind it")
        letter = await desk.letter()
        await recorder.count(1)
    assert recorder.bodies == [b"behind it"]
    assert letter["body"] == "killer"
    assert letter[dead_letters.REASON] == "MAX_DELIVERIES"
    assert letter[dead_letters.DELIVERIES] == "2"
    assert letter["ensemble-replay"] == REPLAY_ID
    assert await desk.letters() == 1


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


async def fetch_and_die(pull: object) -> None:
    """Takes one message and never answers it."""

    async def fetched() -> bool:
        try:
            return bool(await pull.fetch(1, timeout=0.5))  # type: ignore[attr-defined]
        except (nats.errors.TimeoutError, TimeoutError):
            return False

    await eventually(fetched, within_s=5)


async def test_replicas_that_share_a_durable_handle_each_event_once(desk: Desk) -> None:
    one, other = Recorder(), Recorder()
    async with desk.consuming(one, events_max=4), desk.consuming(other, events_max=4):
        await asyncio.gather(*(desk.publish(str(number).encode()) for number in range(40)))

        async def all_seen() -> bool:
            return len(one.seen) + len(other.seen) >= 40

        await eventually(all_seen)
        await eventually(desk.settled)
    assert sorted(one.bodies + other.bodies) == sorted(str(number).encode() for number in range(40))
    assert one.seen
    assert other.seen
