"""The SQL that both backends understand and SQLAlchemy's common language lacks.

PostgreSQL's INSERT … ON CONFLICT, which SQLite took over word for word: SQLAlchemy has one class for each, and both
compile to either dialect. A partial index needs its condition twice, as `sqlite_where` and `postgresql_where`.
"""

from sqlalchemy.dialects.postgresql import Insert, insert

__all__ = ["Insert", "insert"]
