"""The choreography in this process: a bus that delivers what participants publish, late, twice, and in any order.

Times are virtual and come from a seed, so a trial is repeatable. As with the broker, an event is delivered until it is
handled, and one with a message id that was seen is swallowed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from eventbus.consumer import Delivery
from eventbus.envelope import Envelope
from mesh.clock import LoopClock
from mesh.errors import Invalid, MeshError, StepMismatch
from services.participant.reactor import Reactor

# On average, for an event to come to a consumer; and for one that could not be handled to come again.
HOP_S, AGAIN_S = 0.004, 0.05
# The broker's answer may come long after others have acted on the event.
ACKS_S = (0.001, 0.001, 0.1)
TWICE = 0.15  # of the deliveries
DELIVERIES_MAX = 12


@dataclass(frozen=True)
class _Consumer:
    name: str
    subjects: frozenset[str] | None  # None: all
    handle: Callable[[Delivery], Awaitable[None]]


class LocalBus:
    """Takes events from the outboxes of the participants, and brings them to their reactors. Emptied for each trial."""

    def __init__(self) -> None:
        self._services: list[_Consumer] = []
        self._trackers: list[_Consumer] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self.begin(0)

    def connect(self, reactors: Mapping[str, Reactor]) -> None:
        """Subscribes the services, for all trials."""
        self._services = [_Consumer(name, frozenset(one.subjects()), one.handle) for name, one in reactors.items()]

    def begin(self, seed: int, watch: Callable[[str], None] = lambda _: None) -> None:
        """Forgets all. `watch` is told of every delivery, before it is handled and after."""
        self._rng = random.Random(seed)
        self._watch = watch
        self._trackers = []
        self._seen: set[str] = set()
        self._open = asyncio.Event()
        self._open.set()
        self._dead = False
        self.dead_letters: list[str] = []

    def follow(self, handle: Callable[[Delivery], Awaitable[None]]) -> None:
        """Lets a tracker see all events of this trial."""
        self._trackers.append(_Consumer("tracker", None, handle))

    async def publish(self, envelope: Envelope) -> None:
        """Stores an event, as the broker does."""
        if envelope.message_id in self._seen or self._dead:
            return
        self._seen.add(envelope.message_id)
        stored_us = LoopClock().now_us()
        delivery = Delivery(
            envelope.event, envelope.body, envelope.style, envelope.replay, len(self._seen), 1, stored_us
        )
        for consumer in (*self._services, *self._trackers):
            if consumer.subjects is None or envelope.subject in consumer.subjects:
                for _ in range(2 if self._rng.random() < TWICE else 1):
                    name = f"{envelope.event.rpartition('.')[2]} to {consumer.name}"
                    task = asyncio.create_task(self._deliver(consumer, delivery, name), name=name)
                    self._under_way.add(task)
                    task.add_done_callback(self._under_way.discard)
        await asyncio.sleep(self._rng.choice(ACKS_S))

    def pause(self) -> None:
        """Nothing is delivered any more, until `resume`."""
        self._open.clear()

    def resume(self) -> None:
        """Delivers what has come meanwhile, and goes on."""
        self._open.set()

    def die(self) -> None:
        """Nothing is delivered any more, and nothing is kept."""
        self._dead = True
        self.resume()

    @property
    def quiet(self) -> bool:
        """Whether nothing is under way to a service; a tracker may be away."""
        return all(task.get_name().endswith(" to tracker") for task in self._under_way)

    @property
    def idle(self) -> bool:
        """Whether nothing is under way at all."""
        return not self._under_way

    def end(self) -> None:
        """Gives up what is still under way."""
        for task in self._under_way:
            task.cancel()

    async def _deliver(self, consumer: _Consumer, delivery: Delivery, what: str) -> None:
        await asyncio.sleep(self._rng.expovariate(1 / HOP_S))
        for _ in range(DELIVERIES_MAX):
            await self._open.wait()
            if self._dead:
                return
            self._watch(f"before {what}")
            try:
                await consumer.handle(delivery)
            except (Invalid, StepMismatch) as error:
                self.dead_letters.append(f"{what}: {error}")
                return
            except MeshError:
                await asyncio.sleep(AGAIN_S)
                continue
            self._watch(f"after {what}")
            return
        self.dead_letters.append(f"{what}: delivered too often")
