"""Writes what choreographed sagas do into the tables of the orchestrated ones, so that a choreography can be seen.

A durable consumer of all events. It may lag, die and start again: every write is an upsert of what an event says, so
that events may come twice and in any order, and the rows are the same in the end. Sagas that the engine drives are
its own to write about.

A step is seen by the event that it emits. A step that emits nothing (RecordOrder) cannot be seen from here.

Every event of the choreography is also put into its saga's box, whoever drives it: a workflow may wait for it
(`saga.event`), now or later.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from google.protobuf.message import Message
from google.rpc import error_details_pb2
from sqlalchemy import Connection

from ensemble.coordination.v1 import coordination_pb2
from eventbus.consumer import Delivery
from eventbus.dead_letters import DeadLetter
from eventbus.envelope import CHOREOGRAPHED as BY_EVENTS
from mesh import identity, telemetry, validation
from mesh.changes import Changes
from mesh.clock import Clock, WallClock
from mesh.contract import Contract, EventType, Method, service_name
from mesh.database import Database, serialize
from mesh.errors import Invalid
from orchestrator import store
from orchestrator.journal import (
    CHOREOGRAPHED,
    COMPENSATED,
    COMPENSATING,
    COMPLETED,
    GOING,
    STALLED,
    STEP_DONE,
    STEP_REFUSED,
    Journal,
    StepEntry,
    pack,
)
from orchestrator.store import Damaged

SUBJECTS = ("events.>",)

_ENDS = {
    coordination_pb2.OUTCOME_COMPLETED: COMPLETED,
    coordination_pb2.OUTCOME_COMPENSATED: COMPENSATED,
}


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
        """`mail_came` is told of every saga that waits, or may wait, for an event that came."""
        self._contract = contract
        self._database = database
        self._changes = changes
        self._mail_came = mail_came
        self._clock = clock or WallClock()

    async def handle(self, delivery: Delivery) -> None:
        """Writes down what one event says. Events of no contract, and of orchestrated steps, say nothing here."""
        event_type = self._contract.events.get(delivery.event)
        if event_type is None or not delivery.choreographed:
            return
        if (event := _readable(event_type, delivery.body)) is None:
            return  # those who act on it make it a dead letter; a watcher has nothing to add
        saga_id = identity.saga_id(event)
        telemetry.current_saga.set(saga_id)
        awaited = await self._database.run(lambda tx: self._write(tx, saga_id, event_type, event))
        self._changes.changed(saga_id)
        if awaited:
            self._mail_came(saga_id)

    async def read_dead_letter(self, letter: DeadLetter) -> None:
        """Marks the saga of a dead letter as stalled, where the choreography waits for the step that it triggers."""
        waiting = [m for m in self._contract.triggered_by(letter.event) if service_name(m.service) == letter.service]
        if not waiting or letter.style != BY_EVENTS:
            return  # nobody in the saga waits for an observer
        event_type = self._contract.events[letter.event]
        if (event := _readable(event_type, letter.body)) is None:
            return  # it belongs to no saga
        saga_id = identity.saga_id(event)
        telemetry.current_saga.set(saga_id)

        def work(tx: Connection) -> None:
            self._write(tx, saga_id, event_type, event)  # the letter may be read before its event is
            with contextlib.suppress(Damaged):
                self._stall(tx, saga_id, waiting[0], letter)

        await self._database.run(work)
        self._changes.changed(saga_id)

    def _stall(self, tx: Connection, saga_id: str, method: Method, letter: DeadLetter) -> None:
        journal = store.load(tx, saga_id, lock=True)
        if journal is None or journal.ended or journal.style != CHOREOGRAPHED:
            return
        journal.status = STALLED
        journal.stalled_reason = f"{method.full_name} cannot take {letter.event}: {letter.reason}: {letter.message}"
        journal.stalled_help = (
            f"the message is kept as {letter.subject} in the stream DEAD_LETTERS; mend the cause, then run "
            f"`ensemble saga retry {saga_id}`"
        )
        journal.updated_us = self._clock.now_us()
        store.put_saga(tx, journal)

    def _write(self, tx: Connection, saga_id: str, event_type: EventType, event: Message) -> bool:
        """Returns whether somebody may wait for the event: the saga is an orchestrated one."""
        now_us = self._clock.now_us()
        serialize(tx, saga_id)  # the tracker's replicas, at a saga's first events
        store.deliver(tx, saga_id, event_type.full_name, event.SerializeToString(), now_us)
        try:
            journal = store.load(tx, saga_id, lock=True)
        except Damaged as damage:
            store.quarantine(tx, damage)
            return False
        if journal is None:
            journal = Journal(saga_id, "", CHOREOGRAPHED, b"", now_us)
        if journal.style != CHOREOGRAPHED:
            return True
        source = next(iter(self._contract.sources_of(event_type.full_name)), None)
        if event_type.starts:
            journal.input, journal.process = pack(event), event_type.starts
        elif source is not None and (process := self._contract.process_of(source)) is not None:
            journal.process = process.name
        if source is not None:
            self._decide(journal, source, event_type, event)
            store.put_steps(tx, [store.step_row(saga_id, self._step(journal, source, event_type, event))])
        journal.updated_us = now_us
        store.put_saga(tx, journal)
        return False

    def _step(self, journal: Journal, source: Method, event_type: EventType, event: Message) -> StepEntry:
        # The first sight of a step is kept: replays must not make it look as if it was done later.
        step = journal.steps.get((source.full_name, ""))
        if step is None:
            now_us = self._clock.now_us()
            step = StepEntry(source.full_name, "", now_us, ended_us=now_us)
        refused = event_type.full_name == source.refuses
        step.status = STEP_REFUSED if refused else STEP_DONE
        step.attempts = 1
        step.last_error = _refusal(event).reason if refused else ""
        return step

    def _decide(self, journal: Journal, source: Method, event_type: EventType, event: Message) -> None:
        if event_type.full_name == source.refuses and not (source.aborts or source.pivot):
            journal.refusal = _cause(journal.refusal, _refusal(event))
        if journal.ended:
            return
        if event_type.outcome in _ENDS:
            journal.status = _ENDS[event_type.outcome]
            journal.stalled_reason = journal.stalled_help = ""
            journal.ended_us = self._clock.now_us()
        elif source.aborts and event_type.full_name == source.emits and journal.status in GOING:
            journal.status = COMPENSATING


def _readable(event_type: EventType, body: bytes) -> Message | None:
    """The event, where it is one."""
    try:
        event = validation.parse(event_type.message_class, body)
        validation.validate(event)
        identity.saga_id(event)
    except Invalid:
        return None
    return event


def _cause(known: bytes, refusal: error_details_pb2.ErrorInfo) -> bytes:
    """Of several refusals the same one, in whatever order they are seen. One by a tombstone is a consequence."""
    if refusal.reason == "STEP_COMPENSATED":
        return known
    other = error_details_pb2.ErrorInfo.FromString(known)
    if known and (other.domain, other.reason) <= (refusal.domain, refusal.reason):
        return known
    return bytes(refusal.SerializeToString())


def _refusal(event: Message) -> error_details_pb2.ErrorInfo:
    found = getattr(event, "refusal", None)
    return found if isinstance(found, error_details_pb2.ErrorInfo) else error_details_pb2.ErrorInfo()
