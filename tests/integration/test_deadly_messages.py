"""Messages that kill the process that handles them, and those that were in work beside them."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from deadly_service import DEADLY
from eventbus_bench import Desk, connected
from participant_process import running_service

from eventbus import consumer
from eventbus.consumer import Delivery, apart_s
from eventbus.dead_letters import REASON
from eventbus.envelope import Envelope
from eventbus.streams import DEAD_LETTERS
from mesh.channel import connect
from shop.inventory.v1.inventory_pb2 import SetStockRequest
from shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from shop.orders.v1.events_pb2 import OrderPlaced
from tests.builders import an_order
from tests.harness import Broker, eventually

DELIVERIES_MAX = 5
DEADLY_INVENTORY = (str(Path(__file__).parent / "deadly_service.py"),)
RESERVED = "shop.inventory.v1.StockReserved"


def delivery(sequence: int, deliveries: int) -> Delivery:
    return Delivery("test.v1.Event", b"", "choreographed", "", sequence, deliveries)


@pytest.mark.parametrize("killer", [1, 7, 100])
def test_of_two_deliveries_one_brings_every_message_before_the_one_that_kills(killer: int) -> None:
    for other in (number for number in range(1, 257) if number != killer):
        before = [apart_s(delivery(other, n)) < apart_s(delivery(killer, n)) for n in (4, 5)]
        assert any(before)
        assert 0 <= apart_s(delivery(other, 4)) <= consumer.APART_S


async def test_an_order_that_kills_its_service_is_a_dead_letter_and_those_beside_it_are_served(
    tmp_path: Path, broker: Broker
) -> None:
    environment = {
        "ENSEMBLE_NATS_URL": broker.url,
        "ENSEMBLE_ACK_WAIT_S": "0.6",
        "ENSEMBLE_DELIVERIES_MAX": str(DELIVERIES_MAX),
    }
    orders = [an_order() for _ in range(3)]
    deadly = an_order(customer_id=DEADLY)
    async with connected(broker.url) as bus:
        for death in range(DELIVERIES_MAX):  # as a supervisor does
            with running_service("inventory", tmp_path, DEADLY_INVENTORY, **environment) as service:
                if not death:
                    async with connect(await service.address()) as channel:
                        await InventoryServiceStub(channel).SetStock(
                            SetStockRequest(sku="sku-1", on_hand=100), timeout=5
                        )
                    for order in [orders[0], deadly, *orders[1:]]:
                        await bus.publish(Envelope.starting(OrderPlaced(order=order), method="test", source="test"))
                assert await service.ended(within_s=15) == -signal.SIGKILL
        reserved = Desk(bus)
        reserved.event = RESERVED
        assert await reserved.stored() == len(orders), "the orders beside it were served by those that died"
        with running_service("inventory", tmp_path, DEADLY_INVENTORY, **environment) as service:

            async def letter() -> dict[str, str] | None:
                info = await bus.jetstream.stream_info(DEAD_LETTERS)
                if not info.state.messages:
                    return None
                return (await bus.jetstream.get_msg(DEAD_LETTERS, info.state.last_seq)).headers

            headers = await eventually(letter, what="a dead letter")
            assert service.popen.poll() is None
        assert (await bus.jetstream.stream_info(DEAD_LETTERS)).state.messages == 1
    assert headers is not None
    assert headers[REASON] == "MAX_DELIVERIES"
