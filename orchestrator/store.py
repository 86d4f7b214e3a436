"""Reads and writes the journal's tables, inside the transactions of its callers.

Every row of a saga and of a step carries a checksum. A row that does not match it was changed by something else than
us (a bad disk, a bad hand), and nothing in it can be trusted: its saga is quarantined, the others run on. Rows are
read as the driver gives them, without SQLAlchemy's conversions, which fail on values that are not of their columns.
What the tracker does for every event of every choreography is prepared (mesh.sql), too: it costs half as much.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

import sqlalchemy as sql
from sqlalchemy import Connection

from mesh.database import serialize
from mesh.sql import Prepared, insert
from orchestrator.journal import CHOREOGRAPHED, FOREVER_US, STALLED, Journal, StepEntry, Style
from orchestrator.tables import MAIL, METADATA, SAGAS, STEPS

__all__ = ["METADATA", "Damaged"]  # and what stands below

_SAGA_COLUMNS = tuple(column.name for column in SAGAS.columns)[:-1]  # the checksum stands last
_SAGA_VALUES = attrgetter(*_SAGA_COLUMNS)
_SUMMED = len(_SAGA_COLUMNS) - 2  # owner and due_us, which stand last but one, are not
_STEP_COLUMNS = tuple(column.name for column in STEPS.columns)[1:-1]
_STEP_VALUES = attrgetter(*_STEP_COLUMNS)

Row = tuple[Any, ...]  # in the order of the table's columns

_THE_SAGA = "the row of the saga"


class Damaged(Exception):
    """A row of a saga's journal does not match its checksum."""

    def __init__(self, saga_id: str, where: str, journal: Journal | None = None) -> None:
        super().__init__(f"the journal of saga {saga_id} is damaged: {where} does not match its checksum")
        self.saga_id = saga_id
        self.journal = journal  # where the saga's own row is sound, and only a step's is not


@dataclass(frozen=True)
class Mail:
    """Something that came for a saga from outside."""

    name: str
    body: bytes
    arrived_us: int


def _upsert(table: sql.Table) -> Any:
    statement = insert(table)
    keys = [column.name for column in table.primary_key]
    changed = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=changed)


def _as_it_is(table: sql.Table) -> Any:
    return sql.select(*(sql.type_coerce(column, sql.types.NullType()).label(column.name) for column in table.columns))


_ADD_SAGA = Prepared(insert(SAGAS).on_conflict_do_nothing())
_PUT_SAGA = Prepared(_upsert(SAGAS))
_PUT_STEP = Prepared(_upsert(STEPS))
_MAIL = insert(MAIL)
_ADD_MAIL = Prepared(
    _MAIL.on_conflict_do_update(
        index_elements=["saga_id", "name"],
        set_={"body": _MAIL.excluded.body, "arrived_us": _MAIL.excluded.arrived_us},
        where=_MAIL.excluded.arrived_us < MAIL.c.arrived_us,
    )
)
_ID = sql.bindparam("id", type_=sql.String)
_ITS_ROW = SAGAS.c.saga_id == _ID
_THERE = Prepared(sql.select(SAGAS.c.saga_id).where(_ITS_ROW).with_for_update())
_FROM_US = sql.bindparam("from_us", type_=sql.BigInteger)
_WAKE = Prepared(sql.update(SAGAS).where(_ITS_ROW, SAGAS.c.due_us > _FROM_US).values(due_us=_FROM_US))
_BOX = Prepared(sql.select(MAIL.c.name, MAIL.c.body, MAIL.c.arrived_us).where(MAIL.c.saga_id == _ID))
_SAGA = Prepared(_as_it_is(SAGAS).where(_ITS_ROW))
_SAGA_LOCKED = Prepared(_as_it_is(SAGAS).where(_ITS_ROW).with_for_update())
_STYLE = Prepared(sql.select(SAGAS.c.style).where(_ITS_ROW))
_ITS_STEPS = Prepared(_as_it_is(STEPS).where(STEPS.c.saga_id == _ID))
_STEPS = _as_it_is(STEPS).where(STEPS.c.saga_id.in_(sql.bindparam("saga_ids", expanding=True)))
_SAGAS = _as_it_is(SAGAS).where(SAGAS.c.saga_id.in_(sql.bindparam("saga_ids", expanding=True)))


