"""What `scripts/demo` shows: real orders, through real services, in both styles, and the books at the end."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.duration_pb2 import Duration

from console import audit, control, display, orders
from console.client import MeshClient
from console.display import console
from ensemble.orchestrator.v1 import orchestrator_pb2 as api
from mesh.settings import Settings
from shop.inventory.v1.inventory_pb2 import SetStockRequest
from shop.notifications.v1.notifications_pb2 import ListNotificationsRequest
from shop.orders.v1.events_pb2 import DeliveryPromised, OrderConfirmed
from shop.orders.v1.order_pb2 import Order

STYLES = ("ORCHESTRATED", "CHOREOGRAPHED")
AT_ONCE = 20
SETTLED_S = 20.0


@dataclass(frozen=True)
class Scenario:
    """One kind of order, and how it has to end."""

    title: str
    expected: str
    sku: str = orders.DEFAULT_SKU
    token: str = "tok_visa"
    country: str = "DE"


SCENARIOS = (
    Scenario("an order that completes", "COMPLETED"),
    Scenario("inventory refuses: nothing of it in stock", "COMPENSATED", sku="unicorn"),
    Scenario("payments refuses: the card is declined", "COMPENSATED", token="tok_declined"),
    Scenario("shipping refuses: no carrier goes to Antarctica", "COMPENSATED", country="AQ"),
)


class Surprise(Exception):
    """The demo did not end as it has to."""


def main() -> None:
    """Runs the demo; exit status 0 where all ended as it has to."""
    # A SIGTERM ends it as Ctrl-C does, so that the mesh is stopped on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    data = Path(tempfile.mkdtemp(prefix="ensemble-demo-"))
    status = 1
    try:
        _title(f"The mesh starts: five services, the orchestrator and a broker, in {data}")
        mesh = control.up_detached(data, base_port=0)
        for part in mesh.parts:
            console.print(f"  {part.name:<14} {part.address}", markup=False)
        asyncio.run(_orders(data))
        _title("The books of all services, read from their databases")
        books = asyncio.run(audit.settled(Settings(data=data), SETTLED_S))
        display.show_books(books)
        status = 1 if books.faults else 0
    except Surprise as error:
        console.print(f"the demo failed: {error}", markup=False)
    except (control.StartFailed, OSError) as error:
        console.print(f"the demo cannot run: {error}", markup=False)
    except KeyboardInterrupt:
        console.print("interrupted", markup=False)
    finally:
        control.end(data)
    if status == 0:
        console.print(f"\ndone in {time.monotonic() - began:.0f} s; everything is stopped", markup=False)
        shutil.rmtree(data, ignore_errors=True)
    else:
        console.print(f"the logs are in {data / 'logs'}", markup=False)
    sys.exit(status)


async def _orders(data: Path) -> None:
    async with MeshClient(Settings(data=data)) as mesh:
        await mesh.inventory.SetStock(
            SetStockRequest(sku=orders.DEFAULT_SKU, on_hand=100), timeout=orders.READ_TIMEOUT_S
        )
        for scenario in SCENARIOS:
            for style in STYLES:
                _title(f"{style.capitalize()}: {scenario.title}")
                await _one(mesh, scenario, style)
        await _mixed(mesh)
        await _many(mesh)


async def _one(mesh: MeshClient, scenario: Scenario, style: str) -> orders.Followed:
    order = orders.an_order(sku=scenario.sku, token=scenario.token, country=scenario.country)
    with display.following(1) as changed:
        followed = await orders.place_and_follow(mesh, order, style, changed)
    if followed.status != scenario.expected:
        raise Surprise(f"order {order.order_id} ended as {followed.status}, not as {scenario.expected}")
    console.print(f"  the customer was told: {await _told(mesh, order.order_id)}", markup=False)
    return followed


async def _mixed(mesh: MeshClient) -> None:
    """Both styles in one process: what is choreographed beside an orchestrated core, and the other way round."""
    _title("Orchestrated core, choreographed side effects: the saga calls no notifications, which follow its events")
    followed = await _one(mesh, SCENARIOS[0], "ORCHESTRATED")
    if any(step.method.endswith(".NotifyCustomer") and step.attempts for step in followed.saga.steps):
        raise Surprise("the saga called notifications")
    _title(
        "Choreographed core, and a workflow that awaits its event: a promise that the order is confirmed in a minute"
    )
    order = orders.an_order(sku=orders.DEFAULT_SKU, token="tok_visa", country="DE")
    request = api.StartSagaRequest(process="promise-delivery")
    request.input.Pack(DeliveryPromised(order=order, within=Duration(seconds=60)))
    await mesh.orchestrator.StartSaga(request, timeout=orders.READ_TIMEOUT_S)
    with display.following(1) as changed:
        followed = await orders.place_and_follow(mesh, order, "CHOREOGRAPHED", changed)
    waited = [step.step_key for step in followed.saga.steps]
    if followed.status != "COMPLETED" or waited != [OrderConfirmed.DESCRIPTOR.full_name]:
        raise Surprise(f"order {order.order_id} ended as {followed.status}; the workflow awaited {waited}")
    console.print(f"  the workflow {followed.saga.process} awaited {waited[0]}, and it came", markup=False)


async def _told(mesh: MeshClient, order_id: str) -> str:
    """What notifications, which observes both styles, sent; it may lag behind the order."""
    request = ListNotificationsRequest(order_id=order_id)
    async with asyncio.timeout(SETTLED_S):
        while True:
            answer = await mesh.notifications.ListNotifications(request, timeout=orders.READ_TIMEOUT_S)
            if answer.notifications:
                return str(answer.notifications[0].text)
            await asyncio.sleep(0.05)


async def _many(mesh: MeshClient) -> None:
    for style in STYLES:
        _title(f"{style.capitalize()}: {AT_ONCE} orders at once, one in five refused somewhere")
        began = time.monotonic()
        placing = [orders.place_and_follow(mesh, _nth(n), style, lambda _: None) for n in range(AT_ONCE)]
        ended = await asyncio.gather(*placing)
        found = Counter(followed.status for followed in ended)
        counts = ", ".join(f"{count} {status.lower()}" for status, count in sorted(found.items()))
        console.print(f"  {counts} in {time.monotonic() - began:.1f} s", markup=False)
        if found != {"COMPLETED": AT_ONCE * 4 // 5, "COMPENSATED": AT_ONCE // 5}:
            raise Surprise(f"of {AT_ONCE} orders {AT_ONCE // 5} should have been compensated")


def _nth(number: int) -> Order:
    refused = SCENARIOS[1 + number // 5 % 3]
    scenario = SCENARIOS[0] if number % 5 else refused
    return orders.an_order(sku=scenario.sku, token=scenario.token, country=scenario.country)


def _title(text: str) -> None:
    console.print(f"\n── {text}", style="bold", markup=False)


if __name__ == "__main__":
    main()
