"""The floor of both styles: one service of the shop's way forward, by hand in nats-py, and nothing beyond that.

python -m scripts.benchmarks.relay NAME

What somebody writes who knows JetStream and needs no guarantee: a durable consumer for each event, which the broker
pushes to; every message is read, the next event is made from it and published, and once the broker has stored that one
the message is acknowledged. As many at once as come. Nothing is written down here, nothing is checked, and the join
is in memory: a process that dies loses it, and what comes twice is done twice. It answers calls, too, with constants
(scripts.benchmarks.noop).
"""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import nats
from google.protobuf.message import Message
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig

from eventbus.streams import EVENTS, STREAMS
from mesh import lifecycle
from mesh.lifecycle import Lifecycle
from mesh.settings import Settings
from scripts.benchmarks import noop
from shop.inventory.v1.events_pb2 import StockReserved
from shop.orders.v1.events_pb2 import OrderCompleted, OrderConfirmed, OrderPlaced
from shop.orders.v1.order_pb2 import OrderStatus
from shop.payments.v1.events_pb2 import PaymentAuthorized, PaymentCaptured
from shop.shipping.v1.events_pb2 import ShipmentBooked, ShipmentDispatched

STREAM, SUBJECTS = "FLOOR", "floor"
PENDING_MAX = 1024  # as many as a participant has, unless told otherwise

# Makes the next event of one that came, if there is one.
Next = Callable[[Any], Message | None]


class Join:
    """Confirms an order once all three have come."""

    def __init__(self) -> None:
        self._arrived: dict[str, int] = defaultdict(int)

    def __call__(self, event: StockReserved | PaymentAuthorized | ShipmentBooked) -> Message | None:
        """The order's confirmation; None until the third comes."""
        id_ = event.order.order_id
        self._arrived[id_] += 1
        if self._arrived[id_] < 3:
            return None
        del self._arrived[id_]
        return OrderConfirmed(order=event.order)


def record(_placed: OrderPlaced) -> None:
    """Nobody hears of it."""


def complete(sent: ShipmentDispatched) -> Message:
    """The last event."""
    status = OrderStatus.ORDER_STATUS_COMPLETED
    return OrderCompleted(order=sent.order, tracking_number=sent.tracking_number, status=status)


def reactions(name: str) -> Mapping[type[Message], Next]:
    """What a service does, by the event that comes."""
    join = Join()
    everybody: dict[str, dict[type[Message], Next]] = {
        "orders": {
            OrderPlaced: record,
            StockReserved: join,
            PaymentAuthorized: join,
            ShipmentBooked: join,
            ShipmentDispatched: complete,
        },
        "inventory": {OrderPlaced: lambda came: StockReserved(order=came.order, reservation_id="reservation-1")},
        "payments": {
            OrderPlaced: lambda came: PaymentAuthorized(order=came.order, authorization_id="authorization-1"),
            OrderConfirmed: lambda came: PaymentCaptured(order=came.order),
        },
        "shipping": {
            OrderPlaced: lambda came: ShipmentBooked(order=came.order, booking_id="booking-1"),
            PaymentCaptured: lambda came: ShipmentDispatched(order=came.order, tracking_number="parcel-1"),
        },
    }
    return everybody[name]


class Relay:
    """Hands on what comes to one service."""

    def __init__(self, jetstream: JetStreamContext) -> None:
        self._jetstream = jetstream
        self._working: set[asyncio.Task[None]] = set()

    async def react(self, service: str, event: type[Message], make_next: Next) -> None:
        """Subscribes."""

        async def came(message: Msg) -> None:
            task = asyncio.create_task(self._hand_on(message, event, make_next))
            self._working.add(task)
            task.add_done_callback(self._working.discard)

        await self._jetstream.subscribe(
            subject(event),
            durable=f"{service}-{event.DESCRIPTOR.name}",
            config=ConsumerConfig(max_ack_pending=PENDING_MAX),
            cb=came,
            manual_ack=True,
        )

    async def _hand_on(self, message: Msg, event: type[Message], make_next: Next) -> None:
        following = make_next(event.FromString(message.data))
        if following is not None:
            await self._jetstream.publish(subject(type(following)), following.SerializeToString())
        await message.ack()


def subject(event: type[Message]) -> str:
    """Where the floor publishes an event."""
    return f"{SUBJECTS}.{event.DESCRIPTOR.full_name}"


async def provision(jetstream: JetStreamContext) -> None:
    """A stream like that of the mesh, but for its name and its subjects. Idempotent."""
    events = next(stream for stream in STREAMS if stream.name == EVENTS)
    await jetstream.add_stream(events.evolve(name=STREAM, subjects=[f"{SUBJECTS}.>"]))


async def serve(name: str, settings: Settings, life: Lifecycle) -> None:
    """Relays, and answers calls, until the process is asked to stop."""
    client = await nats.connect(settings.nats_url)
    jetstream = client.jetstream()
    await provision(jetstream)
    relay = Relay(jetstream)
    for event, make_next in reactions(name).items():
        await relay.react(name, event, make_next)
    async with noop.serving(name, settings.listen):
        await life.stopped()
    await client.close()


def main() -> None:
    """The command line."""
    name = sys.argv[1]
    lifecycle.run_part(name, partial(serve, name))


if __name__ == "__main__":
    main()
