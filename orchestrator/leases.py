"""Which orchestrator runs which saga, and how one that nobody runs finds somebody.

    started here, or taken ──▶ owned ── waits for long ──▶ due later ── its time comes, or mail ──▶ due now
                                 │                                                                    │
                                 ├─ its owner died ──────────────────────────────────────────────────▶┤
                                 └─ ended, stalled, handed over ──▶ nobody's      owned ◀── claimed ──┘

`owner` and `due_us` of a saga's row are never both set. One lease for each orchestrator, not for each saga, is renewed
by its heartbeat; where it runs out, all that it owned is due. Whoever has room claims what is due, each saga by one.
An orchestrator that is asked to change a saga takes it, whoever runs it.

Leases are an optimisation, not a safety device. An orchestrator that was paused past its lease goes on calling
participants until it looks here again: the ledgers let each step through once, and the pivot decides once. What it
would write is fenced: only the owner writes a saga's journal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import sqlalchemy as sql
from sqlalchemy import Connection

from mesh.database import serialize
from mesh.sql import Prepared, insert
from orchestrator import store
from orchestrator.journal import Journal
from orchestrator.store import Damaged
from orchestrator.tables import MAIL, ORCHESTRATORS, SAGAS

_C = SAGAS.c
_LEASE = insert(ORCHESTRATORS)
_BEAT = Prepared(
    _LEASE.on_conflict_do_update(index_elements=["owner"], set_={"expires_us": _LEASE.excluded.expires_us})
)
_UNEXPIRED = Prepared(sql.select(ORCHESTRATORS.c.owner).where(ORCHESTRATORS.c.expires_us >= sql.bindparam("now_us")))
_OWNED = (
    sql.select(_C.saga_id)
    .where(_C.saga_id.in_(sql.bindparam("saga_ids", expanding=True)), _C.owner == sql.bindparam("owner"))
    .order_by(_C.saga_id)  # one order for all who lock several
    .with_for_update()
)
# What a frozen process has locked is left to the next look: who waited for it would lose a lease of its own.
_ORPHANED = sql.select(_C.saga_id).where(_C.owner == sql.bindparam("dead")).with_for_update(skip_locked=True)
_OWNERS = sql.select(sql.func.min(_C.owner)).where(_C.owner.is_not(None))
_FIRST_OWNER = Prepared(_OWNERS)
_NEXT_OWNER = Prepared(_OWNERS.where(_C.owner > sql.bindparam("owner")))
_OWNED_BY = Prepared(sql.select(_C.saga_id).where(_C.owner == sql.bindparam("owner")))


def _forget(gone: sql.ColumnElement[bool]) -> Prepared:
    orchestrators = sql.select(ORCHESTRATORS.c.owner).where(gone).with_for_update(skip_locked=True)
    return Prepared(sql.delete(ORCHESTRATORS).where(ORCHESTRATORS.c.owner.in_(orchestrators)))


_OTHER = ORCHESTRATORS.c.owner != sql.bindparam("owner")
_FORGET_OTHERS = _forget(_OTHER)
_FORGET_EXPIRED = _forget(_OTHER & (ORCHESTRATORS.c.expires_us < sql.bindparam("now_us")))


@dataclass(frozen=True)
class Claim:
    """What one look for sagas that are due has found."""

    journals: list[Journal]
    damages: list[Damaged]
    next_due_us: int | None  # of those that are left


def beat(tx: Connection, owner: str, expires_us: int) -> None:
    """Renews an orchestrator's lease."""
    _BEAT.run(tx, (owner, expires_us))


def reap(tx: Connection, owner: str, now_us: int, *, alone: bool = False) -> int:
    """Makes due what orchestrators own whose lease has run out; with `alone`, what any other owns. Returns how many."""
    found = set(owners(tx))  # before the leases: one that joins meanwhile has its lease before it owns anything
    alive = {owner} if alone else {owner, *(other for (other,) in _UNEXPIRED.rows(tx, (now_us,)))}
    freed = 0
    for dead in sorted(found - alive):
        free = sql.update(SAGAS).where(_C.saga_id.in_(_ORPHANED)).values(owner=None, due_us=now_us)
        freed += tx.execute(free, {"dead": dead}).rowcount
    if alone:
        _FORGET_OTHERS.run(tx, (owner,))
    else:
        _FORGET_EXPIRED.run(tx, (owner, now_us))
    return freed


