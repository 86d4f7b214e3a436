"""JOIN_ALL: a method that runs once all of its events have arrived for the saga.

Arrivals are facts and are never consumed: once they are complete, every further arrival triggers the method again,
which answers from the ledger and emits. So a replay of one branch is enough to get a stalled saga past its join.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import sqlalchemy as sql
from google.protobuf.message import Message
from sqlalchemy import Connection

from mesh.contract import Contract, Method
from mesh.errors import StepMismatch
from mesh.projection import Disagreement, project
from mesh.sql import Prepared


def arrivals_table(metadata: sql.MetaData) -> sql.Table:
    """The arrivals of one participant's database."""
    return sql.Table(
        "arrivals",
        metadata,
        sql.Column("saga_id", sql.String(64), primary_key=True),
        sql.Column("method", sql.String(255), primary_key=True),
        sql.Column("event", sql.String(255), primary_key=True),
        sql.Column("body", sql.LargeBinary, nullable=False),
        sql.Column("replay", sql.String(64), nullable=False),
    )


@dataclass(frozen=True)
class Joined:
    """A complete join: the request that its events make, and the newest replay among them."""

    request: Message
    replay: str


class _Statements:
    """What a table of arrivals is asked."""

    def __init__(self, table: sql.Table) -> None:
        of_saga = (table.c.saga_id == sql.bindparam("k_saga")) & (table.c.method == sql.bindparam("k_method"))
        self.find = Prepared(sql.select(table.c.event, table.c.body, table.c.replay).where(of_saga))
        self.add = Prepared(table.insert())
        self.renew = (
            table.update()
            .where(of_saga, table.c.event == sql.bindparam("k_event"))
            .values(replay=sql.bindparam("k_replay"))
        )


_statements = cache(_Statements)  # as those of the ledger


class Joins:
    """Writes down arrivals, inside the transactions of its callers."""

    def __init__(self, table: sql.Table, contract: Contract) -> None:
        self._contract = contract
        self._statements = _statements(table)

    def arrive(self, tx: Connection, method: Method, saga_id: str, event: Message, replay: str) -> Joined | None:
        """Records an arrival; the request once all have arrived. Raises StepMismatch where they disagree."""
        name = event.DESCRIPTOR.full_name
        key = (saga_id, method.full_name)
        found = self._statements.find.rows(tx, key)
        replays = {event: replay for event, _, replay in found}
        others = [self._contract.events[other].message_class.FromString(body) for other, body, _ in found]
        try:
            request = project(method.request_class, event, *others)
        except Disagreement as error:
            raise StepMismatch(f"{method.full_name}({saga_id})", str(error)) from None
        # Ids of replays are UUIDv7: the greatest is the newest.
        newest = max([replay, *replays.values()])
        if name not in replays:
            self._statements.add.run(tx, (*key, name, event.SerializeToString(), replay))
        elif replay > replays[name]:
            renewed = {"k_saga": saga_id, "k_method": method.full_name, "k_event": name, "k_replay": replay}
            tx.execute(self._statements.renew, renewed)
        return Joined(request, newest) if {*replays, name} == set(method.on) else None
