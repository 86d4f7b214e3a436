"""Choreographed sagas that make no progress are found by an index."""

import sqlalchemy as sql
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Only the index: it holds few rows, however many sagas have ended."""
    going = sql.text("style = 2 AND status IN (1, 2)")
    op.create_index("sagas_followed", "sagas", ["updated_us", "saga_id"], sqlite_where=going, postgresql_where=going)
