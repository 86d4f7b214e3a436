"""The SQL that both backends understand and SQLAlchemy's common language lacks.

A partial index needs its condition twice, as `sqlite_where` and `postgresql_where`.
"""

from __future__ import annotations

import sqlalchemy
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import Insert

__all__ = ["Insert", "insert"]


def insert(table: sqlalchemy.Table) -> Insert:
    """An INSERT that takes ON CONFLICT, and whose `rowcount` says how many rows it wrote.

    SQLite took ON CONFLICT over from PostgreSQL word for word, so the class for PostgreSQL compiles to either.
    """
    # Without the option `rowcount` is −1 on PostgreSQL: true, whatever was written.
    return postgresql.insert(table).execution_options(preserve_rowcount=True)
