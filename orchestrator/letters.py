"""The dead letters of a saga: they lie in its box, each once, as the API shows them."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from ensemble.orchestrator.v1 import orchestrator_pb2 as api
from eventbus.dead_letters import DeadLetter
from orchestrator import store
from orchestrator.store import Mail

_PREFIX = "dead."


def keep(tx: Connection, saga_id: str, letter: DeadLetter) -> None:
    """Puts a dead letter into its saga's box."""
    kept = api.DeadLetter(
        id=letter.id,
        service=letter.service,
        event=letter.event,
        reason=letter.reason,
        message=letter.message,
        deliveries=letter.deliveries,
    )
    kept.died.FromMicroseconds(letter.died_us)
    # By its time, too: a stream that was made anew counts from one again.
    name = f"{letter.subject}#{letter.id}@{letter.died_us}"
    store.deliver(tx, saga_id, name, kept.SerializeToString(), letter.died_us)


def letters_in(box: Iterable[Mail]) -> list[api.DeadLetter]:
    """Those in a box, in its order."""
    return [api.DeadLetter.FromString(mail.body) for mail in box if mail.name.startswith(_PREFIX)]
