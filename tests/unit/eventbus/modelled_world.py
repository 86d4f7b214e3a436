"""A modelled broker with the project's own buses and consumers on it, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from eventbus.bus import EventBus
from eventbus.consumer import Consumer, Delivery
from eventbus.envelope import CHOREOGRAPHED, Envelope, subject
from eventbus.streams import EVENTS
from eventbus.testing import Kind, Link, ModelledBroker, ModelledClient
from mesh import virtual_time
from mesh.settings import Settings

EVENT = "test.v1.Happened"
ACK_WAIT_S = 2.0


class Scripted:
    """A link that lets the next of a kind arrive as it is told, and all else at once."""

    def __init__(self) -> None:
        self._script: list[tuple[Kind, tuple[float, ...]]] = []

    def next(self, kind: Kind, *arrivals: float) -> None:
        self._script.append((kind, arrivals))

    def arrivals(self, kind: Kind, subject: str) -> tuple[float, ...]:
        if self._script and self._script[0][0] is kind:
            return self._script.pop(0)[1]
        return (0.0,)


class Part:
    """One process: a bus, and a consumer of it that notes what comes and when."""

    def __init__(self, world: World, name: str, link: Link | None) -> None:
        self.client = ModelledClient(world.broker, link)
        self.bus = EventBus("modelled", name, client=self.client)
        self.seen: list[tuple[bytes, int]] = []  # bodies, and which delivery
        self.times: list[float] = []
        self._name = name
        self.tasks: list[asyncio.Task[None]] = []

    async def consume(self, then: Callable[[Delivery], Awaitable[None]] | None = None) -> None:
        async def handle(delivery: Delivery) -> None:
            self.seen.append((delivery.body, delivery.deliveries))
            self.times.append(asyncio.get_running_loop().time())
            if then is not None:
                await then(delivery)

        settings = Settings(ack_wait_s=ACK_WAIT_S, deliveries_max=4, events_max=16)
        consumer = Consumer(self.bus, self._name, [subject(CHOREOGRAPHED, EVENT)], handle, settings)
        self.tasks.append(asyncio.create_task(consumer.run(), name=f"{self._name} consumes"))
        await asyncio.sleep(0.1)

    async def publish(self, body: bytes) -> None:
        envelope = Envelope(EVENT, body, "saga", "test.v1.Test.Act", body.decode()[:9], CHOREOGRAPHED, "", self._name)
        await self.bus.publish(envelope)


class World:
    """The broker and those on it."""

    def __init__(self, **options: Any) -> None:
        self.broker = ModelledBroker(random.Random(1), **options)
        self.parts: list[Part] = []

    async def part(self, name: str = "tester", link: Link | None = None) -> Part:
        part = Part(self, name, link)
        await part.bus.run()
        self.parts.append(part)
        return part

    @property
    def stored(self) -> list[bytes]:
        """The bodies of the events in the stream."""
        return [stored.body for stored in self.broker.streams[EVENTS].messages.values()]


def play(scene: Callable[[World], Coroutine[Any, Any, None]], **options: Any) -> None:
    """Plays a scene in a world of its own."""

    async def main() -> None:
        world = World(**options)
        await scene(world)
        for part in world.parts:
            for task in part.tasks:
                task.cancel()
            await part.bus.close()

    virtual_time.run(main)
