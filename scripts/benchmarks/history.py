"""An orchestrator that has run many sagas before: rows of one real saga, copied under other ids.

Copied from what the orchestrator itself wrote, so that they are what finished sagas are, whatever its tables look like.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

_BATCH_ROWS = 100_000


def multiply(database: Path, saga_id: str, count: int) -> None:
    """Adds `count` finished sagas like the one of this id, a millisecond apart. Nobody else may have the file open."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA synchronous=OFF")  # it is thrown away after the run
        for table in _tables(connection):
            for begin in range(1, count + 1, _BATCH_ROWS):
                _copy(connection, table, saga_id, begin, min(begin + _BATCH_ROWS, count + 1))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("ANALYZE")


def _tables(connection: sqlite3.Connection) -> list[str]:
    """The tables whose rows belong to sagas."""
    query = "SELECT m.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' AND c.name = ?"
    return [name for (name,) in connection.execute(query, ("saga_id",))]


def _copy(connection: sqlite3.Connection, table: str, saga_id: str, begin: int, end: int) -> None:
    columns = [name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))]
    with connection:
        connection.execute(
            f"WITH RECURSIVE nth(n) AS (SELECT :begin UNION ALL SELECT n + 1 FROM nth WHERE n + 1 < :end) "
            f"INSERT INTO {table} ({', '.join(columns)}) "
            f"SELECT {', '.join(map(_copied, columns))} FROM nth, {table} WHERE saga_id = :saga_id ORDER BY n DESC",
            {"begin": begin, "end": end, "saga_id": saga_id},
        )


def _copied(column: str) -> str:
    if column == "saga_id":
        return "printf('history-%012d', n)"
    if column.endswith("_us"):  # a time; 0 stands for none
        return f"CASE WHEN {column} > 0 THEN {column} - 1000 * n ELSE {column} END"
    return column
