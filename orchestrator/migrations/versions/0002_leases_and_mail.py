"""Who runs a saga, what came for it, versions of workflows, checksums; one index for all lists."""

import sqlalchemy as sql
from alembic import op

from orchestrator import store
from orchestrator.journal import GOING, Journal, StepEntry, Style
from orchestrator.tables import SAGAS, STEPS

revision = "0002"
down_revision = "0001"


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
        sql.Column("saga_id", sql.String(64), primary_key=True),
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
    for index in sorted(SAGAS.indexes, key=lambda index: str(index.name)):
        index.create(op.get_bind())
    _fill()


def _fill() -> None:
    """Checksums, and when old sagas are due, row by row: this happens once, and to data of the first milestone."""
    tx = op.get_bind()
    for row in tx.execute(sql.select(STEPS)).all():
        values = {name: value for name, value in row._mapping.items() if name not in ("saga_id", "checksum")}
        store.put_steps(tx, [store.step_row(row.saga_id, StepEntry(**{**values, "request": b""}))])
    for row in tx.execute(sql.select(SAGAS)).all():
        journal = Journal(**{name: value for name, value in row._mapping.items() if name != "checksum"})
        if journal.status in GOING and journal.style == Style.STYLE_ORCHESTRATED:
            journal.due_us = journal.started_us
        store.put_saga(tx, journal)
