"""Pages of sagas that do not get on, newest first, at a cost that does not grow with those that ended, or sleep.

Those that may be among them come from three indexes: what has the status STALLED, what an orchestrator holds (which is
bounded, by its settings) since long enough, and what was due long ago. Who looks at one with its steps decides.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sql
from sqlalchemy import Connection

from mesh.paging import Cursor
from orchestrator import leases, listing, store
from orchestrator.journal import STALLED, Journal
from orchestrator.listing import Filter, Range
from orchestrator.tables import SAGAS

# So many are looked at for one page: where few of many are wanted, a page is short and the next one goes on.
LOOKED_AT_MAX = 2000
BATCH_MAX = 200
# So many of those that are due are seen, the longest due first.
DUE_MAX = 1000

_C = SAGAS.c
_HELD = sql.select(_C.started_us, _C.saga_id).where(
    _C.owner == sql.bindparam("owner"), _C.started_us < sql.bindparam("before_us")
)
_DUE = (
    sql.select(_C.started_us, _C.saga_id)
    .where(_C.due_us < sql.bindparam("before_us"))
    .order_by(_C.due_us, _C.saga_id)
    .limit(DUE_MAX)
)


def stalled_page(
    tx: Connection, wanted: Callable[[Journal], bool], *, before_us: int, after: Cursor | None, limit: int
) -> tuple[list[Journal], Cursor | None]:
    """At most `limit` sagas with their steps, from behind the cursor; and where to go on, if there may be more."""
    found: list[Journal] = []
    for _ in range(0, LOOKED_AT_MAX, BATCH_MAX):
        rows = _candidates(tx, before_us, after)
        for row, journal in zip(rows, _read(tx, rows), strict=True):
            after = Cursor(*row)
            if wanted(journal):
                found.append(journal)
            if len(found) == limit:
                return found, after
        if len(rows) < BATCH_MAX:
            return found, None
    return found, after


def _candidates(tx: Connection, before_us: int, after: Cursor | None) -> Range:
    long_ago = {"before_us": before_us}
    unordered = [listing.rows_behind(tx, _HELD, {"owner": owner, **long_ago}, after) for owner in leases.owners(tx)]
    unordered.append(listing.rows_behind(tx, _DUE, long_ago, after))
    found = listing.ranges(tx, Filter(status=STALLED), after, BATCH_MAX)
    found += [sorted(rows, reverse=True) for rows in unordered]
    return listing.newest(found, BATCH_MAX)


def _read(tx: Connection, rows: Range) -> list[Journal]:
    """The sagas of these rows, a damaged one with what is wrong."""
    journals, damages = store.load_many(tx, [saga_id for _, saga_id in rows]) if rows else ([], [])
    known = {journal.saga_id: journal for journal in journals}
    known.update((damage.saga_id, store.damaged_journal(damage)) for damage in damages)
    return [known[saga_id] for _, saga_id in rows]
