"""Two people put the same dead letter back at the same time, on the modelled broker."""

from __future__ import annotations

import asyncio
import random

import pytest

from eventbus import dead_letters
from eventbus.bus import EventBus
from eventbus.dead_letters import DeadLetter
from eventbus.letter_box import Filter, LetterBox
from eventbus.streams import EVENTS
from eventbus.testing import ModelledBroker, ModelledClient
from mesh import virtual_time
from shop.orders.v1.events_pb2 import OrderPlaced
from tests.builders import an_order


def a_letter(sequence: int) -> DeadLetter:
    body = OrderPlaced(order=an_order()).SerializeToString()
    event = OrderPlaced.DESCRIPTOR.full_name
    return DeadLetter("payments", event, "choreographed", body, "STEP_MISMATCH", "", 1, sequence, 1, "")


@pytest.mark.parametrize("which", [0, 1, 2])
def test_it_is_put_back_once_wherever_it_stands(which: int) -> None:
    async def main() -> None:
        broker = ModelledBroker(random.Random(1))
        buses = [EventBus("modelled", "people", client=ModelledClient(broker)) for _ in range(2)]
        for bus in buses:
            await bus.run()
        for sequence in (1, 2, 3):
            await dead_letters.publish(buses[0], a_letter(sequence))
        boxes = [LetterBox(bus) for bus in buses]
        letters = [letter async for letter in boxes[0].find(Filter())]
        assert sorted(await asyncio.gather(*(box.put_back(letters[which]) for box in boxes))) == [False, True]
        assert [letter async for letter in boxes[1].find(Filter())] == [*letters[:which], *letters[which + 1 :]]
        assert (await buses[0].jetstream.stream_info(EVENTS)).state.messages == 1
        for bus in buses:
            await bus.close()

    virtual_time.run(main)
