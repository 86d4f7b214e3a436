"""Publication of what the ledger says is due: after the commit, and again after a crash.

    committed, due ── publish ── stored by the broker ── mark (due cleared)

A crash at any point leaves the row due, and the sweep publishes it again: with the same message id, so that the
broker's dedupe window swallows the accident, and beyond the window the consumers' ledgers do. Marks are written in
batches, behind the publication: losing one costs a repetition.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from eventbus.bus import Unpublished
from eventbus.envelope import Envelope
from mesh.database import Database
from mesh.errors import Unavailable
from services.participant.ledger import Ledger, Row, StepId
from services.participant.steps import Steps

log = logging.getLogger(__name__)

# Publications that are under way at once; what comes on top waits in the ledger for the sweep.
IN_FLIGHT_MAX = 512
SWEEP_EVERY_S = 1.0
SWEEP_ROWS_MAX = 256

_Emission = tuple[StepId, str, str]


class Publisher(Protocol):
    """Where events go: an EventBus, or a fake of one."""

    async def publish(self, envelope: Envelope) -> None:
        """Stores an event; raises Unpublished."""


class Outbox:
    """Publishes the events of one participant."""

    def __init__(self, database: Database, ledger: Ledger, steps: Steps, publisher: Publisher) -> None:
        self._database = database
        self._ledger = ledger
        self._steps = steps
        self._publisher = publisher
        self._in_flight: dict[str, asyncio.Task[None]] = {}
        self._marks: list[_Emission] = []
        self._marking: asyncio.Task[None] | None = None

    def offer(self, envelope: Envelope) -> None:
        """Publishes a committed event in the background; what fails, or finds no room, is left to the sweep."""
        key = envelope.message_id
        if key in self._in_flight or len(self._in_flight) >= IN_FLIGHT_MAX:
            return
        task = asyncio.create_task(self._publish(envelope), name=f"publish {key}")
        self._in_flight[key] = task
        task.add_done_callback(lambda _: self._in_flight.pop(key, None))

    async def publish(self, envelope: Envelope) -> None:
        """Publishes a committed event and waits for it, which slows a busy reactor down to the broker's pace."""
        self.offer(envelope)
        if (task := self._in_flight.get(envelope.message_id)) is not None:
            await asyncio.shield(task)

    async def sweep_for_ever(self) -> None:
        """Publishes what is due and was left: after a crash, or after the broker was away. A side task."""
        while True:
            if await self._sweep() < SWEEP_ROWS_MAX:
                await asyncio.sleep(SWEEP_EVERY_S)

    async def flush(self) -> None:
        """Waits for what is under way, so that a process that stops leaves as little as possible to the sweep."""
        while self._in_flight or self._marking:
            await asyncio.gather(*self._in_flight.values(), *filter(None, [self._marking]), return_exceptions=True)

    async def _sweep(self) -> int:
        """Publishes some of what is due; how many rows that was."""
        try:
            rows = await self._database.run(lambda tx: self._ledger.due(tx, SWEEP_ROWS_MAX))
        except Unavailable as error:  # a server that is started again, say: the ledger keeps what is due
            log.warning("the ledger cannot be read now: %s", error)
            return 0
        await self._settle(rows)
        return len(rows)

    async def _settle(self, rows: list[Row]) -> None:
        for row in rows:
            self.offer(self._steps.envelope(row))
        if self._in_flight:
            await asyncio.wait(list(self._in_flight.values()))
        if rows and self._marking is not None:
            await asyncio.shield(self._marking)

    async def _publish(self, envelope: Envelope) -> None:
        try:
            await self._publisher.publish(envelope)
        except Unpublished as error:
            log.debug("left to the sweep: %s", error)
            await asyncio.sleep(SWEEP_EVERY_S)  # keeps its place, so that an absent broker is not asked in a hot loop
            return
        step = StepId(envelope.saga_id, envelope.method, envelope.step_key)
        self._marks.append((step, envelope.style, envelope.replay))
        if self._marking is None:
            self._marking = asyncio.create_task(self._mark(), name="mark published")

    async def _mark(self) -> None:
        try:
            while self._marks:
                marks, self._marks = self._marks, []
                await self._database.run(lambda tx, marks=marks: self._ledger.published(tx, marks))  # type: ignore[misc]
        except Unavailable as error:
            log.warning("events were published and cannot be marked now; they will be published again: %s", error)
        except Exception:
            log.exception("events were published and could not be marked; they will be published again")
        finally:
            self._marking = None
