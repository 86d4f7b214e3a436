"""The SQL that both backends understand and SQLAlchemy's common language lacks.

A partial index needs its condition twice, as `sqlite_where` and `postgresql_where`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import sqlalchemy
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import Insert, psycopg
from sqlalchemy.exc import DBAPIError

__all__ = ["Insert", "Prepared", "insert"]


def insert(table: sqlalchemy.Table) -> Insert:
    """An INSERT that takes ON CONFLICT, and whose `rowcount` says how many rows it wrote.

    SQLite took ON CONFLICT over from PostgreSQL word for word, so the class for PostgreSQL compiles to either.
    """
    # Without the option `rowcount` is −1 on PostgreSQL: true, whatever was written.
    return postgresql.insert(table).execution_options(preserve_rowcount=True)


class Prepared:
    """A statement that is run very often: compiled once for each dialect, then given to the driver as it is.

    It costs a third of what SQLAlchemy's own execution does. Parameters are tuples in the order in which the compiled
    statement has them: for an INSERT of all columns, that of the table; one that stands twice in it is given twice.
    Values are passed to the driver and back unchanged, so this is for integers, texts, bytes, booleans (which SQLite
    gives back as integers) and None.
    """

    def __init__(self, statement: sqlalchemy.Insert | sqlalchemy.Update | sqlalchemy.Select[Any]) -> None:
        self._statement = statement
        self._texts: dict[str, str] = {}

    def run(self, tx: Connection, parameters: Sequence[Any]) -> int:
        """Runs it once; returns how many rows it wrote."""
        with self._cursor(tx) as cursor:
            cursor.execute(self._text(tx), parameters)
            return int(cursor.rowcount)

    def run_many(self, tx: Connection, rows: Sequence[Sequence[Any]]) -> None:
        """Runs it for each row."""
        if not rows:
            return
        with self._cursor(tx) as cursor:
            cursor.executemany(self._text(tx), rows)

    def rows(self, tx: Connection, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """What it selects."""
        with self._cursor(tx) as cursor:
            cursor.execute(self._text(tx), parameters)
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found

    @contextlib.contextmanager
    def _cursor(self, tx: Connection) -> Iterator[Any]:
        cursor = tx.connection.cursor()
        try:
            yield cursor
        except _errors(tx) as error:
            raise _wrapped(error, self._text(tx), tx) from error
        finally:
            cursor.close()

    def _text(self, tx: Connection) -> str:
        text = self._texts.get(tx.dialect.name)
        if text is None:
            dialects: dict[str, Any] = {
                "sqlite": sqlite.dialect,
                "postgresql": partial(psycopg.dialect, paramstyle="format"),
            }
            dialect = dialects[tx.dialect.name]()
            text = self._texts[tx.dialect.name] = str(self._statement.compile(dialect=dialect))
        return text


def _errors(tx: Connection) -> type[Exception]:
    """The errors of the driver below a transaction."""
    module: Any = tx.dialect.loaded_dbapi
    return module.Error  # type: ignore[no-any-return]


def _wrapped(error: Exception, text: str, tx: Connection) -> DBAPIError:
    """As SQLAlchemy raises it, which is what the backends look for."""
    wrapped = DBAPIError.instance(text, None, error, _errors(tx), dialect=tx.dialect)
    assert isinstance(wrapped, DBAPIError)
    return wrapped
