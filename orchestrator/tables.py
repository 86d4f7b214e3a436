"""The tables of the journal. `migrations/` makes and changes them; a test holds the two together."""

from __future__ import annotations

import sqlalchemy as sql

METADATA = sql.MetaData()

# By their bytes, whatever the language of the database: orchestrator.listing merges what is in this order.
_ID = sql.String(64).with_variant(sql.String(64, collation="C"), "postgresql")

SAGAS = sql.Table(
    "sagas",
    METADATA,
    sql.Column("saga_id", _ID, primary_key=True),
    sql.Column("process", sql.String(255), nullable=False),
    sql.Column("version", sql.Integer, nullable=False),
    sql.Column("parent", sql.String(64), nullable=False),
    sql.Column("style", sql.Integer, nullable=False),
    sql.Column("input", sql.LargeBinary, nullable=False),
    sql.Column("status", sql.Integer, nullable=False),
    sql.Column("cancelling", sql.Boolean, nullable=False),
    sql.Column("refusal", sql.LargeBinary, nullable=False),
    sql.Column("result", sql.LargeBinary, nullable=False),
    sql.Column("stalled_reason", sql.String, nullable=False),
    sql.Column("stalled_help", sql.String, nullable=False),
    sql.Column("started_us", sql.BigInteger, nullable=False),
    sql.Column("updated_us", sql.BigInteger, nullable=False),
    sql.Column("ended_us", sql.BigInteger, nullable=False),
    sql.Column("owner", sql.String(64)),  # the orchestrator that runs it
    sql.Column("due_us", sql.BigInteger),  # nobody runs it, and from then on somebody shall
    sql.Column("checksum", sql.BigInteger, nullable=False),  # of all but owner and due_us
)
# One index for every combination of ListSagas' filters: orchestrator.listing merges its ranges.
sql.Index(
    "sagas_by_kind", SAGAS.c.process, SAGAS.c.status, SAGAS.c.style, SAGAS.c.started_us.desc(), SAGAS.c.saga_id.desc()
)
# These hold few rows, however many sagas have ended.
_due, _owned = SAGAS.c.due_us.is_not(None), SAGAS.c.owner.is_not(None)
sql.Index("sagas_due", SAGAS.c.due_us, SAGAS.c.saga_id, sqlite_where=_due, postgresql_where=_due)
sql.Index("sagas_owned", SAGAS.c.owner, SAGAS.c.saga_id, sqlite_where=_owned, postgresql_where=_owned)
# Choreographed sagas on their way, by their last progress. As text: SQLite takes the index only for these very words.
FOLLOWED = sql.text("style = 2 AND status IN (1, 2)")
sql.Index("sagas_followed", SAGAS.c.updated_us, SAGAS.c.saga_id, sqlite_where=FOLLOWED, postgresql_where=FOLLOWED)
# For pruning, oldest first.
sql.Index("sagas_ended", SAGAS.c.ended_us, SAGAS.c.saga_id)

STEPS = sql.Table(
    "steps",
    METADATA,
    sql.Column("saga_id", _ID, primary_key=True),
    sql.Column("method", sql.String(255), primary_key=True),
    sql.Column("step_key", sql.String(1024), primary_key=True),
    sql.Column("digest", sql.LargeBinary, nullable=False),
    sql.Column("request", sql.LargeBinary, nullable=False),
    sql.Column("status", sql.Integer, nullable=False),
    sql.Column("outcome", sql.LargeBinary, nullable=False),
    sql.Column("attempts", sql.Integer, nullable=False),
    sql.Column("started_us", sql.BigInteger, nullable=False),
    sql.Column("ended_us", sql.BigInteger, nullable=False),
    sql.Column("last_error", sql.String, nullable=False),
    sql.Column("checksum", sql.BigInteger, nullable=False),
)

# What came for a saga from outside: events of the choreography, its dead letters, and the ends of its children. Never
# consumed: what is shown of a choreographed saga is a function of it (orchestrator.choreography).
MAIL = sql.Table(
    "mail",
    METADATA,
    sql.Column("saga_id", _ID, primary_key=True),
    sql.Column("name", sql.String(255), primary_key=True),
    sql.Column("body", sql.LargeBinary, nullable=False),
    sql.Column("arrived_us", sql.BigInteger, nullable=False),
)

ORCHESTRATORS = sql.Table(
    "orchestrators",
    METADATA,
    sql.Column("owner", sql.String(64), primary_key=True),
    sql.Column("expires_us", sql.BigInteger, nullable=False),
)
