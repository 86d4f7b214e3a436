"""What a handler is given: its transaction, and which step it is."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import Message
from sqlalchemy import Connection

from services.participant.ledger import StepId

# Of the ids that are derived from steps; a constant for ever, like any uuid5 namespace.
_NAMESPACE = uuid.UUID("6f1f0f66-7c1a-5e0b-9d0a-0b5f6f0f8a11")


@dataclass
class Call:
    """One call of a plain method (a read, say), in a transaction of its own."""

    tx: Connection
    callbacks: list[Callable[[], Any]] = field(default_factory=list)

    def after_commit(self, callback: Callable[[], Any]) -> None:
        """Calls back on the event loop once the transaction is committed; not at all where it is not.

        The process may die in between, so this is for wakers and counters, never for effects.
        """
        self.callbacks.append(callback)


@dataclass
class Step(Call):
    """One step of a saga. Its handler runs in the transaction that writes the ledger's row.

    A handler may run more than once (its first transaction may be taken back), so all that it does it does in `tx`.
    """

    id: StepId = field(kw_only=True)
    event: str = field(kw_only=True)  # full name of the event that triggered it; empty: it was called
    undoes: Message | None = field(kw_only=True)  # in a compensation: the recorded response of the step it reverses
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def saga_id(self) -> str:
        """The saga that the step belongs to."""
        return self.id.saga_id

    @property
    def unique_id(self) -> str:
        """An id that is the same whenever and however this step is called: also a key for effects outside."""
        return str(uuid.uuid5(_NAMESPACE, f"{self.id.saga_id}/{self.id.method}/{self.id.step_key}"))
