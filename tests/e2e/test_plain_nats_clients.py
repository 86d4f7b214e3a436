"""A program with nothing but a NATS connection."""

from __future__ import annotations

from collections.abc import AsyncIterator

import nats
import pytest
from nats.aio.client import Client

from console.client import MeshClient
from shop.inventory.v1.inventory_pb2 import GetStockRequest
from shop.orders.v1.events_pb2 import OrderPlaced
from shop.orders.v1.order_pb2 import Order, OrderStatus
from tests.builders import an_order
from tests.e2e.business import ended, set_stock, settled_books
from tests.harness import RunningMesh, eventually

SUBJECT = "events.choreographed.shop.orders.v1.OrderPlaced"
HEARING_ORDER_PLACED = {"orders", "inventory", "payments", "shipping"}


@pytest.fixture
async def connection(mesh: RunningMesh) -> AsyncIterator[Client]:
    client = await nats.connect(mesh.file.nats_url)
    yield client
    await client.close()


def bytes_of(order: Order) -> bytes:
    return OrderPlaced(order=order).SerializeToString()


async def test_an_event_without_headers_is_a_whole_order(
    mesh: RunningMesh, client: MeshClient, connection: Client
) -> None:
    await set_stock(client, "nats-one", 10)
    order = an_order()
    order.lines[0].sku = "nats-one"
    for _ in range(10):  # and the same bytes ten times are still one
        await connection.publish(SUBJECT, bytes_of(order))
    await connection.flush()
    assert await ended(client, order.order_id) == OrderStatus.ORDER_STATUS_COMPLETED
    stock = (await client.inventory.GetStock(GetStockRequest(sku="nats-one"), timeout=5)).stock
    assert (stock.on_hand, stock.reserved) == (9, 1)
    assert (await settled_books(mesh.data)).faults == []


@pytest.mark.parametrize("fault", ["garbage", "an order without lines", "an order without an id"])
async def test_what_is_no_order_becomes_a_dead_letter_and_nothing_else(
    mesh: RunningMesh, client: MeshClient, connection: Client, fault: str
) -> None:
    jetstream = connection.jetstream()
    before = (await jetstream.stream_info("DEAD_LETTERS")).state.last_seq
    events_before = (await jetstream.stream_info("EVENTS")).state.last_seq
    order = an_order()
    if fault == "an order without lines":
        del order.lines[:]
    if fault == "an order without an id":
        order.order_id = ""
    body = b"\xff\xff garbage" if fault == "garbage" else bytes_of(order)
    await connection.publish(SUBJECT, body)
    await connection.flush()

    async def all_are_there() -> bool:
        state = (await jetstream.stream_info("DEAD_LETTERS")).state
        return state.last_seq - before == len(HEARING_ORDER_PLACED)

    await eventually(all_are_there, what="a dead letter of each service")
    for sequence in range(before + 1, before + 1 + len(HEARING_ORDER_PLACED)):
        letter = await jetstream.get_msg("DEAD_LETTERS", sequence)
        assert letter.subject is not None
        assert letter.headers is not None
        _, service, event = letter.subject.split(".", 2)
        assert service in HEARING_ORDER_PLACED
        assert event == "shop.orders.v1.OrderPlaced"
        assert letter.data == body
        assert letter.headers["ensemble-reason"] == "INVALID_MESSAGE"
        assert letter.headers["ensemble-message"]
        assert letter.headers["ensemble-deliveries"] == "1"
        assert letter.headers["ensemble-stream-sequence"] == str(events_before + 1)
    assert (await jetstream.stream_info("EVENTS")).state.last_seq == events_before + 1  # no event followed

    async def all_are_ended() -> bool:
        found = [await jetstream.consumer_info("EVENTS", service) for service in HEARING_ORDER_PLACED]
        return not any(one.num_ack_pending for one in found)

    # The broker is told only once the letter is stored. What it is not told of stays pending for ever.
    await eventually(all_are_ended, what="the end of the message at each service")