def resign(tx: Connection, owner: str, now_us: int) -> None:
    """Ends an orchestrator's lease before its time: what it owns is due at once."""
    tx.execute(sql.update(SAGAS).where(_C.owner == owner).values(owner=None, due_us=now_us))
    tx.execute(sql.delete(ORCHESTRATORS).where(ORCHESTRATORS.c.owner == owner))


def claim(tx: Connection, owner: str, now_us: int, limit: int, workflows: Iterable[tuple[str, int]]) -> Claim:
    """Takes at most `limit` sagas that are due, longest first, of these workflows and versions.

    Those of others are left to orchestrators that have them, as during a rolling deployment. Damaged ones are
    quarantined.
    """
    due, next_due = _due_of(tuple(workflows))
    saga_ids = [saga_id for (saga_id,) in due.rows(tx, (now_us, limit))]
    if saga_ids:
        tx.execute(sql.update(SAGAS).where(_C.saga_id.in_(saga_ids)).values(owner=owner, due_us=None))
    journals, damages = store.load_many(tx, saga_ids) if saga_ids else ([], [])
    for damage in damages:
        store.quarantine(tx, damage)
    return Claim(journals, damages, next_due.rows(tx)[0][0])


@cache
def _due_of(workflows: tuple[tuple[str, int], ...]) -> tuple[Prepared, Prepared]:
    """The statements that find what is due of these workflows, and when the next one is."""
    # Not the plain column: SQLite would look by it, and sort all that has ended.
    name = _C.process.concat("")
    known = sql.or_(*((name == process) & (_C.version == version) for process, version in workflows))
    due = sql.select(_C.saga_id).where(_C.due_us <= sql.bindparam("now_us"), known).order_by(_C.due_us, _C.saga_id)
    next_due = sql.select(sql.func.min(_C.due_us)).where(_C.due_us.is_not(None), known)
    return Prepared(due.limit(sql.bindparam("limit")).with_for_update(skip_locked=True)), Prepared(next_due)


def park(tx: Connection, owner: str, saga_id: str, due_us: int, names: Iterable[str], now_us: int) -> int | None:
    """Lets go of a saga until it is due; at once where mail of one of these names is there. None: it was lost."""
    serialize(tx, saga_id)  # against `store.deliver`, where that did not see the saga yet
    mine = (_C.saga_id == saga_id) & (_C.owner == owner)
    if not tx.execute(sql.update(SAGAS).where(mine).values(owner=None, due_us=due_us)).rowcount:
        return None
    came = sql.select(MAIL.c.name).where(MAIL.c.saga_id == saga_id, MAIL.c.name.in_(list(names))).limit(1)
    if tx.execute(came).scalar() is None:
        return due_us
    tx.execute(sql.update(SAGAS).where(_C.saga_id == saga_id).values(due_us=now_us))
    return now_us


def release(tx: Connection, owner: str, saga_ids: Iterable[str], now_us: int) -> int:
    """Makes due what an orchestrator owns and does not run; returns how many."""
    if not (ids := list(saga_ids)):
        return 0
    mine = _C.saga_id.in_(ids) & (_C.owner == owner)
    return tx.execute(sql.update(SAGAS).where(mine).values(owner=None, due_us=now_us)).rowcount


def owned_by(tx: Connection, owner: str) -> set[str]:
    """All that an orchestrator owns."""
    return {saga_id for (saga_id,) in _OWNED_BY.rows(tx, (owner,))}


def owned(tx: Connection, owner: str, saga_ids: Iterable[str]) -> set[str]:
    """Which of these sagas an orchestrator owns; until the transaction ends nobody takes them from it."""
    return set(tx.execute(_OWNED, {"saga_ids": list(saga_ids), "owner": owner}).scalars())


def owners(tx: Connection) -> Iterable[str]:
    """All who own a saga: a jump through the index for each."""
    ((owner,),) = _FIRST_OWNER.rows(tx)
    while owner is not None:
        yield owner
        ((owner,),) = _NEXT_OWNER.rows(tx, (owner,))
