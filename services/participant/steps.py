"""The rules of a participant: what happens when a step is triggered, whichever way, however often.

Everything here runs inside one database transaction, knows no transport, and is decided by the ledger's row:

    no row      run the handler, record its outcome; a compensation whose step never came buries it (tombstone)
    DONE        answer and emit as recorded
    REFUSED     answer and emit as recorded
    TOMBSTONE   refuse with STEP_COMPENSATED; triggered by an event, emit the step's refusal

The same step with another request is refused and changes nothing.

Look and then act needs that nobody acts in between, so one saga's steps in one participant run one after the other,
in whatever process: each takes the saga's lock first, and holds it until its commit. Else two replicas would both find
no row and both run the handler; two arrivals of a join would not see each other, and nobody would run it; a step and
its compensation would miss each other. Different sagas meet only in the rows that their handlers change.

What an event's style is: a step publishes as choreographed if an event of the choreography has triggered this
participant in this saga, now or earlier; otherwise it publishes public events only, as orchestrated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from google.protobuf.message import Message
from google.rpc import status_pb2
from sqlalchemy import Connection

from eventbus.envelope import Envelope
from mesh import errors, identity
from mesh.contract import Contract, Method
from mesh.database import savepoint, serialize
from mesh.errors import Invalid, Refused, StepCompensated, StepMismatch
from mesh.projection import missing_fields, project
from mesh.refusal import refusal_event
from mesh.settings import MESSAGE_BYTES_MAX
from services.participant.joins import Joins
from services.participant.ledger import Ledger, Row, State, StepId, style_of
from services.participant.step import Step


class Handler(Protocol):
    """A participant's method: plain, synchronous, in one transaction. Refuses by raising Refused."""

    def __call__(self, request: Any, step: Step, /) -> Message:
        """Does the step."""


@dataclass(frozen=True)
class Trigger:
    """How a step was called."""

    event: str = ""  # full name of the event that triggers it; empty: called over gRPC
    choreographed: bool = False  # that event was published by the choreography
    replay: str = ""


@dataclass(frozen=True)
class Answer:
    """What the caller gets, what is to be published, and whom to wake: all of it after the commit."""

    response: bytes = b""
    status: status_pb2.Status | None = None  # of a refusal
    emission: Envelope | None = None
    callbacks: list[Callable[[], Any]] = field(default_factory=list)


