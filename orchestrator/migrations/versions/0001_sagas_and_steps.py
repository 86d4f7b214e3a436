"""Sagas and their steps, as the first milestone had them. Data folders from then have these tables already."""

import sqlalchemy as sql
from alembic import op

revision = "0001"
down_revision = None

ID = sql.String(64).with_variant(sql.String(64, collation="C"), "postgresql")


def upgrade() -> None:
    """Makes the tables, where they are not there."""
    op.create_table(
        "sagas",
        sql.Column("saga_id", ID, primary_key=True),
        sql.Column("process", sql.String(255), nullable=False),
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
        if_not_exists=True,
    )
    op.create_table(
        "steps",
        sql.Column("saga_id", ID, primary_key=True),
        sql.Column("method", sql.String(255), primary_key=True),
        sql.Column("step_key", sql.String(1024), primary_key=True),
        sql.Column("digest", sql.LargeBinary, nullable=False),
        sql.Column("status", sql.Integer, nullable=False),
        sql.Column("outcome", sql.LargeBinary, nullable=False),
        sql.Column("attempts", sql.Integer, nullable=False),
        sql.Column("started_us", sql.BigInteger, nullable=False),
        sql.Column("ended_us", sql.BigInteger, nullable=False),
        sql.Column("last_error", sql.String, nullable=False),
        if_not_exists=True,
    )
    op.create_index("sagas_by_age", "sagas", ["started_us", "saga_id"], if_not_exists=True)
    op.create_index("sagas_by_status", "sagas", ["status", "started_us", "saga_id"], if_not_exists=True)
