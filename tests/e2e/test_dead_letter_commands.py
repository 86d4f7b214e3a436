"""`ensemble dead-letters`: what nobody could handle is listed, shown, and put back once."""

from __future__ import annotations

import json
from typing import Any

import nats
from google.protobuf import json_format

from console.client import MeshClient
from eventbus.dead_letters import DeadLetter
from shop.inventory.v1.inventory_pb2 import GetStockRequest
from shop.orders.v1.events_pb2 import OrderPlaced
from shop.orders.v1.order_pb2 import OrderStatus
from shop.orders.v1.orders_pb2 import Coordination
from tests.builders import an_order
from tests.e2e.business import ended, place, set_stock, settled_books
from tests.harness import RunningMesh, ensemble, eventually

PLACED = "shop.orders.v1.OrderPlaced"
SUBJECT = f"events.choreographed.{PLACED}"
COMPLETED = OrderStatus.ORDER_STATUS_COMPLETED


def run(mesh: RunningMesh, *arguments: str, status: int = 0) -> str:
    done = ensemble("dead-letters", *arguments, data=mesh.data)
    assert (done.returncode, done.stderr) == (status, "")
    return done.stdout


def listed(mesh: RunningMesh, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run(mesh, "list", "--json", *arguments))["dead_letters"]
    return found


async def test_what_was_listed_and_shown_is_put_back_for_its_service_once(
    mesh: RunningMesh, client: MeshClient
) -> None:
    await set_stock(client, "letter-sku", 10)
    order = an_order()
    order.lines[0].sku = "letter-sku"
    # As inventory writes it when its handlers die of a message; the fault is mended since.
    letter = DeadLetter(
        service="inventory",
        event=PLACED,
        style="choreographed",
        body=OrderPlaced(order=order).SerializeToString(),
        reason="MAX_DELIVERIES",
        message="no handler lived to answer it",
        deliveries=12,
        sequence=1,
        stored_us=1,
        replay="",
    )
    connection = await nats.connect(mesh.file.nats_url)
    await connection.jetstream().publish(letter.subject, letter.body, headers=letter.headers())
    await connection.close()

    (head,) = listed(mesh, "--saga", order.order_id)
    assert (head["service"], head["event"], head["deliveries"]) == ("inventory", PLACED, 12)
    id = str(head["id"])
    whole = json.loads(run(mesh, "show", id, "--json"))
    assert json_format.ParseDict(whole["body"], OrderPlaced()) == OrderPlaced(order=order)
    assert (whole["reason"], whole["message"]) == ("MAX_DELIVERIES", "no handler lived to answer it")

    assert run(mesh, "replay", id) == f"{id} is put back: {PLACED} for inventory\n"

    async def reserved() -> bool:
        stock = (await client.inventory.GetStock(GetStockRequest(sku="letter-sku"), timeout=5)).stock
        return (stock.on_hand, stock.reserved) == (9, 1)

    await eventually(reserved)
    assert f"no dead letter {id}: it was put back" in run(mesh, "replay", id, status=1)
    await place(client, order, Coordination.COORDINATION_CHOREOGRAPHED)  # the others: nobody had told them
    assert await ended(client, order.order_id) == COMPLETED
    assert await reserved(), "it was reserved once"
    assert (await settled_books(mesh.data)).faults == []


async def test_of_all_letters_those_that_are_no_messages_are_left_unless_forced(mesh: RunningMesh) -> None:
    connection = await nats.connect(mesh.file.nats_url)
    await connection.publish(SUBJECT, b"\xff garbage")
    await connection.flush()
    await connection.close()

    async def garbage() -> list[dict[str, Any]]:
        found = listed(mesh, "--service", "shipping", "--event", "OrderPlaced", "--limit", "1000")
        return [one for one in found if one["reason"] == "INVALID_MESSAGE" and "bytes" in one["message"]]

    last = (await eventually(garbage))[-1]["id"]
    shown = run(mesh, "show", str(last))
    assert "fault:   these bytes are no shop.orders.v1.OrderPlaced" in shown
    assert "bytes ff 20 67 61 72 62 61 67 65\n" in shown
    answer = json.loads(run(mesh, "replay", "--all", "--service", "shipping", "--json", status=1))
    left = {one["id"]: one["why"] for one in answer["left"]}
    assert "--force" in left[last]
    assert json.loads(run(mesh, "replay", str(last), "--force", "--json")) == {"put_back": [last], "left": []}
