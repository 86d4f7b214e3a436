"""How soon, how many at once, and how long: the pace of a consumer."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import time
from pathlib import Path

from eventbus_bench import Desk, Recorder
from nats.js.api import ConsumerInfo
from nats.js.errors import NotFoundError
from participant_process import running_service

from eventbus.bus import EventBus
from eventbus.consumer import Delivery
from eventbus.envelope import Envelope
from eventbus.streams import DEAD_LETTERS, EVENTS
from mesh.errors import Unavailable
from shop.orders.v1.events_pb2 import OrderPlaced
from tests.builders import an_order
from tests.harness import Broker, eventually, send


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


async def test_a_slow_service_has_no_more_events_in_its_hands_than_allowed(desk: Desk) -> None:
    async def be_slow(_: Delivery) -> None:
        await asyncio.sleep(0.05)

    recorder = Recorder(be_slow)
    await asyncio.gather(*(desk.publish() for _ in range(40)))
    in_hands: list[int] = []

    async def all_settled() -> bool:
        with contextlib.suppress(NotFoundError):  # not provisioned yet
            info = await desk.bus.jetstream.consumer_info(EVENTS, desk.service)
            in_hands.append(info.num_ack_pending or 0)
            return len(recorder.seen) >= 40 and not in_hands[-1]
        return False

    async with desk.consuming(recorder, events_max=4):
        await eventually(all_settled, every_s=0.01)
    assert 0 < max(in_hands) <= 8, "four in work, and a few whose acknowledgement the broker has yet to read"
    assert len(recorder.seen) == 40


async def test_one_poison_message_delays_none_of_those_behind_it(desk: Desk) -> None:
    """Though the service handles two at once, and the poison one comes again and again meanwhile."""

    async def choke(delivery: Delivery) -> None:
        if delivery.body == b"poison":
            raise Unavailable("not now")

    recorder = Recorder(choke)
    async with desk.consuming(recorder, events_max=2, deliveries_max=100):
        await desk.publish(b"poison")
        await recorder.count(1)
        waits: list[float] = []
        for number in range(15):
            published, good = time.monotonic(), f"good {number}".encode()
            await desk.publish(good)
            await eventually(functools.partial(handled, recorder, good), every_s=0.005)
            waits.append(time.monotonic() - published)
            await asyncio.sleep(0.06)  # spread over the poison one's tries
    assert recorder.bodies.count(b"poison") > 2
    assert max(waits) < 1, waits


async def handled(recorder: Recorder, body: bytes) -> bool:
    return body in recorder.bodies


async def test_a_stopped_service_gets_so_much_and_no_more_until_it_goes_on(
    tmp_path: Path, broker: Broker, bus: EventBus
) -> None:
    """No redelivery goes to it either: what it does not answer waits for somebody who asks."""
    limits = {"ENSEMBLE_EVENTS_MAX": "8", "ENSEMBLE_ACK_WAIT_S": "0.6"}
    orders = [an_order() for _ in range(60)]
    with running_service("inventory", tmp_path, ENSEMBLE_NATS_URL=broker.url, **limits) as service:
        await service.address()

        async def info() -> ConsumerInfo | None:
            try:
                return await bus.jetstream.consumer_info(EVENTS, "inventory")
            except NotFoundError:
                return None

        async def asks() -> bool:
            found = await info()
            return found is not None and bool(found.num_waiting)

        await eventually(asks)
        send(service.popen.pid, signal.SIGSTOP)
        for order in orders:
            await bus.publish(Envelope.starting(OrderPlaced(order=order), method="test", source="test"))
        delivered: set[int] = set()
        for _ in range(8):  # twice the ack wait
            await asyncio.sleep(0.15)
            found = await info()
            assert found is not None
            assert found.delivered is not None
            delivered.add(found.delivered.consumer_seq)
            assert (found.num_ack_pending or 0) <= 8
        assert delivered == {8}
        service.popen.send_signal(signal.SIGCONT)

        async def settled() -> bool:
            found = await info()
            return found is not None and not found.num_pending and not found.num_ack_pending

        await eventually(settled)
        refused = Desk(bus)
        refused.event = "shop.inventory.v1.StockRefused"  # there is no stock

        async def all_answered() -> bool:
            return await refused.stored() == len(orders)

        await eventually(all_answered)
    assert (await bus.jetstream.stream_info(DEAD_LETTERS)).state.messages == 0