class Steps:
    """Runs the steps of one service against its ledger."""

    def __init__(self, service: str, domain: str, contract: Contract, ledger: Ledger, joins: Joins) -> None:
        self._service = service
        self._domain = domain
        self._contract = contract
        self._ledger = ledger
        self._joins = joins

    def arrive(
        self, tx: Connection, method: Method, handler: Handler, event: Message, trigger: Trigger
    ) -> Answer | None:
        """An event triggers a method. None while a join still waits for others."""
        if not method.join_all:
            return self.perform(tx, method, handler, _fitting(project(method.request_class, event)), trigger)
        serialize(tx, identity.saga_id(event))
        joined = self._joins.arrive(tx, method, identity.saga_id(event), event, trigger.replay)
        if joined is None:
            return None
        return self.perform(tx, method, handler, _fitting(joined.request), replace(trigger, replay=joined.replay))

    def perform(self, tx: Connection, method: Method, handler: Handler, request: Message, trigger: Trigger) -> Answer:
        """Does a step, or answers as it was done. Raises StepMismatch, and what the handler raises but Refused."""
        saga_id = identity.saga_id(request)
        serialize(tx, saga_id)  # taken again after a join's arrival, where it is held already
        step_key = identity.step_key(request)
        if trigger.event in method.observes:
            step_key += f"{',' if step_key else ''}event={trigger.event}"
        step = StepId(saga_id, method.full_name, step_key)
        row = self._ledger.find(tx, step)
        if row is None:
            return self._do(tx, method, handler, request, step, trigger)
        if row.state is State.TOMBSTONE:
            return self._refuse_compensated(tx, method, request, row, trigger)
        if row.digest != identity.digest(request):
            raise StepMismatch(str(step))
        return self._answer_again(tx, row, trigger)

    def _do(
        self, tx: Connection, method: Method, handler: Handler, request: Message, id_: StepId, trigger: Trigger
    ) -> Answer:
        step = Step(tx, id=id_, event=trigger.event, undoes=None)
        status = None
        try:
            with savepoint(tx):
                response = self._run(tx, method, handler, request, step)
            event = self._success_event(method, request, response)
            outcome = response.SerializeToString()
        except Refused as refusal:
            if not method.refuses:
                raise errors.MeshError(
                    f"{method.name} raised {refusal.reason}, but its contract has no `refuses`"
                ) from refusal
            status = refusal.status(self._domain)
            event = refusal_event(self._contract, method, request, refusal.error_info(self._domain))
            outcome = status.SerializeToString()
            step.callbacks.clear()
        row = Row(
            id=id_,
            state=State.REFUSED if status else State.DONE,
            digest=identity.digest(request),
            outcome=outcome,
            event=event.DESCRIPTOR.full_name if event is not None else "",
            body=event.SerializeToString() if event is not None else None,
            choreographed=trigger.choreographed,
            replay=trigger.replay,
            due=None,
        )
        row = replace(row, due=self._style(tx, row))
        self._ledger.add(tx, row)
        return self._answer(row, step.callbacks)

    def _run(self, tx: Connection, method: Method, handler: Handler, request: Message, step: Step) -> Message:
        if method.compensates:
            response = self._compensate(tx, method, handler, request, step)
        else:
            response = handler(request, step)
        if not isinstance(response, method.response_class):
            expected = method.response_class.DESCRIPTOR.full_name
            raise TypeError(f"the handler {method.full_name} returned {response!r}, not a {expected}")
        return response

    def _compensate(self, tx: Connection, method: Method, handler: Handler, request: Message, step: Step) -> Message:
        """Reverses a step that was done; keeps one that never came from ever happening. Always succeeds."""
        undone = StepId(step.id.saga_id, method.compensates, identity.step_key(request))
        row = self._ledger.find(tx, undone)
        if row is None:
            self._ledger.add(tx, Row(undone, State.TOMBSTONE, None, None, "", None, False, "", None))
        if row is None or row.state is not State.DONE:
            return method.response_class()
        self._check_undone(method, request, row)
        step.undoes = self._contract.methods[method.compensates].response_class.FromString(row.outcome or b"")
        return handler(request, step)

    def _check_undone(self, method: Method, request: Message, row: Row) -> None:
        """A compensation that says something else than its step would reverse something else; raises StepMismatch."""
        undone = self._contract.methods[method.compensates]
        if missing_fields(undone.descriptor.input_type, [method.descriptor.input_type]):
            return  # it says less than its step: nothing to compare
        if identity.digest(project(undone.request_class, request)) != row.digest:
            raise StepMismatch(str(row.id), f"{method.name} must say what its step said")

    def _success_event(self, method: Method, request: Message, response: Message) -> Message | None:
        if not method.emits:
            return None
        return project(self._contract.events[method.emits].message_class, request, response)

    def _refuse_compensated(
        self, tx: Connection, method: Method, request: Message, row: Row, trigger: Trigger
    ) -> Answer:
        error = StepCompensated(str(row.id))
        status = error.status(self._domain)
        if not trigger.choreographed:
            return Answer(status=status)
        if method.refuses:
            # Silent, it would strand a hand-over: the join never fills, and the siblings are held for ever.
            event = refusal_event(self._contract, method, request, error.error_info(self._domain))
            row = replace(row, event=event.DESCRIPTOR.full_name, body=event.SerializeToString())
        return replace(self._answer_again(tx, row, trigger), status=status)

    def _answer_again(self, tx: Connection, row: Row, trigger: Trigger) -> Answer:
        """Answers as recorded, and emits again: the truth is in the ledger, the broker may have lost it."""
        # The newest replay: one that still waits for the broker must not be forgotten for an older trigger's sake.
        newest = max(row.replay, trigger.replay)
        choreographed_now = trigger.choreographed and not row.choreographed
        row = replace(row, choreographed=row.choreographed or trigger.choreographed, replay=newest)
        row = replace(row, due=self._style(tx, row))
        if row.due or choreographed_now:  # also of a step that emits nothing: it decides the style of those that do
            self._ledger.trigger_again(tx, row)
        return self._answer(row, [])

    def _style(self, tx: Connection, row: Row) -> str | None:
        if not row.event:
            return None
        choreographed = row.choreographed or self._ledger.is_choreographed(tx, row.id.saga_id)
        return style_of(choreographed, self._contract.events[row.event].public)

    def _answer(self, row: Row, callbacks: list[Callable[[], Any]]) -> Answer:
        emission = self.envelope(row) if row.due else None
        if row.state is State.REFUSED:
            return Answer(
                status=status_pb2.Status.FromString(row.outcome or b""), emission=emission, callbacks=callbacks
            )
        return Answer(response=row.outcome or b"", emission=emission, callbacks=callbacks)

    def envelope(self, row: Row) -> Envelope:
        """The event of a row, ready to be published."""
        return Envelope(
            event=row.event,
            body=row.body or b"",
            saga_id=row.id.saga_id,
            method=row.id.method,
            step_key=row.id.step_key,
            style=row.due or "",
            replay=row.replay,
            source=self._service,
        )


def _fitting(request: Message) -> Message:
    """A request that events make has the limit of one that is called; raises Invalid. Else it may emit too much."""
    if (size := request.ByteSize()) > MESSAGE_BYTES_MAX:
        raise Invalid([("", f"makes a request of {size} bytes; a message of the mesh has {MESSAGE_BYTES_MAX} at most")])
    return request
