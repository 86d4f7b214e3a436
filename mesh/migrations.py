"""Versions of a part's tables, by Alembic (https://alembic.sqlalchemy.org).

A part's ordinary start only reads which version its tables have: to import Alembic would cost it 0.3 s of CPU.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sql
from sqlalchemy import Connection

_VERSION_TABLE = "alembic_version"


class TooNew(Exception):
    """The tables were made by a later version of this program; run that one, or restore a backup from before."""


@dataclass(frozen=True)
class Migrations:
    """A mesh.database.Schema: brings the tables of a database to the newest version."""

    scripts: Path  # a folder of Alembic's, with env.py and versions/
    newest: str  # the revision that this program's tables are

    def create_all(self, bind: Connection) -> None:
        """Runs what is missing of the migrations, in the transaction of `bind`; raises TooNew."""
        current = self._current(bind)
        if current != self.newest:
            self._upgrade(bind, current)

    def _current(self, bind: Connection) -> str | None:
        if not sql.inspect(bind).has_table(_VERSION_TABLE):
            return None
        return bind.execute(sql.text(f"SELECT version_num FROM {_VERSION_TABLE}")).scalar()

    def _upgrade(self, bind: Connection, current: str | None) -> None:
        logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)  # it tells of each of its own at import

        from alembic import command
        from alembic.config import Config
        from alembic.script import ScriptDirectory

        config = Config()
        config.set_main_option("script_location", str(self.scripts))
        config.attributes["connection"] = bind
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if current is not None and current not in known:
            raise TooNew(f"the database has version {current}, this program knows {self.newest}: {TooNew.__doc__}")
        command.upgrade(config, "head")
