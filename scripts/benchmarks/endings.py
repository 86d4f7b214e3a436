"""A client of a choreography: publishes its first event, and waits for its last, on core NATS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message
from nats.aio.client import Client
from nats.aio.msg import Msg

from eventbus import envelope
from scripts.benchmarks.load import Incomplete
from shop.orders.v1.events_pb2 import OrderCompleted

LOST_S = 30.0

# Where an event is published.
SubjectOf = Callable[[type[Message]], str]


def choreographed_subject(event: type[Message]) -> str:
    """Where participants publish an event."""
    return envelope.subject(envelope.CHOREOGRAPHED, event.DESCRIPTOR.full_name)


class Endings:
    """Those who wait for the end of an order, by its id."""

    def __init__(self, client: Client, subject_of: SubjectOf, last: type[Message] = OrderCompleted) -> None:
        """`last` is the event that ends an order."""
        self._client = client
        self._last: Any = last
        self._jetstream = client.jetstream(timeout=LOST_S)
        self._subject_of = subject_of
        self._waiting: dict[str, asyncio.Future[None]] = {}

    async def listen(self) -> None:
        """To be called before anything is published."""
        await self._client.subscribe(self._subject_of(self._last), cb=self._ended)
        await self._client.flush()

    async def run(self, first: Any) -> None:
        """From before the publication of the first event until the last is here; raises Incomplete."""
        id_ = first.order.order_id
        self._waiting[id_] = ended = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(LOST_S):
                await self._jetstream.publish(self._subject_of(type(first)), first.SerializeToString())
                await ended
        except TimeoutError:
            raise Incomplete(f"order {id_} has not ended after {LOST_S:.0f} s") from None
        finally:
            del self._waiting[id_]

    async def _ended(self, message: Msg) -> None:
        waiting = self._waiting.get(self._last.FromString(message.data).order.order_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
