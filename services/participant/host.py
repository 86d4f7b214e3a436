"""One participant as a process.

Order of the end, on SIGTERM: health says NOT_SERVING and calls under way finish, no more events are pulled and those
under way finish, what is unpublished is published, the connection to the broker and the database close.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import grpc.aio
import sqlalchemy as sql

from eventbus.bus import EventBus
from eventbus.consumer import Consumer
from mesh.addresses import Addresses
from mesh.contract import service_name
from mesh.database import Database
from mesh.lifecycle import Lifecycle
from mesh.outside import REAL, Outside
from mesh.server import Server, bind
from mesh.settings import Settings
from services.participant import pruning
from services.participant.participant import METADATA, Participant, service_of

log = logging.getLogger(__name__)

FLUSH_S = 2.0


@dataclass(frozen=True)
class Surroundings:
    """What a servicer may use beyond its handlers' transactions. Most need nothing of it."""

    settings: Settings
    database: Database
    bus: EventBus
    addresses: Addresses
    life: Lifecycle

    def channel(self, name: str) -> grpc.aio.Channel:
        """A channel to another part of the mesh, by its name; raises UnknownAddress."""
        return self.addresses.channel(name)


@runtime_checkable
class WithTables(Protocol):
    """A servicer with tables of its own; they are made in its database."""

    tables: sql.MetaData


@runtime_checkable
class Joining(Protocol):
    """A servicer that needs its surroundings: to call or publish by itself, or to run side tasks."""

    def join(self, surroundings: Surroundings) -> None:
        """Called once, before anything is served."""


async def host(servicer: object, settings: Settings, life: Lifecycle, outside: Outside = REAL) -> None:
    """Serves a participant until the process is asked to stop. `outside` is what it reaches beyond itself."""
    name = service_name(service_of(type(servicer)))
    own = [servicer.tables] if isinstance(servicer, WithTables) else []
    database = outside.database(settings, name, METADATA, *own)
    addresses = Addresses(settings, outside)
    bus = EventBus(addresses.nats_url(), name, outside.broker())
    participant = Participant(servicer, database, bus)
    if isinstance(servicer, Joining):
        servicer.join(Surroundings(settings, database, bus, addresses, life))
    server = Server(settings.listen, calls_max=settings.calls_max, drain_s=settings.drain_s, outside=outside)
    server.add(participant.service, participant.endpoint.bindings())
    server.add(pruning.SERVICE, bind(pruning.LedgerService(database), pruning.SERVICE))
    await server.start()
    life.spawn("database", database.watch())
    life.spawn("broker", bus.run())
    if subjects := participant.reactor.subjects():  # no subjects would be all subjects
        consumer = Consumer(bus, name, subjects, participant.reactor.handle, settings)
        life.spawn("consumer", consumer.run())
    life.spawn("outbox", participant.outbox.sweep_for_ever())
    log.info("%s serves on %s", name, server.address)
    try:
        await life.stopped()
        log.info("%s stops", name)
    finally:
        await server.stop()
        await life.end_tasks()
        await _flush(participant)
        await bus.close()
        await database.close()


async def _flush(participant: Participant) -> None:
    try:
        async with asyncio.timeout(FLUSH_S):
            await participant.outbox.flush()
    except TimeoutError:
        log.warning("the broker is away; what is unpublished is published after the next start")
