"""Writes what choreographed sagas do into the tables of the orchestrated ones, so that a choreography can be seen.

A durable consumer of all events, and a reader of all dead letters. Both put what comes into its saga's box, whoever
drives the saga: a workflow may wait for an event (`saga.event`), now or later. The rows of a choreographed saga are
then made of all that is in its box (orchestrator.choreography); those of the sagas that the engine drives are its own.

It may lag, die and start again, and any number of replicas may share its consumers: what comes twice, or in another
order, changes nothing. To make the rows anew, delete the consumer `tracker` of the stream EVENTS (and that of
DEAD_LETTERS): it is made again and starts with the first message kept. Where the rows are still there, that changes
nothing either; where they are lost, they come back as they were, as far as the streams reach. What those have dropped
(an event after seven days, a dead letter that was put back, all of a stream that was purged) is not taken back from
rows that are there, and is missing from rows that are not. Sagas that were pruned do not come back: they ended longer
ago than that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from google.protobuf.message import Message
from sqlalchemy import Connection

from eventbus.consumer import Delivery
from eventbus.dead_letters import DeadLetter
from eventbus.envelope import CHOREOGRAPHED as BY_EVENTS
from mesh import identity, telemetry, validation
from mesh.changes import Changes
from mesh.clock import Clock, WallClock
from mesh.contract import Contract, EventType, service_name
from mesh.database import Database, serialize
from mesh.errors import Invalid
from orchestrator import letters, store
from orchestrator.choreography import journal_of
from orchestrator.journal import CHOREOGRAPHED, GOING, STALLED, Journal
from orchestrator.store import Damaged

SUBJECTS = ("events.>",)

# So long after it has read an old event it may have more of them before it.
CATCHING_UP_S = 3.0


class Tracker:
    """Follows the choreographed sagas of one mesh."""

    def __init__(
        self,
        contract: Contract,
        database: Database,
        changes: Changes,
        mail_came: Callable[[str], None] = lambda _: None,
        clock: Clock | None = None,
    ) -> None:
        """`mail_came` is told of every saga that waits, or may wait, for an event that came.

        The clock is for how far behind the tracker is; nothing that it writes is of this machine's time.
        """
        self._contract = contract
        self._database = database
        self._changes = changes
        self._mail_came = mail_came
        self._clock = clock or WallClock()
        self._read_us = 0  # when it last read an event, and how old that was
        self._age_us = 0

    async def handle(self, delivery: Delivery) -> None:
        """Writes down what one event says.

        Events of no contract say nothing here. Nor do those of orchestrated steps, but for the end of a saga that was
        handed over while its last call was under way: nothing else may tell of it.
        """
        self._read_us = self._clock.now_us()
        self._age_us = self._read_us - delivery.stored_us
        event_type = self._contract.events.get(delivery.event)
        if event_type is None or not (delivery.choreographed or event_type.outcome):
            return
        if (event := _readable(event_type, delivery.body)) is None:
            return  # those who act on it make it a dead letter; a watcher has nothing to add
        saga_id = identity.saga_id(event)
        telemetry.current_saga.set(saga_id)
        if not (delivery.choreographed or await self._database.run(lambda tx: store.is_choreographed(tx, saga_id))):
            return
        if await self._database.run(lambda tx: self._write(tx, saga_id, event, delivery.stored_us)):
            self._mail_came(saga_id)
        self._changes.changed(saga_id)

    def is_behind(self, older_than_s: float) -> bool:
        """Whether it is reading events of so long ago: what it knows of sagas is then as old."""
        reads = self._clock.now_us() - self._read_us < CATCHING_UP_S * 1e6
        return reads and self._age_us > older_than_s * 1e6

    async def read_dead_letter(self, letter: DeadLetter) -> None:
        """Keeps a dead letter with its saga, where a step of the saga cannot take it: an observer is outside."""
        inside = [m for m in self._contract.triggered_by(letter.event) if service_name(m.service) == letter.service]
        if not inside or letter.style != BY_EVENTS:
            return
        if (event := _readable(self._contract.events[letter.event], letter.body)) is None:
            return  # it belongs to no saga
        saga_id = identity.saga_id(event)
        telemetry.current_saga.set(saga_id)
        # With its event, which may not have been read before: or else nobody would know what the saga is.
        stored_us = letter.stored_us or letter.died_us
        await self._database.run(lambda tx: self._write(tx, saga_id, event, stored_us, letter))
        self._changes.changed(saga_id)

    def _write(
        self, tx: Connection, saga_id: str, event: Message, stored_us: int, letter: DeadLetter | None = None
    ) -> bool:
        """Returns whether somebody may wait for the event: the saga is an orchestrated one."""
        serialize(tx, saga_id)  # the tracker's replicas, at a saga's first events
        store.deliver(tx, saga_id, event.DESCRIPTOR.full_name, event.SerializeToString(), stored_us)
        if letter is not None:
            letters.keep(tx, saga_id, letter)
        try:
            known = store.load(tx, saga_id, lock=True)
        except Damaged as damage:
            store.quarantine(tx, damage)
            return False
        if known is not None and known.style != CHOREOGRAPHED:
            return True
        self._put(tx, known, journal_of(self._contract, saga_id, store.box(tx, saga_id), known))
        return False

    def _put(self, tx: Connection, known: Journal | None, journal: Journal) -> None:
        if known is None or not _says_nothing_new(known, journal):
            before = known.steps if known else {}
            changed = [step for step in journal.steps.values() if before.get(step.key) != step]
            store.put_steps(tx, [store.step_row(journal.saga_id, step) for step in changed])
            store.put_saga(tx, journal)


def _says_nothing_new(known: Journal, journal: Journal) -> bool:
    """Also of a saga that was found to make no progress, and made none."""
    if known.status == STALLED and journal.status in GOING:
        journal = replace(journal, status=STALLED, stalled_reason=known.stalled_reason, stalled_help=known.stalled_help)
    return journal == known


def _readable(event_type: EventType, body: bytes) -> Message | None:
    """The event, where it is one."""
    try:
        event = validation.parse(event_type.message_class, body)
        validation.validate(event)
        identity.saga_id(event)
    except Invalid:
        return None
    return event
