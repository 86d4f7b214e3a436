"""The delivery contract of a consumer.

A handler is called at least once for every event that its service subscribes to, in no promised order. What becomes
of the message depends on how the handler ends:
- it returns: the message is acknowledged (after the handler committed, never before);
- it raises Invalid or StepMismatch: trying again cannot help; dead letter at once, and the broker is told to stop;
- it raises anything else, a technical fault: it comes again after a growing delay, and at the last delivery it is a
  dead letter;
- it dies before it can answer: the broker delivers again after the ack wait, and after the last delivery says so, on
  which any replica writes the dead letter (eventbus.exhausted).
While a handler works the broker is told so, so that a slow one is not run twice.

Messages that were in work when one of them killed the process come back together, and would die with it every time,
until all of them are dead letters. So what comes for the fourth time waits a moment of its own, within APART_S, and at
the next delivery as long before the end of that time as it was behind its beginning: if one message kills, every other
has come before it once. With two that kill this need not be so; hence other moments for every two deliveries.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

import nats.errors
from nats.aio.msg import Msg

from eventbus import dead_letters
from eventbus.bus import EventBus, Unpublished
from eventbus.dead_letters import DeadLetter
from eventbus.envelope import CHOREOGRAPHED, ONLY_FOR, REPLAY, header, microseconds, parse_subject
from eventbus.exhausted import ExhaustedReader
from eventbus.pull import Puller
from eventbus.replay import ordered
from eventbus.streams import EVENTS, provision_consumer, provision_streams
from mesh import telemetry
from mesh.backoff import Backoff
from mesh.errors import Invalid, MeshError, StepMismatch
from mesh.settings import Settings

log = logging.getLogger(__name__)

RETRY = Backoff(first_s=0.2, max_s=20.0)
# From which delivery on, and over how long, messages are spread: long for a handler, so that the one before has ended.
APART_FROM = 4
APART_S = 2.0


@dataclass(frozen=True)
class Delivery:
    """One delivery of an event."""

    event: str
    body: bytes
    style: str
    replay: str
    sequence: int
    deliveries: int
    stored_us: int = 0

    @property
    def choreographed(self) -> bool:
        """Whether it may trigger steps, and not only observers."""
        return self.style == CHOREOGRAPHED


class Consumer:
    """The durable consumer of one service; replicas share it."""

    def __init__(
        self,
        bus: EventBus,
        service: str,
        subjects: Sequence[str],
        handle: Callable[[Delivery], Awaitable[None]],
        settings: Settings,
    ) -> None:
        self._bus = bus
        self._service = service
        self._subjects = subjects
        self._handle = handle
        self._ack_wait_s = settings.ack_wait_s
        self._deliveries_max = settings.deliveries_max
        self._events_max = settings.events_max
        self._exhausted = ExhaustedReader(bus, service, settings)
        self._reports: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Consumes until it is cancelled."""
        await self._bus.ready()
        puller = Puller(
            self._bus,
            EVENTS,
            self._service,
            room=self._events_max,
            handle=self._deliver,
            provision=self._provision,
        )
        async with asyncio.TaskGroup() as pulling:
            pulling.create_task(puller.run(), name=f"{self._service} pulls")
            pulling.create_task(self._exhausted.run(), name=f"{self._service} reads what was delivered too often")

    async def _provision(self) -> None:
        await provision_streams(self._bus.jetstream)
        await provision_consumer(
            self._bus.jetstream,
            self._service,
            self._subjects,
            ack_wait_s=self._ack_wait_s,
            deliveries_max=self._deliveries_max,
            pending_max=self._events_max * 4,
        )

    async def _deliver(self, message: Msg) -> None:
        if header(message.headers, ONLY_FOR) not in ("", self._service):
            await _answer(message.ack)
            return
        delivery = _delivery(message)
        telemetry.enter_trace(header(message.headers, telemetry.TRACEPARENT))
        try:
            with self._working(message):
                if delivery.deliveries >= APART_FROM:
                    await asyncio.sleep(apart_s(delivery))
                await self._handle(delivery)
        except (Invalid, StepMismatch) as error:
            await self._bury(message, delivery, error.reason, error.message)
        except Exception as error:
            await self._retry(message, delivery, error)
        else:
            await _answer(message.ack)

    async def _retry(self, message: Msg, delivery: Delivery, error: Exception) -> None:
        if delivery.deliveries >= self._deliveries_max:
            # The text of an error that is not ours stays in our log: it may hold whatever a handler had in hand.
            ours = (
                error if isinstance(error, MeshError) else MeshError("a technical error; the service's log says more")
            )
            await self._bury(message, delivery, ours.reason or type(error).__name__, ours.message)
            return
        delay_s = RETRY.bound_s(delivery.deliveries)
        unforeseen = None if isinstance(error, MeshError) else error  # ours say all in a line
        log.warning(
            "%s: delivery %d failed, again in %.1f s: %s",
            delivery.event,
            delivery.deliveries,
            delay_s,
            error,
            exc_info=unforeseen,
        )
        await _answer(lambda: message.nak(delay=delay_s))

    async def _bury(self, message: Msg, delivery: Delivery, reason: str, text: str) -> None:
        letter = DeadLetter(
            service=self._service,
            event=delivery.event,
            style=delivery.style,
            body=message.data,
            reason=reason,
            message=text,
            deliveries=delivery.deliveries,
            sequence=delivery.sequence,
            stored_us=delivery.stored_us,
            replay=delivery.replay,
        )
        try:
            await dead_letters.publish(self._bus, letter)
        except Unpublished as error:
            # Not ended: the broker delivers it again, or reports it as exhausted.
            log.warning("dead letter of %s cannot be stored yet: %s", delivery.event, error)
            await _answer(lambda: message.nak(delay=RETRY.bound_s(delivery.deliveries)))
        else:
            log.error("%s is a dead letter after %d deliveries: %s", delivery.event, delivery.deliveries, text)
            await _answer(message.term)

    @contextlib.contextmanager
    def _working(self, message: Msg) -> Iterator[None]:
        """Tells the broker every third of the ack wait that the message is being worked on."""
        call_later, every_s = asyncio.get_running_loop().call_later, self._ack_wait_s / 3
        timer: asyncio.TimerHandle

        def report() -> None:
            nonlocal timer
            task = asyncio.create_task(_answer(message.in_progress), name="in progress")
            self._reports.add(task)
            task.add_done_callback(self._reports.discard)
            timer = call_later(every_s, report)

        timer = call_later(every_s, report)
        try:
            yield
        finally:
            timer.cancel()


def _delivery(message: Msg) -> Delivery:
    style, event = parse_subject(message.subject)
    metadata = message.metadata
    return Delivery(
        event=event,
        body=message.data,
        style=style,
        replay=ordered(header(message.headers, REPLAY), microseconds(metadata.timestamp)),
        sequence=metadata.sequence.stream,
        deliveries=metadata.num_delivered,
        stored_us=microseconds(metadata.timestamp),
    )


def apart_s(delivery: Delivery) -> float:
    """How long a message that comes again and again waits; see the head of this file."""
    moment = random.Random(f"{delivery.sequence}:{delivery.deliveries // 2}").uniform(0, APART_S)
    return APART_S - moment if delivery.deliveries % 2 else moment


async def _answer(answer: Callable[[], Awaitable[None]]) -> None:
    """Answers the broker, if it is there; if not, the message comes again and the ledger knows it."""
    try:
        await answer()
    except (nats.errors.Error, OSError) as error:
        log.debug("the broker was not answered: %s", error)
