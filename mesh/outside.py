"""What a process reaches beyond itself: the network, the broker and its disk. All of it comes through here.

A simulation puts its own in the place of each (scripts.simulation), and every line above runs as it does in a mesh.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import grpc.aio

from mesh.settings import Settings

if TYPE_CHECKING:
    from nats.aio.client import Client

    from mesh.database import Database, Schema

GrpcOptions = Sequence[tuple[str, Any]]


class OpensDatabases(Protocol):
    """As mesh.databases.open_database."""

    def __call__(self, settings: Settings, name: str, *schemas: Schema) -> Database:
        """The database of the part `name`, with its tables; raises OSError or DatabaseLost."""


# What makes the real ends is imported by who makes one: half of a command's start would go into SQLAlchemy, which
# most commands, and the supervisor, never use.


def _database(settings: Settings, name: str, *schemas: Schema) -> Database:
    from mesh.databases import open_database

    return open_database(settings, name, *schemas)


def _broker() -> Client:
    from nats.aio.client import Client

    return Client()


@dataclass(frozen=True)
class Outside:
    """Makes the ends of what a process reaches. The defaults are the real ones."""

    database: OpensDatabases = _database
    server: Callable[[GrpcOptions], grpc.aio.Server] = lambda options: grpc.aio.server(options=options)
    channel: Callable[[str, GrpcOptions], grpc.aio.Channel] = lambda target, options: grpc.aio.insecure_channel(
        target, options=options
    )
    broker: Callable[[], Client] = _broker


REAL = Outside()
