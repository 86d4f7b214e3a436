"""A participant in this process: its real rules, ledger and outbox, without a server, a broker or a thread.

Calls and events are put in by hand, and what it publishes is written down. For tests, on whichever event loop they
run; services.participant.testing has the form for tests that are no coroutines.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sql
from google.protobuf.message import Message

from eventbus.consumer import Delivery
from eventbus.envelope import CHOREOGRAPHED, REPLAY, Envelope
from mesh import validation
from mesh.contract import Method
from mesh.database import Database
from mesh.inline_database import InlineDatabase
from services.participant.outbox import Publisher
from services.participant.participant import METADATA, Participant


class Published:
    """Where the events of a local participant go: a list, oldest first."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []

    async def publish(self, envelope: Envelope) -> None:
        """Writes an event down."""
        self.envelopes.append(envelope)


class LocalParticipant:
    """One servicer with a ledger of its own."""

    def __init__(self, servicer: object, database: Database | None = None, publisher: Publisher | None = None) -> None:
        """A new database in memory, where none is given (one that has the participant's and the servicer's tables)."""
        self.servicer = servicer
        self.database: Database = InlineDatabase(*tables_of(servicer)) if database is None else database
        self.participant = Participant(servicer, self.database, publisher or Published())
        self.contract = self.participant.contract
        self._calls: dict[str, Any] = {
            binding.method.name: binding.call for binding in self.participant.endpoint.bindings()
        }

    def method(self, name: str) -> Method:
        """A method by its short name; raises LookupError."""
        for method in self.contract.methods.values():
            if method.name == name:
                return method
        raise LookupError(f"{self.participant.service.full_name} has no method {name}; it has {', '.join(self._calls)}")

    async def ask(self, method: str, request: Message, *, replay: str = "") -> Message:
        """Calls a method as a client does: its response, or the google.rpc.Status of its refusal.

        Raises what the method raises otherwise; a client would get those errors as a status, too.
        """
        known = self.method(method)
        if not isinstance(request, known.request_class):
            expected = known.descriptor.input_type.full_name
            raise TypeError(f"{method} takes a {expected}, not a {request.DESCRIPTOR.full_name}")
        received = known.request_class.FromString(request.SerializeToString())
        validation.validate(received)
        answer = await self.raw(method, received, replay)
        return known.response_class.FromString(answer) if isinstance(answer, bytes) else answer

    async def raw(self, method: str, request: Message, replay: str = "") -> bytes | Message:
        """Calls a method with a valid request; its answer as the server gets it, a step's response as bytes."""
        answer: bytes | Message = await self._calls[method](request, _Context(replay))
        return answer

    async def deliver(self, event: Message, *, style: str = CHOREOGRAPHED, replay: str = "") -> None:
        """Delivers an event as the consumer does; raises LookupError for one that triggers nothing here."""
        name = event.DESCRIPTOR.full_name
        triggers = {trigger for method in self.contract.methods.values() for trigger in method.triggers}
        if name not in triggers:
            known = ", ".join(sorted(triggers)) or "no event"
            raise LookupError(f"{name} triggers no method of {self.participant.service.full_name}; it follows {known}")
        await self.participant.reactor.handle(Delivery(name, event.SerializeToString(), style, replay, 1, 1))

    async def flush(self) -> None:
        """Returns once nothing is being published any more."""
        await self.participant.outbox.flush()

    async def close(self) -> None:
        """Ends it, and its database."""
        await self.flush()
        await self.database.close()


class _Context:
    """As much of a grpc.aio context as a step looks at."""

    def __init__(self, replay: str) -> None:
        self._metadata = ((REPLAY, replay),) if replay else ()

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata


def tables_of(servicer: object) -> list[sql.MetaData]:
    """What a participant's database has to have: its ledger, and the tables of its servicer."""
    own = getattr(servicer, "tables", None)
    return [METADATA] if own is None else [METADATA, own]
