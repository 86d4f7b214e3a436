"""Pages of sagas, newest first, whatever they are filtered by, at a cost that does not grow with how many there are.

One index, (process, status, style, started, id), serves every filter: each combination of values that the filters
leave open is a range of it, and the newest few of each range are merged. There are few combinations (statuses x styles
x processes), and each costs one look into the index, which has all that the merge needs.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import islice, product

import sqlalchemy as sql
from sqlalchemy import Connection

from ensemble.orchestrator.v1 import orchestrator_pb2 as api
from mesh.paging import Cursor
from orchestrator import store
from orchestrator.journal import Journal
from orchestrator.tables import SAGAS

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
_BEHIND = _RANGE.where(sql.tuple_(_C.started_us, _C.saga_id) < (sql.bindparam("time_us"), sql.bindparam("id")))
_FIRST_PROCESS = sql.select(sql.func.min(_C.process))
_NEXT_PROCESS = _FIRST_PROCESS.where(_C.process > sql.bindparam("process"))
_ROWS = sql.select(SAGAS).where(_C.saga_id.in_(sql.bindparam("ids", expanding=True)))


def page(tx: Connection, *, status: int, process: str, style: int, after: Cursor | None, limit: int) -> list[Journal]:
    """At most `limit` sagas without their steps, newest first, from behind the cursor. 0 and "" leave a filter open."""
    statuses = [status] if status else api.SagaStatus.values()
    styles = [style] if style else api.Style.values()
    processes = [process] if process else list(_processes(tx))
    behind = {"time_us": after.time_us, "id": after.id} if after else {}
    ranges = []
    for one_process, one_status, one_style in product(processes, statuses, styles):
        kind = {"process": one_process, "status": one_status, "style": one_style, "limit": limit}
        ranges.append(tx.execute(_BEHIND if after else _RANGE, {**kind, **behind}).all())
    newest = [row.saga_id for row in islice(heapq.merge(*ranges, reverse=True, key=tuple), limit)]
    rows = {row.saga_id: row for row in tx.execute(_ROWS, {"ids": newest})}
    return [store.read_saga(rows[saga_id]) for saga_id in newest]


def _processes(tx: Connection) -> Iterator[str]:
    """The processes that there are sagas of: a jump through the index for each, not a walk."""
    process = tx.execute(_FIRST_PROCESS).scalar()
    while process is not None:
        yield process
        process = tx.execute(_NEXT_PROCESS, {"process": process}).scalar()
