"""Pages of sagas, newest first, whatever they are filtered by, at a cost that does not grow with how many there are.

One index, (process, status, style, started, id), serves every filter: each kind of saga that the filters let through
(a process, status and style that there are sagas of) is a range of it, and the newest few of each range are merged.
There are few kinds, and each costs two looks into the index, which has all that the merge needs.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

import sqlalchemy as sql
from sqlalchemy import Connection

from mesh.paging import Cursor
from orchestrator import store
from orchestrator.journal import Journal
from orchestrator.tables import SAGAS

Kind: TypeAlias = "tuple[str, int, int]"  # process, status, style
Range: TypeAlias = "list[tuple[int, str]]"  # (started, saga id), newest first

_C = SAGAS.c
_RANGE = (
    sql.select(_C.started_us, _C.saga_id)
    .where(
        _C.process == sql.bindparam("process"),
        _C.status == sql.bindparam("status"),
        _C.style == sql.bindparam("style"),
    )
    .order_by(_C.started_us.desc(), _C.saga_id.desc())
    .limit(sql.bindparam("limit"))
)
_FURTHER = sql.tuple_(_C.started_us, _C.saga_id) < sql.tuple_(
    sql.bindparam("time_us", type_=_C.started_us.type), sql.bindparam("id", type_=_C.saga_id.type)
)
_KIND = (_C.process, _C.status, _C.style)
_FIRST_KIND = sql.select(*_KIND).order_by(*_KIND).limit(1)
# Of all that are not less than (process, status, style + 1): for "greater", SQLite would pass by all that are equal.
_NEXT_KIND = _FIRST_KIND.where(
    sql.tuple_(*_KIND)
    >= sql.tuple_(
        sql.bindparam("process", type_=_C.process.type),
        sql.bindparam("status", type_=_C.status.type),
        sql.bindparam("style", type_=sql.BigInteger),
    )
)


@dataclass(frozen=True)
class Filter:
    """Which sagas are asked for. 0 and "" leave a part of it open."""

    process: str = ""
    status: int = 0
    style: int = 0

    def lets_through(self, kind: Kind) -> bool:
        """Whether sagas of a kind are asked for."""
        return all(
            wanted in (value, "", 0)
            for wanted, value in zip((self.process, self.status, self.style), kind, strict=True)
        )


def page(tx: Connection, wanted: Filter, *, after: Cursor | None, limit: int) -> list[Journal]:
    """At most `limit` sagas without their steps, newest first, from behind the cursor."""
    return store.read_many(tx, [saga_id for _, saga_id in newest(ranges(tx, wanted, after, limit), limit)])


def ranges(tx: Connection, wanted: Filter, after: Cursor | None, limit: int) -> list[Range]:
    """The newest few of each kind of saga that is asked for."""
    return [
        rows_behind(tx, _RANGE, {**_named(kind), "limit": limit}, after)
        for kind in _kinds(tx)
        if wanted.lets_through(kind)
    ]


def rows_behind(tx: Connection, query: sql.Select[Any], values: dict[str, Any], after: Cursor | None) -> Range:
    """The rows of a query of (started, id) that lie behind the cursor."""
    if after is not None:
        query, values = query.where(_FURTHER), {**values, "time_us": after.time_us, "id": after.id}
    return [(row.started_us, row.saga_id) for row in tx.execute(query, values)]


def newest(found: Iterable[Range], limit: int) -> Range:
    """The newest of several ranges."""
    return list(islice(heapq.merge(*found, reverse=True), limit))


def _kinds(tx: Connection) -> Iterator[Kind]:
    """The kinds of sagas that there are: a jump through the index for each, not a walk."""
    found = tx.execute(_FIRST_KIND).one_or_none()
    while found is not None:
        kind: Kind = (found.process, found.status, found.style)
        yield kind
        found = tx.execute(_NEXT_KIND, _named((found.process, found.status, found.style + 1))).one_or_none()


def _named(kind: Kind) -> dict[str, Any]:
    return dict(zip(("process", "status", "style"), kind, strict=True))
