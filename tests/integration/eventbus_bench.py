"""Parts for the tests of the event bus: envelopes, a consumer with a recording handler, and looks at the broker."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from uuid import uuid4

import nats.js.errors
from nats.js.api import RawStreamMsg

from eventbus.bus import EventBus
from eventbus.consumer import Consumer, Delivery
from eventbus.envelope import CHOREOGRAPHED, Envelope, subject
from eventbus.streams import DEAD_LETTERS, EVENTS
from mesh.settings import Settings
from tests.harness import Broker, eventually

Handle = Callable[[Delivery], Awaitable[None]]


def a_name(stem: str) -> str:
    """A name that no other test uses, for an event or a service."""
    return f"{stem}{uuid4().hex[:10]}"


def an_envelope(event: str, *, saga_id: str = "", body: bytes = b"body", replay: str = "") -> Envelope:
    """An event as a participant publishes it; without a saga id: of a saga of its own."""
    return Envelope(
        event=event,
        body=body,
        saga_id=saga_id or uuid4().hex,
        method="test.v1.TestService.Act",
        step_key="",
        style=CHOREOGRAPHED,
        replay=replay,
        source="tester",
    )


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[EventBus]:
    """A bus that has made its streams."""
    bus = EventBus(url, "test")
    running = asyncio.create_task(bus.run())
    try:
        async with asyncio.timeout(10):
            await running
        yield bus
    finally:
        running.cancel()
        await bus.close()


class MortalBroker(Broker):
    """A broker that is killed, frozen, and started again, with its disk or with an empty one."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._store = folder / "jetstream"

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def empty_disk(self) -> None:
        shutil.rmtree(self._store)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It holds its connections and answers nothing."""
        self.send(signal.SIGSTOP)
        try:
            yield
        finally:
            self.send(signal.SIGCONT)


class Recorder:
    """A handler that notes every delivery, and then does what it was given to do."""

    def __init__(self, then: Handle | None = None) -> None:
        self.seen: list[Delivery] = []
        self.times: list[float] = []
        self._then = then

    async def __call__(self, delivery: Delivery) -> None:
        self.seen.append(delivery)
        self.times.append(asyncio.get_running_loop().time())
        if self._then is not None:
            await self._then(delivery)

    @property
    def bodies(self) -> list[bytes]:
        return [delivery.body for delivery in self.seen]

    async def count(self, number: int, within_s: float = 10.0) -> None:
        """Waits until so many deliveries were seen."""

        async def enough() -> bool:
            return len(self.seen) >= number

        await eventually(enough, within_s=within_s, every_s=0.01, what=f"{number} deliveries; seen {len(self.seen)}")


class Desk:
    """One service's name and event on a bus, with its consumer."""

    def __init__(self, bus: EventBus) -> None:
        self.bus = bus
        self.service = a_name("service-")
        self.event = f"test.v1.{a_name('Event')}"

    @asynccontextmanager
    async def consuming(
        self, handle: Handle, *, ack_wait_s: float = 10.0, deliveries_max: int = 5, events_max: int = 64
    ) -> AsyncIterator[None]:
        consumer = Consumer(
            self.bus,
            self.service,
            [subject(CHOREOGRAPHED, self.event)],
            handle,
            Settings(ack_wait_s=ack_wait_s, deliveries_max=deliveries_max, events_max=events_max),
        )
        running = asyncio.create_task(consumer.run())
        try:
            yield
            assert not running.done(), "the consumer ended by itself"
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def publish(self, body: bytes = b"body", *, replay: str = "", saga_id: str = "") -> None:
        await self.bus.publish(an_envelope(self.event, body=body, replay=replay, saga_id=saga_id))

    async def stored(self) -> int:
        """How many events of this desk are in the stream."""
        return await _count(self.bus, EVENTS, subject(CHOREOGRAPHED, self.event))

    async def last_stored(self) -> RawStreamMsg:
        return await self.bus.jetstream.get_last_msg(EVENTS, subject(CHOREOGRAPHED, self.event))

    async def settled(self) -> bool:
        """Whether every event was delivered and answered."""
        info = await self.bus.jetstream.consumer_info(EVENTS, self.service)
        return not info.num_pending and not info.num_ack_pending

    async def letters(self) -> int:
        """How many dead letters this service has."""
        return await _count(self.bus, DEAD_LETTERS, f"dead.{self.service}.{self.event}")

    async def letter(self, within_s: float = 10.0) -> dict[str, str]:
        """The headers of its latest dead letter, once there is one; `body` stands among them."""

        async def find() -> dict[str, str] | None:
            try:
                found = await self.bus.jetstream.get_last_msg(DEAD_LETTERS, f"dead.{self.service}.{self.event}")
            except nats.js.errors.NotFoundError:
                return None
            return {**(found.headers or {}), "body": (found.data or b"").decode()}

        found = await eventually(find, within_s=within_s, what="a dead letter")
        assert found is not None
        return found


async def _count(bus: EventBus, stream: str, of_subject: str) -> int:
    info = await bus.jetstream.stream_info(stream, subjects_filter=of_subject)
    return sum((info.state.subjects or {}).values())
