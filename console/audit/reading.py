"""Opens the databases of a mesh, each as of one moment.

What follows from something is read before it: first the orchestrator and notifications, who hear of things last, then
orders, which pays heed to the others, then these. So nothing that is seen lacks its cause, however the mesh moves on
meanwhile: an order that is seen as completed has all of its effects in databases that are opened later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import sqlalchemy as sql
from sqlalchemy import Connection

from mesh.database import DatabaseLost, DatabaseMissing
from mesh.databases import open_read_only
from mesh.settings import Settings
from services import SERVICES

ORCHESTRATOR = "orchestrator"
# Those that hear of things last. What is not named here comes behind.
_LAST = (ORCHESTRATOR, "notifications", "orders")


class NoBooks(Exception):
    """There are no databases to read."""


@contextmanager
def databases_of(settings: Settings) -> Iterator[Mapping[str, Connection]]:
    """The databases of a mesh by the names of its parts; raises NoBooks. The orchestrator's need not be there."""
    with ExitStack() as opened:
        yield {name: opened.enter_context(_at_one_moment(engine)) for name, engine in _engines(settings, opened)}


def _engines(settings: Settings, opened: ExitStack) -> Iterator[tuple[str, sql.Engine]]:
    for name in (*_LAST, *(name for name in SERVICES if name not in _LAST)):
        try:
            engine = open_read_only(settings, name)
        except DatabaseMissing as error:
            if name == ORCHESTRATOR:
                continue
            raise NoBooks(f"{error}: name the mesh's folder with --data, or its PostgreSQL with --database") from None
        except DatabaseLost as error:
            raise NoBooks(str(error)) from None
        opened.callback(engine.dispose)
        yield name, engine


@contextmanager
def _at_one_moment(engine: sql.Engine) -> Iterator[Connection]:
    with engine.connect() as connection:
        connection.execute(sql.select(1))  # that of the first statement
        yield connection
