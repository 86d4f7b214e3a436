"""What a process reaches beyond itself: the network, the broker and its disk. All of it comes through here.

A simulation puts its own in the place of each (scripts.simulation), and every line above runs as it does in a mesh.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import grpc.aio
from nats.aio.client import Client

from mesh.database import Database, Schema
from mesh.databases import open_database
from mesh.settings import Settings

GrpcOptions = Sequence[tuple[str, Any]]


class OpensDatabases(Protocol):
    """As mesh.databases.open_database."""

    def __call__(self, settings: Settings, name: str, *schemas: Schema) -> Database:
        """The database of the part `name`, with its tables; raises OSError or DatabaseLost."""


@dataclass(frozen=True)
class Outside:
    """Makes the ends of what a process reaches. The defaults are the real ones."""

    database: OpensDatabases = open_database
    server: Callable[[GrpcOptions], grpc.aio.Server] = lambda options: grpc.aio.server(options=options)
    channel: Callable[[str, GrpcOptions], grpc.aio.Channel] = lambda target, options: grpc.aio.insecure_channel(
        target, options=options
    )
    broker: Callable[[], Client] = Client


REAL = Outside()
