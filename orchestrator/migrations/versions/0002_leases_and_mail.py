"""Who runs a saga, what came for it, versions of workflows, checksums; one index for all lists.

Whatever is here is a copy of what the program did when this was written. It must go on to do that, and not what a
later program does, so it imports nothing of it.
"""

import zlib
from typing import Any

import sqlalchemy as sql
from alembic import op

revision = "0002"
down_revision = "0001"

ID = sql.String(64).with_variant(sql.String(64, collation="C"), "postgresql")
GOING = (1, 2)  # RUNNING, COMPENSATING
ORCHESTRATED = 1

# What a checksum is of, in its order.
SAGA = (
    "saga_id",
    "process",
    "version",
    "parent",
    "style",
    "input",
    "status",
    "cancelling",
    "refusal",
    "result",
    "stalled_reason",
    "stalled_help",
    "started_us",
    "updated_us",
    "ended_us",
)
STEP = (
    "saga_id",
    "method",
    "step_key",
    "digest",
    "request",
    "status",
    "outcome",
    "attempts",
    "started_us",
    "ended_us",
    "last_error",
)
KEY = 3  # so many of STEP name a row


def upgrade() -> None:
    """Sagas that were going are due: whoever starts next runs them on."""
    op.add_column("sagas", sql.Column("version", sql.Integer, nullable=False, server_default="1"))
    op.add_column("sagas", sql.Column("parent", sql.String(64), nullable=False, server_default=""))
    op.add_column("sagas", sql.Column("owner", sql.String(64)))
    op.add_column("sagas", sql.Column("due_us", sql.BigInteger))
    op.add_column("sagas", sql.Column("checksum", sql.BigInteger, nullable=False, server_default="0"))
    op.add_column("steps", sql.Column("request", sql.LargeBinary, nullable=False, server_default=""))
    op.add_column("steps", sql.Column("checksum", sql.BigInteger, nullable=False, server_default="0"))
    op.create_table(
        "mail",
        sql.Column("saga_id", ID, primary_key=True),
        sql.Column("name", sql.String(255), primary_key=True),
        sql.Column("body", sql.LargeBinary, nullable=False),
        sql.Column("arrived_us", sql.BigInteger, nullable=False),
    )
    op.create_table(
        "orchestrators",
        sql.Column("owner", sql.String(64), primary_key=True),
        sql.Column("expires_us", sql.BigInteger, nullable=False),
    )
    op.drop_index("sagas_by_age", "sagas")
    op.drop_index("sagas_by_status", "sagas")
    _fill_sagas()
    _fill_steps()
    _create_indexes()


def _create_indexes() -> None:
    newest_first = [sql.text("started_us DESC"), sql.text("saga_id DESC")]
    op.create_index("sagas_by_kind", "sagas", ["process", "status", "style", *newest_first])
    op.create_index("sagas_ended", "sagas", ["ended_us", "saga_id"])
    for name, column, where in (
        ("sagas_due", "due_us", "due_us IS NOT NULL"),
        ("sagas_owned", "owner", "owner IS NOT NULL"),
    ):
        condition = sql.text(where)
        op.create_index(name, "sagas", [column, "saga_id"], sqlite_where=condition, postgresql_where=condition)


def _fill_sagas() -> None:
    table = sql.table("sagas", *_columns(SAGA), sql.column("due_us"), sql.column("checksum"))
    for row in op.get_bind().execute(sql.select(*(table.c[name] for name in SAGA))).all():
        going = row.status in GOING and row.style == ORCHESTRATED
        values = {"checksum": _checksum(tuple(row)), "due_us": row.started_us if going else None}
        op.execute(sql.update(table).where(table.c.saga_id == row.saga_id).values(values))


def _fill_steps() -> None:
    table = sql.table("steps", *_columns(STEP), sql.column("checksum"))
    op.execute(sql.update(table).values(request=b""))  # on SQLite the default above is text
    for row in op.get_bind().execute(sql.select(*(table.c[name] for name in STEP))).all():
        this = sql.and_(*(table.c[name] == value for name, value in zip(STEP[:KEY], row, strict=False)))
        op.execute(sql.update(table).where(this).values(checksum=_checksum(tuple(row))))


def _columns(names: tuple[str, ...]) -> list[sql.ColumnClause[Any]]:
    types = {"cancelling": sql.Boolean, "request": sql.LargeBinary, "status": sql.Integer}
    return [sql.column(name, types.get(name)) for name in names]


def _checksum(values: tuple[object, ...]) -> int:
    return zlib.crc32(repr(values).encode())
