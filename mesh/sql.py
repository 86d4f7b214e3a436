"""The SQL that both backends understand and SQLAlchemy's common language lacks.

A partial index needs its condition twice, as `sqlite_where` and `postgresql_where`.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    Values that stand in the statement itself (a status, a limit) are not given again; an IN takes no list of values.
    What is given goes to the driver and comes back unchanged, so this is for integers, texts, bytes, booleans (which
    SQLite gives back as integers) and None.
    """

    def __init__(
        self, statement: sqlalchemy.Insert | sqlalchemy.Update | sqlalchemy.Delete | sqlalchemy.Select[Any]
    ) -> None:
        self._statement = statement
        self._compiled: dict[str, _Compiled] = {}

    def run(self, tx: Connection, parameters: Sequence[Any] = ()) -> int:
        """Runs it once; returns how many rows it wrote."""
        compiled = self._compiled_for(tx)
        with _Cursor(tx, compiled.text) as cursor:
            cursor.execute(compiled.text, compiled.filled(parameters))
            return int(cursor.rowcount)

    def run_many(self, tx: Connection, rows: Sequence[Sequence[Any]]) -> None:
        """Runs it for each row."""
        if not rows:
            return
        compiled = self._compiled_for(tx)
        with _Cursor(tx, compiled.text) as cursor:
            cursor.executemany(compiled.text, [compiled.filled(row) for row in rows])

    def rows(self, tx: Connection, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What it selects."""
        compiled = self._compiled_for(tx)
        with _Cursor(tx, compiled.text) as cursor:
            cursor.execute(compiled.text, compiled.filled(parameters))
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found

    def _compiled_for(self, tx: Connection) -> _Compiled:
        compiled = self._compiled.get(tx.dialect.name)
        if compiled is None:
            compiled = self._compiled[tx.dialect.name] = _Compiled(self._statement, tx.dialect.name)
        return compiled


class _Compiled:
    """A statement for one dialect, and the values that stand in it."""

    def __init__(self, statement: sqlalchemy.ClauseElement, dialect_name: str) -> None:
        dialects: dict[str, Any] = {
            "sqlite": sqlite.dialect,
            "postgresql": partial(psycopg.dialect, paramstyle="format"),
        }
        compiled: Any = statement.compile(dialect=dialects[dialect_name]())
        self.text = str(compiled)
        names: list[str] = compiled.positiontup
        self._values = [compiled.params[name] for name in names]
        self._given = [place for place, name in enumerate(names) if compiled.binds[name].required]

    def filled(self, parameters: Sequence[Any]) -> Sequence[Any]:
        """All of its parameters, in order."""
        if len(self._given) == len(self._values):
            return parameters
        filled = list(self._values)
        for place, value in zip(self._given, parameters, strict=True):
            filled[place] = value
        return filled


class _Cursor:
    """A cursor of the driver, for a statement whose errors are raised as SQLAlchemy raises them.

    Not a generator with `contextmanager`, which costs as much as many a statement: every step comes through here.
    """

    __slots__ = ("_cursor", "_text", "_tx")

    def __init__(self, tx: Connection, text: str) -> None:
        self._tx = tx
        self._text = text
        self._cursor: Any = tx.connection.cursor()

    def __enter__(self) -> Any:
        return self._cursor

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._cursor.close()
        if error is not None and isinstance(error, _errors(self._tx)):
            raise _wrapped(error, self._text, self._tx) from error


def _errors(tx: Connection) -> type[Exception]:
    """The errors of the driver below a transaction."""
    module: Any = tx.dialect.loaded_dbapi
    return module.Error  # type: ignore[no-any-return]


def _wrapped(error: Exception, text: str, tx: Connection) -> DBAPIError:
    """As SQLAlchemy raises it, which is what the backends look for."""
    wrapped = DBAPIError.instance(text, None, error, _errors(tx), dialect=tx.dialect)
    assert isinstance(wrapped, DBAPIError)
    return wrapped
