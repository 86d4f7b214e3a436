"""Dead letters for people: found, and put back once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nats.errors
import pytest
from eventbus_bench import Desk, Recorder, connected

from eventbus.bus import EventBus, Unpublished
from eventbus.consumer import Delivery
from eventbus.dead_letters import DeadLetter
from eventbus.envelope import Envelope
from eventbus.letter_box import Filter, LetterBox, NoLetter, Unreadable, replay_id
from eventbus.streams import DEAD_LETTERS
from mesh.errors import StepMismatch
from shop.orders.v1.events_pb2 import OrderPlaced
from shop.orders.v1.order_pb2 import Order
from tests.builders import an_order
from tests.harness import Broker, eventually

PLACED = "shop.orders.v1.OrderPlaced"


@pytest.fixture
def placed_desk(desk: Desk) -> Desk:
    """A service of this test alone that hears of placed orders, as other desks do."""
    desk.event = PLACED
    return desk


@pytest.fixture
def box(bus: EventBus) -> LetterBox:
    return LetterBox(bus)


class Choking:
    """Handles nothing until it is mended."""

    def __init__(self) -> None:
        self.mended = False
        self.recorder = Recorder(self._choke)

    async def _choke(self, _: Delivery) -> None:
        if not self.mended:
            raise StepMismatch("ReserveStock")


@asynccontextmanager
async def a_letter(desk: Desk, box: LetterBox, order: Order) -> AsyncIterator[tuple[Choking, DeadLetter]]:
    """A service that could not handle the placing of an order, and its dead letter."""
    choking = Choking()
    async with desk.consuming(choking.recorder):
        await desk.bus.publish(Envelope.starting(OrderPlaced(order=order), method="test", source="test"))
        (letter,) = await eventually(lambda: letters(box, desk.service, order), what="a dead letter")
        yield choking, letter


async def letters(box: LetterBox, service: str = "", order: Order | None = None) -> list[DeadLetter]:
    which = Filter(service=service, saga_id=order.order_id if order else "")
    return [letter async for letter in box.find(which)]


async def placed(bus: EventBus, order: Order) -> int:
    """How often an order's OrderPlaced is in the stream."""
    info = await bus.jetstream.stream_info("EVENTS")
    count = 0
    for sequence in range(info.state.first_seq, info.state.last_seq + 1):
        raw = await bus.jetstream.get_msg("EVENTS", sequence)
        count += raw.data == OrderPlaced(order=order).SerializeToString()
    return count


async def test_a_letter_says_what_died_and_why(placed_desk: Desk, box: LetterBox) -> None:
    order = an_order()
    async with a_letter(placed_desk, box, order) as (choking, letter):
        assert letter == await box.get(letter.id)
        (seen,) = [one for one in choking.recorder.seen if one.body == letter.body]
        assert (letter.service, letter.event, letter.style) == (placed_desk.service, PLACED, "choreographed")
        assert (letter.reason, letter.deliveries) == ("STEP_MISMATCH", 1)
        assert (letter.sequence, letter.stored_us) == (seen.sequence, seen.stored_us)
        assert OrderPlaced.FromString(letter.body) == OrderPlaced(order=order)
        assert letter.died_us >= letter.stored_us


async def test_a_letter_that_is_put_back_is_handled_by_its_service_alone_and_is_gone(
    placed_desk: Desk, box: LetterBox, bus: EventBus
) -> None:
    order, other = an_order(), Desk(bus)
    other.event, heard = PLACED, Recorder()
    async with a_letter(placed_desk, box, order) as (choking, letter), other.consuming(heard):
        await heard.count(1)
        choking.mended = True
        assert await box.put_back(letter)

        async def handled() -> list[Delivery]:
            return [one for one in choking.recorder.seen if one.body == letter.body][1:]

        (again,) = await eventually(handled)
        await eventually(placed_desk.settled)
        await eventually(other.settled)
        assert again.replay == replay_id(letter)
        assert again.choreographed
        assert [one.replay for one in heard.seen if one.body == letter.body] == [""]
        assert await letters(box, placed_desk.service, order) == []
        with pytest.raises(NoLetter, match=f"no dead letter {letter.id}: it was put back"):
            await box.get(letter.id)