def add_saga(tx: Connection, journal: Journal) -> bool:
    """Writes a new saga; False where there is one of this id."""
    return bool(_ADD_SAGA.run(tx, saga_row(journal)))


def put_saga(tx: Connection, journal: Journal) -> None:
    """Writes a saga's state over what is there."""
    _PUT_SAGA.run(tx, saga_row(journal))


def put_sagas(tx: Connection, rows: list[Row]) -> None:
    """Writes rows of `saga_row` over what is there."""
    _PUT_SAGA.run_many(tx, rows)


def put_steps(tx: Connection, rows: list[Row]) -> None:
    """Writes rows of `step_row` over what is there."""
    _PUT_STEP.run_many(tx, rows)


def delete_steps(tx: Connection, saga_ids: Iterable[str]) -> None:
    """Forgets all steps of these sagas."""
    if ids := list(saga_ids):
        tx.execute(sql.delete(STEPS).where(STEPS.c.saga_id.in_(ids)))


def delete_damaged_steps(tx: Connection, saga_id: str) -> None:
    """Forgets the steps of a saga whose rows are damaged; the ledgers have their answers."""
    for row in _ITS_STEPS.rows(tx, (saga_id,)):
        if not _is_sound(row):
            _, method, step_key, *_ = row
            this = (STEPS.c.saga_id == saga_id) & (STEPS.c.method == method) & (STEPS.c.step_key == step_key)
            tx.execute(sql.delete(STEPS).where(this))


def load(tx: Connection, saga_id: str, *, lock: bool = False) -> Journal | None:
    """A saga with its steps; raises Damaged. With `lock`, nobody else writes the saga until the transaction ends."""
    found = (_SAGA_LOCKED if lock else _SAGA).rows(tx, (saga_id,))
    return _with_steps(_journal(found[0]), _ITS_STEPS.rows(tx, (saga_id,))) if found else None


def is_choreographed(tx: Connection, saga_id: str) -> bool:
    """Whether there is a saga of this id that nobody drives."""
    return (CHOREOGRAPHED,) in _STYLE.rows(tx, (saga_id,))


def load_many(tx: Connection, saga_ids: list[str]) -> tuple[list[Journal], list[Damaged]]:
    """Sagas with their steps, in the order of the ids, and what is wrong with those that are not among them."""
    steps: dict[str, list[Row]] = defaultdict(list)
    for row in tx.execute(_STEPS, {"saga_ids": saga_ids}):
        steps[row.saga_id].append(tuple(row))
    rows = {row.saga_id: tuple(row) for row in tx.execute(_SAGAS, {"saga_ids": saga_ids})}
    journals, damages = [], []
    for saga_id in saga_ids:
        try:
            journals.append(_with_steps(_journal(rows[saga_id]), steps[saga_id]))
        except KeyError:  # an index has another id than the row
            damages.append(Damaged(saga_id, _THE_SAGA))
        except Damaged as damage:
            damages.append(damage)
    return journals, damages


def read_many(tx: Connection, saga_ids: list[str]) -> list[Journal]:
    """Sagas without their steps, in the order of the ids, as they are shown: a damaged one says so."""
    found = tx.execute(_SAGAS, {"saga_ids": saga_ids}) if saga_ids else ()
    rows = {row.saga_id: row for row in found}
    return [read_saga(rows[saga_id]) for saga_id in saga_ids if saga_id in rows]


def quarantine(tx: Connection, damage: Damaged) -> None:
    """Takes a damaged saga out of the hands of all orchestrators."""
    if damage.journal is not None:
        put_saga(tx, damaged_journal(damage))
        return
    there = SAGAS.c.saga_id == damage.saga_id
    tx.execute(sql.update(SAGAS).where(there).values(status=STALLED, owner=None, due_us=None))


