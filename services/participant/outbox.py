"""Publication of what the ledger says is due: after the commit, and again after a crash.

    committed, due ── publish ── stored by the broker ── mark (due cleared)

A crash at any point leaves the row due, and the sweep publishes it again: with the same message id, so that the
broker's dedupe window swallows the accident, and beyond the window the consumers' ledgers do. Marks are written
behind the publication, those of MARKS_WAIT_S in one commit, since steps have to wait for a commit of marks as for any
other: losing one costs a repetition.
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
MARKS_WAIT_S = 0.05

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
        self._marks: list[_Emission] = []  # published; they wait for their commit
        self._being_marked: list[_Emission] = []
        self._marking: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

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
            if not await self._sweep():
                await asyncio.sleep(SWEEP_EVERY_S)

    async def flush(self) -> None:
        """Waits for what is under way, so that a process that stops leaves as little as possible to the sweep."""
        while self._in_flight or self._marks or self._marking:
            self._mark_now()
            await asyncio.gather(*self._in_flight.values(), *filter(None, [self._marking]), return_exceptions=True)

    async def _sweep(self) -> bool:
        """Publishes some of what is due and was left; whether there may be more."""
        try:
            rows = await self._database.run(lambda tx: self._ledger.due(tx, SWEEP_ROWS_MAX))
        except Unavailable as error:  # a server that is started again, say: the ledger keeps what is due
            log.warning("the ledger cannot be read now: %s", error)
            return False
        left = self._left(rows)
        if left:
            await self._settle(left)
        return bool(left) and len(rows) == SWEEP_ROWS_MAX

    def _left(self, rows: list[Row]) -> list[Envelope]:
        """What of these nobody publishes or marks already."""
        unmarked = {*self._marks, *self._being_marked}
        envelopes = [self._steps.envelope(row) for row in rows]
        return [one for one in envelopes if one.message_id not in self._in_flight and _emission(one) not in unmarked]

    async def _settle(self, envelopes: list[Envelope]) -> None:
        for envelope in envelopes:
            self.offer(envelope)
        if self._in_flight:
            await asyncio.wait(list(self._in_flight.values()))
        self._mark_now()
        if self._marking is not None:
            await asyncio.shield(self._marking)

    async def _publish(self, envelope: Envelope) -> None:
        try:
            await self._publisher.publish(envelope)
        except Unpublished as error:
            log.debug("left to the sweep: %s", error)
            await asyncio.sleep(SWEEP_EVERY_S)  # keeps its place, so that an absent broker is not asked in a hot loop
            return
        self._marks.append(_emission(envelope))
        self._mark_soon()

    def _mark_soon(self) -> None:
        if self._timer is None and self._marking is None:
            self._timer = asyncio.get_running_loop().call_later(MARKS_WAIT_S, self._mark_now)

    def _mark_now(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._marks and self._marking is None:
            self._being_marked, self._marks = self._marks, []
            self._marking = asyncio.create_task(self._mark(self._being_marked), name="mark published")

    async def _mark(self, marks: list[_Emission]) -> None:
        try:
            await self._database.run(lambda tx: self._ledger.published(tx, marks))
        except Unavailable as error:
            log.warning("events were published and cannot be marked now; they will be published again: %s", error)
        except Exception:
            log.exception("events were published and could not be marked; they will be published again")
        finally:
            self._being_marked, self._marking = [], None
            if self._marks:
                self._mark_soon()


def _emission(envelope: Envelope) -> _Emission:
    return StepId(envelope.saga_id, envelope.method, envelope.step_key), envelope.style, envelope.replay