async def test_whoever_dies_between_putting_back_and_removing_puts_it_back_once(
    placed_desk: Desk, box: LetterBox, bus: EventBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = an_order()
    async with a_letter(placed_desk, box, order) as (choking, letter):
        choking.mended = True
        with monkeypatch.context() as patch:

            async def die(*_: object) -> bool:
                raise nats.errors.ConnectionClosedError

            patch.setattr(bus.jetstream, "delete_msg", die)
            with pytest.raises(nats.errors.ConnectionClosedError):
                await box.put_back(letter)
        assert await box.put_back(await box.get(letter.id))
        assert await placed(bus, order) == 2, "the first time, and put back"


async def test_what_fails_again_is_a_new_letter_and_putting_back_all_comes_to_an_end(
    placed_desk: Desk, box: LetterBox
) -> None:
    order = an_order()
    async with a_letter(placed_desk, box, order) as (_, letter):
        await eventually(placed_desk.settled)
        before = await letters(box, placed_desk.service)
        rounds = 0
        async for one in box.find(Filter(service=placed_desk.service)):
            assert await box.put_back(one)
            await eventually(placed_desk.settled)
            rounds += 1
        assert rounds == len(before)
        (again,) = await letters(box, placed_desk.service, order)
        assert again.id > letter.id
        assert len(await letters(box, placed_desk.service)) == len(before)


async def test_what_is_no_message_is_put_back_by_force_only(placed_desk: Desk, box: LetterBox) -> None:
    recorder = Choking().recorder
    async with placed_desk.consuming(recorder):
        await placed_desk.bus.client.publish(f"events.choreographed.{PLACED}", b"\xff")

        async def nonsense() -> list[DeadLetter]:
            return [one for one in await letters(box, placed_desk.service) if one.body == b"\xff"]

        (letter,) = await eventually(nonsense)
        with pytest.raises(Unreadable, match="these bytes are no"):
            await box.put_back(letter)
        assert await nonsense() == [letter]
        assert await box.put_back(letter, unread=True)
        (again,) = await eventually(nonsense)
        assert again.id > letter.id


async def test_a_letter_stays_where_the_broker_does_not_take_it(
    placed_desk: Desk, box: LetterBox, broker: Broker
) -> None:
    async with a_letter(placed_desk, box, an_order()) as (_, letter):
        async with connected(broker.url) as lost:
            await lost.client.close()
            with pytest.raises(Unpublished):
                await LetterBox(lost).put_back(letter)
        assert await box.get(letter.id) == letter


async def test_letters_are_found_by_service_event_and_saga_the_oldest_first(placed_desk: Desk, box: LetterBox) -> None:
    first, second = an_order(), an_order()
    async with a_letter(placed_desk, box, first) as (_, one), a_letter(placed_desk, box, second) as (_, two):
        mine = {"service": placed_desk.service}
        for which, found in (
            (Filter(**mine), [one, two]),
            (Filter(**mine, event="OrderPlaced"), [one, two]),
            (Filter(**mine, event=PLACED, saga_id=second.order_id), [two]),
            (Filter(**mine, event="OrderCancelled"), []),
            (Filter(saga_id=first.order_id), [one]),
            (Filter(service="nobody"), []),
        ):
            assert [letter async for letter in box.find(which) if letter.id >= one.id] == found
        assert [letter async for letter in box.find(Filter(**mine), after=one.id)] == [two]


async def test_a_dead_letter_stream_that_anybody_wrote_to_can_be_read(box: LetterBox, bus: EventBus) -> None:
    await bus.jetstream.publish("dead.stranger.some.Event", b"x", headers={"ensemble-deliveries": "many"})
    (letter,) = await letters(box, "stranger")
    assert (letter.event, letter.deliveries, letter.style) == ("some.Event", 0, "")
    with pytest.raises(Unreadable):
        await box.put_back(letter, unread=True)
    await bus.jetstream.delete_msg(DEAD_LETTERS, letter.id)
