"""The streams and consumers that the bus makes, as contracts.md describes them."""

from __future__ import annotations

import asyncio

import pytest
from eventbus_bench import Desk, Recorder, a_name
from nats.js.api import AckPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import BadRequestError

from eventbus.bus import EventBus
from eventbus.streams import DEAD_LETTERS, EVENTS, EXHAUSTED, provision_consumer, provision_streams
from tests.harness import eventually

DAY_S = 24 * 3600


async def make_consumer(bus: EventBus, name: str, subjects: list[str]) -> None:
    await provision_consumer(bus.jetstream, name, subjects, ack_wait_s=7, deliveries_max=3, pending_max=40)


async def test_events_keeps_seven_days_on_disk_by_limits_with_a_window_of_two_minutes(bus: EventBus) -> None:
    config = (await bus.jetstream.stream_info(EVENTS)).config
    assert config.subjects == ["events.>"]
    assert config.storage == StorageType.FILE
    assert config.retention == RetentionPolicy.LIMITS
    assert config.max_age == 7 * DAY_S
    assert config.duplicate_window == 120
    assert config.max_bytes == config.max_msgs == -1


async def test_dead_letters_are_kept_on_disk_by_limits(bus: EventBus) -> None:
    config = (await bus.jetstream.stream_info(DEAD_LETTERS)).config
    assert config.subjects == ["dead.>"]
    assert config.storage == StorageType.FILE
    assert config.retention == RetentionPolicy.LIMITS
    assert config.max_age is not None
    assert config.max_age >= 7 * DAY_S


async def test_what_is_said_of_exhausted_messages_is_kept_as_long_as_they_are(bus: EventBus) -> None:
    config = (await bus.jetstream.stream_info(EXHAUSTED)).config
    assert config.subjects == ["$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.EVENTS.>"]
    assert (config.storage, config.max_age) == (StorageType.FILE, 7 * DAY_S)


async def test_provisioning_again_and_by_many_at_once_changes_nothing(bus: EventBus, desk: Desk) -> None:
    await desk.publish()
    await asyncio.gather(*(provision_streams(bus.jetstream) for _ in range(8)))
    assert await desk.stored() == 1


async def test_provisioning_brings_a_differing_stream_up_to_date_and_keeps_its_messages(
    bus: EventBus, desk: Desk
) -> None:
    await desk.publish()
    await bus.jetstream.update_stream(
        StreamConfig(name=EVENTS, subjects=["events.>", "more.>"], max_age=60 * 60, duplicate_window=5)
    )
    await provision_streams(bus.jetstream)
    config = (await bus.jetstream.stream_info(EVENTS)).config
    assert (config.subjects, config.max_age, config.duplicate_window) == (["events.>"], 7 * DAY_S, 120)
    assert await desk.stored() == 1


async def test_the_durable_has_the_name_of_the_service_and_the_given_subjects_and_limits(bus: EventBus) -> None:
    name = a_name("service-")
    subjects = ["events.choreographed.a.B", "events.choreographed.a.C", "events.orchestrated.a.B"]
    await make_consumer(bus, name, list(reversed(subjects)))
    config = (await bus.jetstream.consumer_info(EVENTS, name)).config
    assert config.durable_name == name
    assert sorted(config.filter_subjects or []) == subjects
    assert config.ack_policy == AckPolicy.EXPLICIT
    assert (config.ack_wait, config.max_deliver, config.max_ack_pending) == (7, 3, 40)


async def test_one_subject_is_as_good_as_several(bus: EventBus) -> None:
    name = a_name("service-")
    await make_consumer(bus, name, ["events.choreographed.a.B"])
    config = (await bus.jetstream.consumer_info(EVENTS, name)).config
    assert (config.filter_subjects or [config.filter_subject]) == ["events.choreographed.a.B"]


async def test_the_subjects_of_a_durable_can_be_changed_and_its_position_is_kept(desk: Desk) -> None:
    recorder = Recorder()
    async with desk.consuming(recorder):
        await desk.publish(b"before")
        await recorder.count(1)
        await eventually(desk.settled)
    await make_consumer(desk.bus, desk.service, [f"events.choreographed.{desk.event}", "events.orchestrated.a.B"])
    await make_consumer(desk.bus, desk.service, [f"events.choreographed.{desk.event}"])
    async with desk.consuming(recorder):
        await desk.publish(b"after")
        await recorder.count(2)
    assert recorder.bodies == [b"before", b"after"]


async def test_overlapping_subjects_are_refused(bus: EventBus) -> None:
    with pytest.raises(BadRequestError) as raised:
        await make_consumer(bus, a_name("service-"), ["events.choreographed.>", "events.choreographed.a.B"])
    assert raised.value.err_code == 10138


async def test_a_durable_made_late_sees_what_was_published_before_it(desk: Desk) -> None:
    await desk.publish(b"early")
    recorder = Recorder()
    async with desk.consuming(recorder):
        await recorder.count(1)
    assert recorder.bodies == [b"early"]
