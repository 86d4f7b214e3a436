"""What is published is stored, once, with the headers of the contract; or the publisher hears of it soon."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import datetime, timedelta
from pathlib import Path

import nats.errors
import pytest
from eventbus_bench import Desk, MortalBroker, an_envelope, connected

from eventbus.bus import EventBus, Unpublished
from tests.harness import Broker, eventually


async def test_an_event_is_stored_once_however_often_it_is_published(desk: Desk) -> None:
    for _ in range(3):
        await desk.publish(saga_id="saga-1")
    assert await desk.stored() == 1


async def test_events_of_two_sagas_are_both_stored(desk: Desk) -> None:
    await desk.publish(saga_id="saga-1")
    await desk.publish(saga_id="saga-2")
    assert await desk.stored() == 2


async def test_a_deliberate_replay_is_stored_again_and_its_own_repetition_is_not(desk: Desk) -> None:
    await desk.publish(saga_id="saga-1")
    await desk.publish(saga_id="saga-1", replay="replay-1")
    await desk.publish(saga_id="saga-1", replay="replay-1")
    await desk.publish(saga_id="saga-1", replay="replay-2")
    assert await desk.stored() == 3


async def test_the_stored_message_is_the_body_with_the_headers_of_the_contract(desk: Desk) -> None:
    await desk.publish(b"\x0a\x01x", saga_id="saga-1", replay="replay-1")
    stored = await desk.last_stored()
    headers = dict(stored.headers or {})
    expected_id = f"saga-1:test.v1.TestService.Act::{desk.event}:choreographed:replay-1"
    assert stored.subject == f"events.choreographed.{desk.event}"
    assert stored.data == b"\x0a\x01x"
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", headers.pop("traceparent"))
    assert datetime.fromisoformat(headers.pop("ce-time")).utcoffset() == timedelta(0)
    assert headers == {
        "Nats-Msg-Id": expected_id,
        "ce-specversion": "1.0",
        "ce-id": expected_id,
        "ce-type": desk.event,
        "ce-source": "/tester",
        "ce-datacontenttype": "application/protobuf",
        "ensemble-replay": "replay-1",
    }


async def test_an_event_that_is_no_replay_says_nothing_of_one(desk: Desk) -> None:
    await desk.publish()
    assert "ensemble-replay" not in ((await desk.last_stored()).headers or {})


async def test_a_subject_that_no_stream_takes_is_unpublished(bus: EventBus) -> None:
    with pytest.raises(Unpublished):
        await bus.publish_raw("nowhere.at.all", b"", {})


async def test_closing_while_the_broker_is_frozen_returns_within_five_seconds(mortal: MortalBroker) -> None:
    async with connected(mortal.url) as bus:
        await bus.client.subscribe("some.subject")
        with mortal.frozen():
            began = time.monotonic()
            await bus.close()
            assert time.monotonic() - began < 5


async def test_closing_while_the_broker_is_away_returns(mortal: MortalBroker) -> None:
    async with connected(mortal.url) as bus:
        mortal.kill()

        async def noticed() -> bool:
            return not bus.client.is_connected

        await eventually(noticed, within_s=5)
        async with asyncio.timeout(5):
            await bus.close()


async def test_a_bus_that_starts_before_its_broker_connects_when_it_comes(tmp_path: Path) -> None:
    late = Broker(tmp_path)
    bus = EventBus(late.url, "early")
    running = asyncio.create_task(bus.run())
    try:
        with pytest.raises(Unpublished):
            await bus.publish(an_envelope("test.v1.Early"))
        late.start()
        async with asyncio.timeout(10):
            await bus.ready()
        await bus.publish(an_envelope("test.v1.Early"))
    finally:
        running.cancel()
        await bus.close()
        late.end()


async def test_closing_a_bus_that_never_connected_returns(tmp_path: Path) -> None:
    bus = EventBus(Broker(tmp_path).url, "lonely")
    running = asyncio.create_task(bus.run())
    await asyncio.sleep(0)  # lets it begin to connect
    running.cancel()
    async with asyncio.timeout(5):
        await bus.close()


async def test_closing_a_bus_whose_url_is_nonsense_hides_no_error_behind_its_own() -> None:
    bus = EventBus("::::", "lost")
    with pytest.raises(nats.errors.Error, match="url"):
        await bus.run()
    await bus.close()
