"""Opens the database of a part, of the kind that the settings name. A backend that is not used costs nothing."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sql

from mesh.database import Database, DatabaseMissing, Schema
from mesh.settings import Settings


def open_database(settings: Settings, name: str, *schemas: Schema) -> Database:
    """The database of the part `name`, with its tables; raises OSError or DatabaseLost. Blocks while it opens."""
    if settings.database_url:
        from mesh.postgres import PostgresDatabase

        return PostgresDatabase(
            settings.database_url, name, *schemas, connections_max=settings.database_connections_max
        )
    from mesh.sqlite import SqliteDatabase

    return SqliteDatabase(sqlite_path(settings, name), *schemas)


def open_read_only(settings: Settings, name: str) -> sql.Engine:
    """The database of the part `name`, to look at from another process; raises DatabaseMissing or DatabaseLost."""
    if settings.database_url:
        from mesh import postgres

        return postgres.open_read_only(settings.database_url, name)
    from mesh import sqlite

    path = sqlite_path(settings, name)
    if not path.exists():
        raise DatabaseMissing(f"no database of {name} in {settings.data}")
    return sqlite.open_read_only(path)


def sqlite_path(settings: Settings, name: str) -> Path:
    """Where a part keeps its file."""
    return settings.data / "databases" / f"{name}.db"