def damaged_journal(damage: Damaged, started_us: object = 0) -> Journal:
    """What can be said of a damaged saga: that it is, and what to do. Nothing in a damaged row can be trusted."""
    if damage.journal is None:
        return Journal(
            damage.saga_id,
            "",
            Style.STYLE_UNSPECIFIED,
            b"",
            min(max(started_us, 0), FOREVER_US) if isinstance(started_us, int) else 0,
            status=STALLED,
            stalled_reason=str(damage),
            stalled_help="look at the disk; then start the saga again with its input under the same id: "
            "what was done answers from the ledgers",
        )
    if damage.journal.ended:
        return replace(damage.journal, stalled_reason=str(damage), stalled_help="look at the disk; the saga has ended")
    return replace(
        damage.journal,
        status=STALLED,
        owner=None,
        due_us=None,
        stalled_reason=str(damage),
        stalled_help=f"look at the disk; then run `ensemble saga retry {damage.saga_id}`: the ledgers have the answers",
    )


def deliver(tx: Connection, saga_id: str, name: str, body: bytes, arrived_us: int) -> bool:
    """Puts mail into a saga's box; True where the saga waits in the tables, and is due from then on.

    The earliest of its name is kept, in whatever order they come: by when they arrived where they came from (the
    broker, the child), not here.
    """
    # The lock orders this against `leases.park`, which looks for mail: one of the two sees the other.
    if not _THERE.rows(tx, (saga_id,)):
        serialize(tx, saga_id)  # it may be started, and parked, before this is committed
    _ADD_MAIL.run(tx, (saga_id, name, body, arrived_us))
    return bool(_WAKE.run(tx, (arrived_us, saga_id, arrived_us)))


def mail(tx: Connection, saga_id: str, name: str) -> tuple[bytes, int] | None:
    """What came for a saga under a name, and when."""
    query = sql.select(MAIL.c.body, MAIL.c.arrived_us).where(MAIL.c.saga_id == saga_id, MAIL.c.name == name)
    row = tx.execute(query).one_or_none()
    return (row.body, row.arrived_us) if row else None


def box(tx: Connection, saga_id: str) -> list[Mail]:
    """All that came for a saga, the earliest first."""
    found = [Mail(*row) for row in _BOX.rows(tx, (saga_id,))]
    return sorted(found, key=lambda mail: (mail.arrived_us, mail.name))


def saga_row(journal: Journal) -> Row:
    """A saga as the table has it."""
    if "\0" in journal.stalled_reason or "\0" in journal.stalled_help:
        journal.stalled_reason, journal.stalled_help = _text(journal.stalled_reason), _text(journal.stalled_help)
    values: Row = _SAGA_VALUES(journal)
    return (*values, _checksum(values[:_SUMMED]))


def step_row(saga_id: str, step: StepEntry) -> Row:
    """A step as the table has it."""
    if "\0" in step.last_error:
        step.last_error = _text(step.last_error)
    values: Row = (saga_id, *_STEP_VALUES(step))
    return (*values, _checksum(values))


def _text(text: str) -> str:
    """Text from outside, as every database takes it: PostgreSQL knows no NUL."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def read_saga(row: sql.Row[Any]) -> Journal:
    """A row without its steps, as it is shown: a damaged one says so."""
    try:
        return _journal(row)
    except Damaged as damage:
        return damaged_journal(damage, row.started_us)


def _journal(row: Row) -> Journal:
    *read, checksum = row
    values = dict(zip(_SAGA_COLUMNS, read, strict=True))
    if values["cancelling"] in (0, 1):  # as SQLite has it
        values["cancelling"] = bool(values["cancelling"])
    if checksum != _checksum(tuple(values.values())[:_SUMMED]):
        raise Damaged(values["saga_id"], _THE_SAGA)
    return Journal(**values)


def _with_steps(journal: Journal, rows: Iterable[Row]) -> Journal:
    for row in rows:
        _, *read, _ = row
        values = dict(zip(_STEP_COLUMNS, read, strict=True))
        if not _is_sound(row):
            raise Damaged(journal.saga_id, f"the row of step {values['method']}", journal)
        step = StepEntry(**values)
        journal.steps[step.key] = step
    return journal


def _is_sound(step: Row) -> bool:
    return bool(step[-1] == _checksum(step[:-1]))


def _checksum(values: Row) -> int:
    """CRC-32: it is to find accidents, not attacks."""
    return zlib.crc32(repr(values).encode())
